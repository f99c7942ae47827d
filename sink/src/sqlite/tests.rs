//! What needs a hand on the warehouse's own connection.

use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::record::{Body, GapNotice, Origin};
use gaitway_proto::topic::AgentId;

use super::*;

struct Steps {
    agent: AgentId,
    source: Source,
    position: u64,
}

impl Steps {
    fn new() -> Self {
        let agent: AgentId = "pi".parse().unwrap();
        let source = Source::stream(&agent, Epoch::from_random(1), Stream::Raw);
        Self { agent, source, position: 0 }
    }

    fn step(&mut self, warehouse: &mut Warehouse, bytes: usize) -> Result<(), LedgerError> {
        let Self { agent, source, position } = self;
        let (from, to) = ((*position > 0).then_some(*position), *position + 1);
        let origin = Origin { agent, epoch: Epoch::from_random(1), ordinal: 1, stream: Stream::Raw, seq: to };
        let reason = "x".repeat(bytes);
        let gap = GapNotice { to_seq: to, messages: None, readings: None, reason, noticed_at: 0 };
        let record = Record { metadata: origin.metadata(0, None), body: Body::Gap(gap) };
        warehouse.submit(&[record], &[Mark { source: source.clone(), from, to }])?;
        *position = to;
        Ok(())
    }
}

fn stored(warehouse: &Warehouse) -> i64 {
    let conn = warehouse.conn.as_ref().unwrap();
    conn.query_row("SELECT count(*) FROM GAPS", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_full_disk_is_said_and_recovered_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut warehouse = Warehouse::open(dir.path().join("warehouse.db"), &Options::default()).unwrap();
    let mut steps = Steps::new();
    steps.step(&mut warehouse, 10).unwrap();
    // What SQLite says when no page can be added is what it says about a full disk.
    warehouse.conn.as_ref().unwrap().pragma_update(None, "max_page_count", 20).unwrap();
    let said = steps.step(&mut warehouse, 500_000).unwrap_err().to_string();
    assert!(said.contains("warehouse.db is full: free space"), "{said}");
    assert!(warehouse.in_doubt);
    warehouse.recover().unwrap();
    assert!(!warehouse.in_doubt);
    assert_eq!(stored(&warehouse), 1);
    steps.step(&mut warehouse, 500_000).unwrap();
    assert_eq!(warehouse.committed(std::slice::from_ref(&steps.source)).unwrap()[&steps.source], 2);
    assert_eq!(stored(&warehouse), 2);
}

#[test]
fn what_is_in_doubt_is_written_anew_before_going_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("warehouse.db");
    let mut warehouse = Warehouse::open(&path, &Options::default()).unwrap();
    let mut steps = Steps::new();
    steps.step(&mut warehouse, 10).unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM GAPS").unwrap();
    steps.step(&mut warehouse, 10).unwrap();

    warehouse.recover().expect("no doubt, and readers are not in the way");
    warehouse.in_doubt = true;
    let said = warehouse.recover().unwrap_err().to_string();
    assert!(said.contains("a program that reads it"), "{said}");
    assert!(steps.step(&mut warehouse, 10).is_err(), "not ready");
    reader.execute_batch("COMMIT").unwrap();
    warehouse.recover().unwrap();
    assert_eq!(stored(&warehouse), 2);
    steps.step(&mut warehouse, 10).unwrap();
}

#[test]
fn a_log_that_cannot_be_copied_keeps_nothing_from_being_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("warehouse.db");
    let mut warehouse = Warehouse::open(&path, &Options::default()).unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM GAPS").unwrap();
    let conn = warehouse.conn.as_ref().unwrap();
    conn.execute(FILL, []).unwrap();
    // A statement that is never ended is a reason for a checkpoint to fail.
    let mut statement =
        conn.prepare("SELECT source FROM gaitway_progress UNION ALL SELECT 'x' UNION ALL SELECT 'y'").unwrap();
    let mut rows = statement.query([]).unwrap();
    assert!(rows.next().unwrap().is_some());
    std::mem::forget(rows);
    std::mem::forget(statement);
    assert!(empty_log(conn).is_err());
    assert!(warehouse.place.wal_bytes() > opening::WAL_LIMIT as u64);

    warehouse.keeper = Keeper::load(conn, Options { max_bytes: 1 << 20, ..Options::default() }.policy(), 3600).unwrap();
    let now = WallClock { at: 1_700_000_000, synchronised: true };
    assert!(warehouse.keep_house(now, BUDGET).is_err(), "it is told");
    assert!(warehouse.counters.deleted(Reason::Size) > 0);
}

/// More than the log keeps, in one commit.
const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
    INSERT INTO ACTIVITY_RECORDS (RECORD_METADATA, reading) SELECT '{}', hex(zeroblob(10000)) FROM n";

#[test]
fn a_file_that_gives_space_back_is_not_taken_for_one_that_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("warehouse.db");
    let mut warehouse = Warehouse::open(&path, &Options::default()).unwrap();
    let at = |minute: i64| WallClock { at: 1_700_000_000 + 60 * minute, synchronised: true };
    let conn = warehouse.conn.as_ref().unwrap();
    conn.execute(FILL, []).unwrap();
    assert!(empty_log(conn).unwrap());
    warehouse.keeper = Keeper::load(conn, Options { max_bytes: 1 << 20, ..Options::default() }.policy(), 3600).unwrap();
    warehouse.tend_at(at(0)).unwrap();
    let (before, mut steps) = (warehouse.place.file_bytes(), Steps::new());
    for minute in 1..2000 {
        assert!(empty_log(warehouse.conn.as_ref().unwrap()).unwrap());
        // It grows in the log again before anybody looks.
        steps.step(&mut warehouse, 10_000).unwrap();
        warehouse.tend_at(at(minute)).unwrap();
        if warehouse.place.file_bytes() < before / 2 {
            return;
        }
    }
    panic!("no space was given back");
}
