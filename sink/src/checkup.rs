//! Whether the partitions of a group can be read into a warehouse, for `gaitway doctor`. Pure, but for the look at a port.
//!
//! - It is judged as a sink does when it begins to read, and told in its sentences.
//! - Of partitions that stop for one reason the first is told, with how many there are.

use gaitway_kafka::checkup::Partition;
use gaitway_proto::ledger::Source;
use gaitway_service::checkup::Checkup;
use gaitway_service::checkup::port::{self, Own, Port};

use crate::SinkConfig;
use crate::consume::told_in;
use crate::ledgers::Marks;
use crate::partition::{Hint, Stop, Survey, begin};

/// Looks at where this sink serves health and metrics.
pub async fn examine(config: &SinkConfig, checkup: &mut Checkup) {
    checkup.begin("sink");
    if let Some(address) = config.admin {
        let (subject, key) = ("port for health", "--admin or the key admin");
        port::examine(Port { subject, address, key, own: Own::Unknown, is_http: true }, checkup).await;
    }
}

/// Holds the warehouse's `marks` against `partitions`: the group's offsets, read before the marks, and first offset and end,
/// read after them. `adopt`: as [`adopt_from_group`](crate::SinkConfig::adopt_from_group).
pub fn judge<'a>(
    partitions: impl IntoIterator<Item = (&'a Partition, (i64, i64))>,
    marks: &Marks,
    adopt: bool,
    checkup: &mut Checkup,
) {
    let (mut behind, mut stops) = (0_i64, Vec::<(String, usize, Stop)>::new());
    for (Partition { topic, number, group }, (low, high)) in partitions {
        let token = marks.get(Source::partition(topic, *number).as_str()).and_then(|mark| u64::try_from(*mark).ok());
        let group = group.as_ref().map(|(next, metadata)| Hint { next: *next, told: told_in(metadata) });
        match begin(token, &Survey { low, high, group }, adopt) {
            Ok(at) => {
                // Behind the mark there may be ends of transactions alone: the group knows.
                let group = group.filter(|group| group.told.is_some_and(|told| told.token == token));
                let next = group.map_or(at, |group| group.next.max(at));
                behind = behind.saturating_add(high.saturating_sub(next).max(0));
            }
            Err(stop) => match stops.iter_mut().find(|(_, _, told)| told.reason() == stop.reason()) {
                Some((_, others, _)) => *others += 1,
                None => stops.push((format!("partition {topic}/{number}"), 0, stop)),
            },
        }
    }
    if stops.is_empty() {
        checkup.ok("stored so far", format!("{behind} offsets behind the end"));
    }
    for (which, others, stop) in stops {
        let so = match others {
            0 => String::new(),
            1 => " (so is 1 other partition)".to_owned(),
            _ => format!(" (so are {others} other partitions)"),
        };
        checkup.fail(which, format!("a sink stops it{so}: {stop}"));
    }
}

#[cfg(test)]
mod tests {
    use gaitway_service::checkup::Grade;

    use super::*;

    fn judged(group: Option<(i64, &str)>, marks: &[(i32, i64)], partitions: i32) -> Checkup {
        let group = group.map(|(next, metadata)| (next, metadata.to_owned()));
        let of = |number| Partition { topic: "t".to_owned(), number, group: group.clone() };
        let partitions: Vec<_> = (0..partitions).map(of).collect();
        let marks = marks.iter().map(|(number, mark)| (format!("t/{number}"), *mark)).collect();
        let mut checkup = Checkup::new();
        judge(partitions.iter().map(|partition| (partition, (5, 20))), &marks, false, &mut checkup);
        checkup
    }

    #[test]
    fn how_far_the_warehouse_is_behind_is_told_of_what_can_be_read() {
        let checkup = judged(Some((8, "token=7")), &[(0, 7), (1, 9)], 2);
        assert_eq!(checkup.worst(), Some(Grade::Ok), "{checkup}");
        assert_eq!(checkup.lines()[0].said, "22 offsets behind the end");
        assert_eq!(judged(Some((20, "token=18")), &[(0, 18)], 1).lines()[0].said, "0 offsets behind the end");
        assert_eq!(judged(None, &[], 2).lines()[0].said, "30 offsets behind the end");
    }

    #[test]
    fn what_the_group_has_read_into_another_warehouse_fails_in_the_sink_s_own_words() {
        let checkup = judged(Some((8, "token=7")), &[], 3);
        assert_eq!((checkup.lines().len(), checkup.worst()), (1, Some(Grade::Fail)), "{checkup}");
        let line = &checkup.lines()[0];
        assert_eq!(line.subject, "partition t/0");
        assert!(
            line.said.starts_with("a sink stops it (so are 2 other partitions): the warehouse has no mark"),
            "{line:?}"
        );
        assert!(line.said.contains("a `group` of its own"), "{line:?}");
    }

    #[test]
    fn a_mark_outside_the_log_fails() {
        for (mark, says) in [(20, "the log ends before 20"), (3, "the log begins at 5")] {
            let checkup = judged(Some((8, "")), &[(0, mark), (1, 7)], 2);
            assert_eq!(checkup.count(Grade::Fail), 1, "{checkup}");
            assert!(checkup.to_string().contains(says), "{checkup}");
        }
    }
}
