//! `gaitway sink redrive`: appends again what Snowflake accepted and did not store, and lets the partition go on.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, anyhow, bail};
use gaitway_service::{config, logs, signals};
use tokio::runtime::Handle;

use super::Flags;
use crate::config::{SinkConfig, WarehouseKind};
use crate::consume::redrive::{self, Account, Wanted};
use crate::snowflake::{self, Standing};

/// See [`run`].
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It may be ended at any moment and run again: nothing is stored twice. The sink may run meanwhile, \
                        and goes on by itself afterwards. What Snowflake does not store this time either goes to the topic \
                        of dead letters. Exits with 0 if the offsets are dealt with, with 1 if not."
)]
pub(super) struct Args {
    /// The sink's configuration file [default: /etc/gaitway/sink.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Brokers of Kafka [default: as configured]
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(super) kafka: Option<String>,
    /// The topic
    #[arg(long)]
    topic: String,
    /// The partition
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,
    /// The offsets that the sink named, both ends included
    #[arg(long, value_name = "FIRST-LAST")]
    offsets: Offsets,
    /// Only say what is stored and what is missing
    #[arg(long)]
    dry_run: bool,
}

/// One offset, or all from the first to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offsets(RangeInclusive<u64>);

impl FromStr for Offsets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let offset = |text: &str| {
            let offset = text.trim().parse::<u64>().ok().filter(|offset| *offset < i64::MAX as u64);
            offset.ok_or_else(|| "must be FIRST-LAST, such as 1200-1450, or one offset".to_owned())
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (offset(first)?, offset(last)?);
        if first > last {
            return Err(format!("must not end before they begin: {last} is less than {first}"));
        }
        Ok(Self(first..=last))
    }
}

/// Checks, drives through, tells.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config: file, kafka, topic, partition, offsets: Offsets(offsets), dry_run } = args;
    logs::init_to_stderr();
    let config = config::load::<SinkConfig>("sink", file.as_deref(), None, Flags::new(kafka))?;
    if config.warehouse != WarehouseKind::Snowflake {
        bail!(
            "the configured warehouse is not Snowflake: the others store all rows of a batch or none, so there is nothing to \
             redrive; {}",
            match &file {
                Some(file) => format!("is {} the file of the sink that stopped?", file.display()),
                None => "name the file of the sink that stopped with --config".to_owned(),
            }
        );
    }
    let topics = &config.kafka.topics;
    let Some(table) = topics.table(&topic) else {
        bail!("topic {topic} feeds no table: give {}, {} or {}", topics.raw, topics.activity, topics.gaps);
    };
    let options = config.snowflake.clone().context("the table snowflake is missing")?;
    let stop = signals::shutdown()?;
    let client = snowflake::Client::new(options, Handle::current(), stop.clone())?;
    let wanted = Wanted { table, topic, partition, offsets };
    let (asked, letters) = (wanted.clone(), topics.dead_letter.clone());
    let drive = move || {
        let account = redrive::run(&config, &client, &wanted, dry_run, &stop)?;
        let standing = client.standing(table, &wanted.topic, wanted.partition).map_err(|error| error.to_string())?;
        Ok::<_, String>((account, standing))
    };
    let driven = tokio::task::spawn_blocking(drive).await.context("redriving was interrupted")?;
    let (account, standing) =
        driven.map_err(|said| anyhow!("{said}; the same command may be run again at any time"))?;
    let shown = if dry_run { dry(&asked, &account) } else { done(&asked, &account, standing.as_ref(), &letters) };
    match std::io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn table(wanted: &Wanted, account: &Account, rows: &[(&str, u64, &str)]) -> String {
    let Wanted { topic, partition, offsets, .. } = wanted;
    let mut text = format!("{topic}/{partition}, offsets {} to {}\n", offsets.start(), offsets.end());
    let asked = ("asked", account.asked(), "");
    for (what, count, note) in std::iter::once(&asked).chain(rows) {
        let line = format!("  {what:<16}{count:>10}  {}", if *count > 0 { note } else { "" });
        // Writing into a String does not fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

const UNUSABLE: &str = "cannot be read or never be stored: dead letters since the sink met them";
const EMPTY: &str = "no record at this offset: marks of transactions, aborted or compacted records";
const GONE: &str = "before the first record that Kafka still has, and not stored";

fn dry(wanted: &Wanted, account: &Account) -> String {
    let Account { stored, appended, unusable, empty, gone, .. } = *account;
    let rows = [
        ("stored", stored, ""),
        ("missing", appended, "to be appended"),
        ("unusable", unusable, UNUSABLE),
        ("empty", empty, EMPTY),
        ("gone from Kafka", gone, GONE),
    ];
    table(wanted, account, &rows)
}

fn done(wanted: &Wanted, account: &Account, standing: Option<&Standing>, letters: &str) -> String {
    let Account { stored, appended, aside, unusable, empty, gone } = *account;
    let put = format!("passed over again, now in {letters}; once the cause is gone the same command stores them");
    let rows = [
        ("stored before", stored, ""),
        ("appended", appended, ""),
        ("put aside", aside, put.as_str()),
        ("unusable", unusable, UNUSABLE),
        ("empty", empty, EMPTY),
        ("gone from Kafka", gone, GONE),
    ];
    let mut text = table(wanted, account, &rows);
    let end = *wanted.offsets.end();
    let left = standing.filter(|standing| standing.passed_over > 0).and_then(|standing| standing.bound);
    let said = match left.filter(|bound| *bound > end) {
        Some(bound) => format!(
            "dealt with, and the sink stays stopped: rows up to offset {bound} were passed over too; redrive {}-{bound}\n",
            end + 1
        ),
        None => "dealt with, the sink goes on by itself\n".to_owned(),
    };
    text.push_str(&said);
    text
}

#[cfg(test)]
mod tests {
    use gaitway_proto::schema::RAW;
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<RangeInclusive<u64>, String> {
        text.parse().map(|Offsets(offsets)| offsets)
    }

    #[test]
    fn offsets_are_a_range_or_one() {
        assert_eq!(parse("1200-1450"), Ok(1200..=1450));
        assert_eq!(parse("7"), Ok(7..=7));
        assert_eq!(parse("0-0"), Ok(0..=0));
        assert_eq!(parse("9-5"), Err("must not end before they begin: 5 is less than 9".to_owned()));
        for text in
            ["", "-", "-5", "5-", "1-2-3", "a-b", "1..5", "1,2", "18446744073709551616", "0-9223372036854775807"]
        {
            assert!(parse(text).unwrap_err().contains("such as 1200-1450"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_what_was_written(first in 0..i64::MAX as u64, last in 0..i64::MAX as u64) {
            let (first, last) = (first.min(last), first.max(last));
            prop_assert_eq!(parse(&format!("{first}-{last}")), Ok(first..=last));
        }

        #[test]
        fn no_text_is_a_range_that_ends_before_it_begins(text in "[0-9 -]{0,12}") {
            if let Ok(offsets) = parse(&text) {
                prop_assert!(offsets.start() <= offsets.end());
            }
        }
    }

    #[test]
    fn the_account_says_whether_the_sink_goes_on() {
        let wanted = Wanted { table: &RAW, topic: "t".to_owned(), partition: 3, offsets: 5..=9 };
        let account = Account { stored: 2, appended: 1, aside: 1, empty: 1, ..Account::default() };
        let standing =
            |bound| Standing { channel: "c".to_owned(), committed: Some(20), passed_over: 2, bound: Some(bound) };
        let text = done(&wanted, &account, Some(&standing(9)), "letters");
        assert!(text.starts_with("t/3, offsets 5 to 9\n  asked                    5\n"), "{text}");
        assert!(text.contains("now in letters") && text.ends_with("the sink goes on by itself\n"), "{text}");
        let text = done(&wanted, &account, Some(&standing(14)), "letters");
        assert!(text.ends_with("redrive 10-14\n"), "{text}");
    }
}
