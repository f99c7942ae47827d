//! What of an account is not as the sink needs it. Checked against the emulator, not against an account.
//!
//! - Nothing is opened: an open would fence the sink that runs.
//! - What is asked needs no warehouse: `DESC` and `SHOW`, and functions of the session.
//! - Rights may come by way of another role, which is not looked into: a right that is not found is a warning there.

use std::collections::BTreeMap;
use std::time::Duration;

use gaitway_proto::schema::{Dialect, FieldType, RECORD_METADATA, TABLES, Table};
use gaitway_service::checkup::{Checkup, Grade};
use gaitway_service::clock;
use reqwest::Method;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{Call, Failure};
use super::backoff::Pace;
use super::client::{Client, Request};
use super::options::Options;
use super::sql::{Rows, SqlError};
use super::status::{ChannelStatus, SUCCESS, Statuses};

/// Somebody waits for the answers.
const PACE: Pace = Pace {
    first: Duration::from_millis(500),
    most: Duration::from_secs(2),
    patience: Duration::from_secs(5),
    status: Duration::from_millis(200),
    idle: Duration::from_secs(10),
    answer: Duration::from_secs(15),
};

/// Channels that one question names.
const ASKED: usize = 100;

/// The rights on a table that the sink needs.
const RIGHTS: [&str; 2] = ["INSERT", "SELECT"];

/// A topic whose records go into a table.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// The table.
    pub table: &'static Table,
    /// The topic.
    pub topic: &'a str,
    /// Its partitions.
    pub partitions: i32,
}

/// Looks at key, way in, role, tables, rights, and at the channels of `feeds`. Blocks; not for threads of `runtime`.
pub fn examine(options: &Options, feeds: &[Feed<'_>], runtime: Handle, checkup: &mut Checkup) {
    let subject = format!("Snowflake {}", options.account);
    let client = match Client::new(options.clone(), runtime, CancellationToken::new()) {
        Ok(client) => client.paced(PACE, clock::now_micros),
        Err(error) => return checkup.fail(subject, error.to_string()),
    };
    match client.session() {
        Ok(session) => checkup.ok(
            &subject,
            format!("lets user {} in by key {}; rows go to {}", options.user, client.fingerprint(), session.scope),
        ),
        Err(failure) => return checkup.fail(subject, locked_out(options, &failure)),
    }
    let Some(role) = of_role(&client, &subject, checkup) else { return };
    let grants = grants(&client, &role, checkup);
    for table in TABLES {
        of_table(&client, table, checkup);
        if let Some(grants) = &grants {
            let name = full_name(options, table);
            for right in RIGHTS.into_iter().filter(|right| !grants.allow(right, &name)) {
                let said = format!("role {role} has no {right} on it: GRANT {right} ON TABLE {name} TO ROLE {role}");
                checkup.add(grants.grade_of_missing(), subject_of(table), said);
            }
        }
    }
    if let Some(grants) = &grants {
        of_usage(&client, &role, grants, checkup);
    }
    for feed in feeds {
        of_channels(&client, feed, checkup);
    }
}

/// Why there is no session, and what to look at.
fn locked_out(options: &Options, failure: &Failure) -> String {
    match failure {
        Failure::Again { why, .. } => {
            let asks = if options.url.is_some() { "snowflake.url" } else { "snowflake.account" };
            format!(
                "does not answer at {}: check {asks}, the network and firewall on the way ({why})",
                options.account_url()
            )
        }
        failure => failure.why().to_owned(),
    }
}

fn subject_of(table: &Table) -> String {
    format!("table {}.{}", table.schema, table.name)
}

fn full_name(options: &Options, table: &Table) -> String {
    format!("{}.{}.{}", options.database, table.schema, table.name).to_ascii_uppercase()
}

/// The role that statements run with.
fn of_role(client: &Client, subject: &str, checkup: &mut Checkup) -> Option<String> {
    let rows = match client.query("SELECT CURRENT_ROLE()") {
        Ok(rows) => rows,
        Err(error) => {
            checkup.fail(subject, format!("cannot be asked in SQL: {error}"));
            return None;
        }
    };
    let Some(role) = rows.rows.into_iter().next().and_then(|row| row.into_iter().next()?) else {
        let user = &client.options().user;
        checkup.fail(subject, format!("user {user} has no role: ALTER USER {user} SET DEFAULT_ROLE = GAITWAY_SINK"));
        return None;
    };
    checkup.ok(subject, format!("role {role}"));
    Some(role)
}

fn of_table(client: &Client, table: &'static Table, checkup: &mut Checkup) {
    let name = full_name(client.options(), table);
    match client.query(&format!("DESC TABLE {name}")) {
        Ok(described) => {
            let faults = faults(table, &Columns::of(&described));
            if faults.is_empty() {
                checkup.ok(subject_of(table), "has all columns");
            }
            for (grade, fault) in faults {
                checkup.add(grade, subject_of(table), fault);
            }
        }
        Err(SqlError::Refused(why)) => checkup.fail(
            subject_of(table),
            format!(
                "is not there, or this role may not see it: run deploy/snowflake/02_tables.sql and 03_roles.sql ({why})"
            ),
        ),
        Err(error) => checkup.fail(subject_of(table), error.to_string()),
    }
}

/// Type and nullability by name, as `DESC TABLE` has them.
struct Columns(BTreeMap<String, (String, bool)>);

impl Columns {
    fn of(described: &Rows) -> Self {
        let at = |name: &str| described.columns.iter().position(|column| column.eq_ignore_ascii_case(name));
        let (name, kind, null) = (at("name"), at("type"), at("null?"));
        let cell = |row: &[Option<String>], at: Option<usize>| at.and_then(|at| row.get(at)?.clone());
        let columns = described.rows.iter().filter_map(|row| {
            let nullable = cell(row, null).is_none_or(|null| null != "N");
            Some((cell(row, name)?.to_ascii_uppercase(), (cell(row, kind)?.to_ascii_uppercase(), nullable)))
        });
        Self(columns.collect())
    }
}

/// What keeps rows out of `table` or changes them.
fn faults(table: &'static Table, found: &Columns) -> Vec<(Grade, String)> {
    let mut faults = Vec::new();
    let metadata = std::iter::once((RECORD_METADATA, FieldType::Object));
    let wanted: Vec<_> = metadata.chain(table.fields.iter().map(|field| (field.name, field.kind))).collect();
    for (name, kind) in &wanted {
        let sql = kind.sql(Dialect::Snowflake);
        let Some((found, nullable)) = found.0.get(&name.to_ascii_uppercase()) else {
            // Snowflake leaves out keys without a column, and says nothing.
            faults.push((
                Grade::Fail,
                format!(
                    "lacks column {name}, so that its values are left out: ALTER TABLE {}.{} ADD COLUMN {name} {sql}",
                    table.schema, table.name
                ),
            ));
            continue;
        };
        if !takes(sql, found) {
            faults.push((Grade::Fail, format!("column {name} is {found} and must be {sql}: rows that do not fit are passed over; change it, or move the table away")));
        }
        if !nullable {
            faults.push((
                Grade::Fail,
                format!(
                    "column {name} is NOT NULL: rows without it are passed over; ALTER COLUMN {name} DROP NOT NULL"
                ),
            ));
        }
    }
    for (name, (_, nullable)) in &found.0 {
        if !nullable && wanted.iter().all(|(known, _)| !known.eq_ignore_ascii_case(name)) {
            faults.push((
                Grade::Fail,
                format!(
                    "column {name} is NOT NULL, and gaitway does not know it: every row is passed over; DROP NOT NULL"
                ),
            ));
        }
    }
    faults
}

/// Whether a column of type `found` holds every value of one that the set-up declares as `wanted`.
fn takes(wanted: &str, found: &str) -> bool {
    let parts = |text: &str| {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let numbers: Vec<u32> = rest.trim_end_matches(')').split(',').filter_map(|n| n.trim().parse().ok()).collect();
        (name.trim().to_owned(), numbers)
    };
    let ((wanted, least), (found, has)) = (parts(wanted), parts(found));
    let number = |at: usize| has.get(at).copied().unwrap_or(0);
    match wanted.as_str() {
        "NUMBER" => found == "NUMBER" && number(1) == 0 && number(0) >= least.first().copied().unwrap_or(38),
        "FLOAT" => matches!(found.as_str(), "FLOAT" | "DOUBLE" | "REAL"),
        // Shorter ones were declared so by somebody.
        "VARCHAR" => {
            matches!(found.as_str(), "VARCHAR" | "TEXT" | "STRING") && (has.is_empty() || number(0) >= 16_777_216)
        }
        "TIMESTAMP_NTZ" => found == "TIMESTAMP_NTZ" && (has.is_empty() || number(0) == 9),
        _ => found == wanted,
    }
}

/// Rights of a role: which, on what kind of object, of which name.
struct Grants {
    rights: Vec<(String, String, String)>,
    /// Rights may come from a role that was granted to it.
    inherits: bool,
}

impl Grants {
    fn of(shown: &Rows) -> Self {
        let at = |name: &str| shown.columns.iter().position(|column| column.eq_ignore_ascii_case(name));
        let (right, on, name) = (at("privilege"), at("granted_on"), at("name"));
        let cell =
            |row: &[Option<String>], at: Option<usize>| at.and_then(|at| row.get(at)?.clone()).unwrap_or_default();
        let rights: Vec<_> = shown
            .rows
            .iter()
            .map(|row| {
                let plain = cell(row, name).replace('"', "").to_ascii_uppercase();
                (cell(row, right).to_ascii_uppercase(), cell(row, on).to_ascii_uppercase(), plain)
            })
            .collect();
        let inherits = rights.iter().any(|(_, on, _)| on == "ROLE");
        Self { rights, inherits }
    }

    fn allow(&self, right: &str, name: &str) -> bool {
        self.rights.iter().any(|(has, _, on)| (has == right || has == "OWNERSHIP" || has == "ALL") && on == name)
    }

    fn grade_of_missing(&self) -> Grade {
        if self.inherits { Grade::Warn } else { Grade::Fail }
    }
}

fn grants(client: &Client, role: &str, checkup: &mut Checkup) -> Option<Grants> {
    match client.query(&format!("SHOW GRANTS TO ROLE {role}")) {
        Ok(shown) => Some(Grants::of(&shown)),
        Err(error) => {
            checkup.warn(format!("role {role}"), format!("its rights cannot be seen: {error}"));
            None
        }
    }
}

fn of_usage(client: &Client, role: &str, grants: &Grants, checkup: &mut Checkup) {
    let database = client.options().database.to_ascii_uppercase();
    let mut objects = vec![("DATABASE", database.clone())];
    for table in TABLES {
        let schema = ("SCHEMA", format!("{database}.{}", table.schema.to_ascii_uppercase()));
        if !objects.contains(&schema) {
            objects.push(schema);
        }
    }
    let subject = format!("role {role}");
    let mut complete = true;
    for (kind, name) in objects {
        if !grants.allow("USAGE", &name) {
            complete = false;
            let said = format!("has no USAGE on {name}: GRANT USAGE ON {kind} {name} TO ROLE {role}");
            checkup.add(grants.grade_of_missing(), &subject, said);
        }
    }
    if complete {
        checkup.ok(subject, "may use the database and its schemas");
    }
}

fn of_channels(client: &Client, feed: &Feed<'_>, checkup: &mut Checkup) {
    let Feed { table, topic, partitions } = *feed;
    let subject = format!("channels of {topic}");
    let names: Vec<(i32, String)> =
        (0..partitions).map(|number| (number, client.channel(table, topic, number).name().to_owned())).collect();
    let mut found: BTreeMap<String, ChannelStatus> = BTreeMap::new();
    for some in names.chunks(ASKED) {
        let asked: Vec<_> = some.iter().flat_map(|(_, name)| [name.clone(), format!("{name}_redrive")]).collect();
        match statuses(client, table, &asked) {
            Ok(some) => found.extend(some),
            // The pipe comes into being with the first channel.
            Err(Failure::Missing(_)) => {}
            Err(failure) => return checkup.warn(subject, format!("cannot be asked for: {}", failure.why())),
        }
    }
    let mut open = 0;
    for (number, name) in &names {
        let Some(status) = found.get(name) else { continue };
        open += 1;
        let redriven = found.get(&format!("{name}_redrive")).and_then(ChannelStatus::redriven);
        // As the partition's own channel judges.
        if status.errors() > 0 && !status.is_settled(redriven) {
            let (errors, last) = (status.errors(), status.bound());
            let upto = last.map_or_else(String::new, |last| format!(" up to offset {last}"));
            let why = status.last_error_message.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
            let first = redriven.map_or(0, |redriven| redriven + 1);
            let last = last.map_or("LAST".to_owned(), |last| last.to_string());
            checkup.fail(
                format!("channel {name}"),
                format!(
                    "has {errors} rows that Snowflake passed over{upto}{why}: mend the table, then gaitway sink redrive \
                     --topic {topic} --partition {number} --offsets {first}-{last}, or what the stopped sink names"
                ),
            );
        }
        if status.code != SUCCESS {
            let code = &status.code;
            checkup.warn(format!("channel {name}"), format!("is {code}: the sink opens it again"));
        }
    }
    if open == 0 {
        checkup.ok(subject, "none was opened yet");
    } else {
        let s = if open == 1 { "" } else { "s" };
        checkup.ok(subject, format!("{open} channel{s} for {partitions} partitions"));
    }
}

fn statuses(client: &Client, table: &Table, names: &[String]) -> Result<BTreeMap<String, ChannelStatus>, Failure> {
    let session = client.session()?;
    let path = format!(
        "/databases/{}/schemas/{}/pipes/{}-STREAMING:bulk-channel-status",
        client.options().database,
        table.schema,
        table.name
    );
    let body = serde_json::json!({"channel_names": names}).to_string();
    let request = Request::json(Call::Status, Method::POST, &path, (Uuid::new_v4(), 0), body);
    let reply = client.send(&session, request)?;
    let Statuses { channel_statuses } = serde_json::from_slice(&reply.body)
        .map_err(|error| Failure::Refused(format!("status: answer cannot be read: {error}")))?;
    Ok(channel_statuses)
}

#[cfg(test)]
mod tests {
    use gaitway_proto::schema::GAPS;

    use super::*;

    fn described() -> Vec<Vec<Option<String>>> {
        let metadata = std::iter::once((RECORD_METADATA, FieldType::Object));
        let columns = metadata.chain(GAPS.fields.iter().map(|field| (field.name, field.kind)));
        columns
            .map(|(name, kind)| {
                let kind = match kind.sql(Dialect::Snowflake) {
                    "NUMBER(19)" => "NUMBER(19,0)",
                    "VARCHAR" => "VARCHAR(16777216)",
                    other => other,
                };
                [name.to_ascii_uppercase(), kind.to_owned(), "COLUMN".to_owned(), "Y".to_owned()].map(Some).to_vec()
            })
            .collect()
    }

    fn said(rows: Vec<Vec<Option<String>>>) -> String {
        let columns = ["name", "type", "kind", "null?"].map(str::to_owned).to_vec();
        let faults = faults(&GAPS, &Columns::of(&Rows { columns, rows }));
        faults.into_iter().map(|(_, said)| said + "\n").collect()
    }

    #[test]
    fn a_table_as_it_was_set_up_has_no_faults() {
        assert_eq!(said(described()), "");
    }

    #[test]
    fn what_would_lose_values_in_silence_is_said() {
        let mut rows = described();
        rows.remove(2);
        assert!(said(rows).contains("lacks column epoch"));
        for (at, kind) in [
            (4, "NUMBER(10,0)"),
            (4, "NUMBER(38,2)"),
            (4, "FLOAT"),
            (1, "VARCHAR(10)"),
            (9, "TIMESTAMP_NTZ(3)"),
            (9, "TIMESTAMP_LTZ(9)"),
            (0, "VARCHAR(16777216)"),
        ] {
            let mut rows = described();
            rows[at][1] = Some(kind.to_owned());
            assert!(said(rows).contains(&format!("is {kind} and must be")), "{at} {kind}");
        }
        let mut wider = described();
        wider[4][1] = Some("NUMBER(38,0)".to_owned());
        assert_eq!(said(wider), "");
        let mut rows = described();
        rows[1][3] = Some("N".to_owned());
        assert!(said(rows).contains("agentId is NOT NULL"));
        let mut rows = described();
        rows.push(["MINE", "NUMBER(38,0)", "COLUMN", "N"].map(|text| Some(text.to_owned())).to_vec());
        assert!(said(rows).contains("column MINE is NOT NULL, and gaitway does not know it"));
    }

    #[test]
    fn whoever_does_not_answer_is_named_with_what_to_check() {
        let mut options = Options::new("my_org-acct", "user", "key.p8");
        let away = Failure::Again { why: "host discovery: refused".to_owned(), after: None };
        let said = locked_out(&options, &away);
        assert!(said.contains("https://my-org-acct.snowflakecomputing.com: check snowflake.account"), "{said}");
        options.url = Some("https://127.0.0.1:1/".to_owned());
        let said = locked_out(&options, &away);
        assert!(said.contains("https://127.0.0.1:1: check snowflake.url") && said.contains("refused"), "{said}");
        assert_eq!(locked_out(&options, &Failure::Denied("the key".to_owned())), "the key");
    }

    #[test]
    fn a_right_is_found_by_its_name_and_ownership_is_every_right() {
        let row = |cells: [&str; 3]| cells.map(|text| Some(text.to_owned())).to_vec();
        let shown = Rows {
            columns: ["privilege", "granted_on", "name"].map(str::to_owned).to_vec(),
            rows: vec![row(["INSERT", "TABLE", "DB.S.T"]), row(["OWNERSHIP", "TABLE", "DB.S.U"])],
        };
        let grants = Grants::of(&shown);
        assert!(
            grants.allow("INSERT", "DB.S.T") && !grants.allow("SELECT", "DB.S.T") && grants.allow("SELECT", "DB.S.U")
        );
        assert_eq!(grants.grade_of_missing(), Grade::Fail);
        let rows = vec![row(["USAGE", "ROLE", "OTHER"])];
        assert_eq!(Grants::of(&Rows { rows, ..shown }).grade_of_missing(), Grade::Warn);
    }
}
