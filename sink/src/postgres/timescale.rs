//! TimescaleDB, where the database has it: hypertables, and a retention policy for raw readings.
//!
//! - Only an empty table is made a hypertable: a table with rows would be locked for as long as it takes to move them.
//! - The time of a hypertable is the column `stored_at`, when the row was stored. TimescaleDB wants a time in
//!   every row, and the contract's columns may be null; a phone with a wrong clock would make a chunk for each of its
//!   days, and retention would delete what has just arrived.
//! - A policy that the operator made is left alone unless `keep_raw` says another time.
//!
//! Seen to work by hand with TimescaleDB 2.29 on PostgreSQL 15; no test runs against the extension.

use std::time::Duration;

/// A table, and what the database says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) hypertable: bool,
    pub(super) empty: bool,
    /// In partitions, made before the extension was there: it stays as it is.
    pub(super) parted: bool,
    /// Seconds after which the policy deletes, if there is one.
    pub(super) drop_after: Option<i64>,
}

/// Tables, and the span of a chunk.
pub(super) const TABLES: [(&str, &str, &str); 2] =
    [("raw_data", "activity_records", "1 day"), ("processed_data", "user_activity_processed", "30 days")];

/// Whether the extension is there, and the schema of its functions.
pub(super) const EXTENSION: &str = "SELECT n.nspname::text FROM pg_catalog.pg_extension AS e
    JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'";

/// The statement that tells a table's [`State`], as `(hypertable, empty, drop_after, parted)`.
pub(super) fn look(schema: &str, table: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                WHERE hypertable_schema = '{schema}' AND hypertable_name = '{table}'),
            NOT EXISTS (SELECT FROM {schema}.{table}),
            (SELECT extract(epoch FROM (config ->> 'drop_after')::interval)::bigint FROM timescaledb_information.jobs
                WHERE proc_name = 'policy_retention' AND hypertable_schema = '{schema}' AND hypertable_name = '{table}'
                LIMIT 1),
            (SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = '{schema}.{table}'::regclass)"
    )
}

/// What is to be done with a table, and what the operator must know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) statements: Vec<String>,
    pub(super) notice: Option<String>,
}

/// What is to be done with the table at `place` of [`TABLES`], whose functions are in schema `functions`. `keep` is for
/// raw readings alone.
pub(super) fn plan(place: usize, functions: &str, state: State, keep: Option<Duration>) -> Plan {
    let (schema, table, chunk) = TABLES[place];
    let (name, functions) = (format!("{schema}.{table}"), quoted(functions));
    let convert = format!(
        "SELECT {functions}.create_hypertable('{name}', 'stored_at', chunk_time_interval => INTERVAL '{chunk}')"
    );
    let mut plan = Plan::default();
    match state {
        State { parted: true, .. } => return plan,
        State { hypertable: true, .. } => {}
        State { empty: true, .. } => plan.statements.push(convert),
        State { .. } => {
            plan.notice = Some(format!(
                "{name} has rows and stays a plain table; to make it a hypertable stop gaitway and run: {}",
                convert.replace("chunk_time", "migrate_data => TRUE, chunk_time")
            ));
            return plan;
        }
    }
    if let Some(seconds) = keep.map(|keep| keep.as_secs() as i64).filter(|s| place == 0 && state.drop_after != Some(*s))
    {
        plan.statements.push(format!("SELECT {functions}.remove_retention_policy('{name}', if_exists => TRUE)"));
        plan.statements
            .push(format!("SELECT {functions}.add_retention_policy('{name}', INTERVAL '{seconds} seconds')"));
    }
    plan
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: State = State { hypertable: false, empty: true, parted: false, drop_after: None };
    const DONE: State = State { hypertable: true, empty: false, parted: false, drop_after: None };
    const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

    #[test]
    fn an_empty_table_becomes_a_hypertable_and_one_with_rows_stays() {
        let plan_of = |state| plan(0, "public", state, None);
        let made = plan_of(NEW).statements;
        assert!(made[0].contains("\"public\".create_hypertable('raw_data.activity_records', 'stored_at'"), "{made:?}");
        assert_eq!(made.len(), 1);
        assert_eq!(plan_of(State { parted: true, ..NEW }), Plan::default());
        assert_eq!(plan_of(DONE), Plan::default());
        let kept = plan_of(State { empty: false, ..NEW });
        assert!(kept.statements.is_empty() && kept.notice.unwrap().contains("migrate_data => TRUE"));
    }

    #[test]
    fn only_raw_readings_are_deleted_and_only_by_a_policy_that_was_asked_for() {
        assert_eq!(plan(0, "public", DONE, HOUR).statements.len(), 2);
        assert!(
            plan(0, "ts", NEW, HOUR).statements[2]
                .contains("\"ts\".add_retention_policy('raw_data.activity_records', INTERVAL '3600 seconds')")
        );
        assert_eq!(plan(0, "public", State { drop_after: Some(3600), ..DONE }, HOUR), Plan::default());
        assert_eq!(plan(0, "public", State { drop_after: Some(7200), ..DONE }, None), Plan::default());
        assert_eq!(plan(1, "public", DONE, HOUR), Plan::default());
        assert_eq!(
            plan(0, "public", State { hypertable: false, empty: false, parted: false, drop_after: None }, HOUR)
                .statements
                .len(),
            0
        );
    }
}
