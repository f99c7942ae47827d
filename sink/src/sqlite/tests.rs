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
