//! Where a partition's reading begins, and why it must not.
//!
//! - A token is followed by what is behind it, which must be in the log; what is missing there is told.
//! - Records that are gone from the log are not missed if the group's offset says, beside the very same token, that there
//!   were none: the log's end can be a transaction's marker, which retention takes like a record.
//! - Without a token reading begins at the first record only where the group has no offset either, or says that the
//!   warehouse had no token when this sink committed it: everything before it was without rows.

use super::Survey;

/// Why a partition is not read any more. Displays as a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error(
        "the warehouse holds records up to offset {token}, but the log ends before {high}: the topic was recreated, or lost \
         records; if its records are new ones, remove this partition's mark from the warehouse (Snowflake: delete its channel) and \
         its offset from the group, and start the sink again"
    )]
    Beyond { token: u64, high: i64 },
    #[error(
        "the record at offset {token}, up to which the warehouse holds this partition, {how}: the topic was recreated; if its \
         records are new ones, remove this partition's mark from the warehouse and its offset from the group, and start the \
         sink again"
    )]
    Anew { token: u64, how: &'static str },
    #[error(
        "the warehouse holds records up to offset {token}, but the log begins at {low}: records between them were deleted by \
         the topic's retention before they were stored; to go on without them, set this partition's mark in the warehouse to {}; \
         Snowflake: delete its channel, set the group's offset to {low}, and start once with --adopt-from-group",
        low.saturating_sub(1)
    )]
    Gone { token: u64, low: i64 },
    #[error(
        "the warehouse has no mark of this partition, but the group has read it up to offset {group}: the mark was lost, or the \
         warehouse is another; another warehouse needs a `group` of its own in the sink's configuration; else put the mark back, \
         or start once with --adopt-from-group if the records before offset {group} are in the warehouse, or remove the group's \
         offset to store all records that the log still has"
    )]
    Lost { group: i64 },
    #[error(
        "the group's offset {group} is to be adopted, but the log has offsets {low} to {high}: records are missing, or the topic \
         was recreated; remove the group's offset to store all records that the log still has"
    )]
    NotAdopted { group: i64, low: i64, high: i64 },
    #[error(
        "the log cannot be read, several times in a row: {0}; records there are damaged or greater than what may be fetched; \
         mend the log or read with the properties that it needs, or, to go on without these records, set this partition's mark \
         in the warehouse to the last of their offsets; then start the sink again"
    )]
    Damaged(String),
    #[error("the warehouse cannot take the records: {0}")]
    Rejected(String),
    #[error("the warehouse passed over records that it had accepted: {0}")]
    Skipped(String),
}

impl Stop {
    /// Whether it may be only a broker that does not know the log's end yet.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Beyond { .. } => true,
            Self::NotAdopted { group, high, .. } => group > high,
            _ => false,
        }
    }

    /// One word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Beyond { .. } => "beyond_the_log",
            Self::Anew { .. } => "recreated",
            Self::Gone { .. } => "records_gone",
            Self::Lost { .. } => "token_lost",
            Self::NotAdopted { .. } => "not_adopted",
            Self::Damaged(_) => "damaged",
            Self::Rejected(_) => "rejected",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// The offset of the first record that may have to be stored.
pub(crate) fn begin(token: Option<u64>, survey: &Survey, adopt: bool) -> Result<i64, Stop> {
    let Survey { low, high, group } = *survey;
    let told = group.and_then(|group| group.told).map(|told| told.token);
    match (token, group) {
        (Some(token), group) => {
            let next = i64::try_from(token).ok().and_then(|token| token.checked_add(1));
            let Some(next) = next.filter(|next| *next <= high) else { return Err(Stop::Beyond { token, high }) };
            let nothing_between = told == Some(Some(token)) && group.is_some_and(|group| group.next >= low);
            if next >= low {
                Ok(next)
            } else if nothing_between {
                Ok(low)
            } else {
                Err(Stop::Gone { token, low })
            }
        }
        (None, None) => Ok(low),
        // The log begins where another consumer left the group: there is nothing to choose.
        (None, Some(group)) if told.is_none() && group.next == low => Ok(low),
        (None, Some(group)) if told == Some(None) => match u64::try_from(group.next - 1) {
            Ok(token) if group.next < low => Err(Stop::Gone { token, low }),
            _ => Ok(low),
        },
        (None, Some(group)) if adopt => {
            let group = group.next;
            if (low..=high).contains(&group) { Ok(group) } else { Err(Stop::NotAdopted { group, low, high }) }
        }
        (None, Some(group)) => Err(Stop::Lost { group: group.next }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hint, Told};
    use super::*;

    /// `group`: its offset, and the token beside it if that is ours.
    fn survey(low: i64, high: i64, group: Option<(i64, Option<u64>)>) -> Survey {
        let told = |token| Told { token: Some(token), print: None };
        Survey { low, high, group: group.map(|(next, token)| Hint { next, told: token.map(told) }) }
    }

    #[test]
    fn records_without_rows_are_not_missed_where_the_warehouse_keeps_no_mark_of_them() {
        let without_rows = |low, next| {
            let told = Some(Told { token: None, print: None });
            begin(None, &Survey { low, high: 20, group: Some(Hint { next, told }) }, false)
        };
        assert_eq!(without_rows(0, 7), Ok(0));
        assert_eq!(without_rows(7, 7), Ok(7));
        assert_eq!(without_rows(8, 7), Err(Stop::Gone { token: 6, low: 8 }));
    }

    #[test]
    fn where_the_log_begins_at_the_group_s_offset_there_is_nothing_to_adopt() {
        assert_eq!(begin(None, &survey(5, 5, Some((5, None))), false), Ok(5));
        assert_eq!(begin(None, &survey(5, 5, Some((5, Some(4)))), false), Err(Stop::Lost { group: 5 }));
    }

    #[test]
    fn a_token_is_followed_by_what_is_behind_it() {
        assert_eq!(begin(Some(9), &survey(0, 20, None), false), Ok(10));
        assert_eq!(begin(Some(9), &survey(10, 20, Some((3, None))), true), Ok(10));
        assert_eq!(begin(Some(9), &survey(0, 10, None), false), Ok(10), "at the end");
    }

    #[test]
    fn a_token_outside_the_log_stops() {
        assert_eq!(begin(Some(10), &survey(0, 10, None), false), Err(Stop::Beyond { token: 10, high: 10 }));
        let most = i64::MAX as u64;
        assert_eq!(
            begin(Some(most), &survey(0, i64::MAX, None), false),
            Err(Stop::Beyond { token: most, high: i64::MAX })
        );
        assert_eq!(begin(Some(u64::MAX), &survey(0, 10, None), false), Err(Stop::Beyond { token: u64::MAX, high: 10 }));
        assert_eq!(begin(Some(9), &survey(11, 20, None), false), Err(Stop::Gone { token: 9, low: 11 }));
    }

    #[test]
    fn markers_that_retention_took_are_not_missed_where_the_group_says_that_they_were_none() {
        assert_eq!(begin(Some(9), &survey(11, 11, Some((11, Some(9)))), false), Ok(11));
        for hint in [(10, Some(9)), (11, Some(8)), (11, Some(10)), (11, None)] {
            let begun = begin(Some(9), &survey(11, 11, Some(hint)), false);
            assert_eq!(begun, Err(Stop::Gone { token: 9, low: 11 }), "{hint:?}");
        }
    }

    #[test]
    fn without_a_token_it_begins_at_the_first_record_only_if_the_group_has_no_offset_either() {
        assert_eq!(begin(None, &survey(5, 20, None), false), Ok(5));
        let lost = begin(None, &survey(5, 20, Some((7, None))), false);
        assert_eq!(lost, Err(Stop::Lost { group: 7 }));
        assert!(lost.unwrap_err().to_string().contains("another warehouse needs a `group` of its own"));
        assert_eq!(begin(None, &survey(5, 20, Some((7, None))), true), Ok(7));
        assert_eq!(begin(None, &survey(5, 20, None), true), Ok(5));
        for group in [4, 21] {
            let begun = begin(None, &survey(5, 20, Some((group, None))), true);
            assert_eq!(begun, Err(Stop::NotAdopted { group, low: 5, high: 20 }));
            assert_eq!(begun.unwrap_err().may_pass(), group == 21);
        }
    }
}
