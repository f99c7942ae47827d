//! The users that deploy/postgres/roles.sql makes.

use gaitway_proto::ledger::Ledger as _;

use crate::partitions::{count, keeping, parts};
use crate::postgres_server::{Database, Reader};
use crate::setting_up::as_user;
use crate::support::Walk;

#[test]
#[ignore = "needs postgres"]
fn users_made_by_the_script_of_the_documentation_can_do_their_work_and_no_more() {
    let database = Database::new();
    let (admin, name) = (database.reader(), &database.name);
    let script = include_str!("../../../deploy/postgres/roles.sql");
    let of = |user: &str| format!("{user}_{name}");
    let users = ["gaitway_sink", "gaitway_reader", "gaitway_operator"];
    let of_all = |text: &str| users.iter().fold(text.to_owned(), |text, user| text.replace(user, &of(user)));

    let places = script.lines().zip(1..).filter(|(line, _)| line.contains("'CHANGE ME'")).map(|(_, at)| at);
    let [first, second, third] = places.collect::<Vec<u32>>()[..] else { panic!("three passwords") };
    let here = format!("three of lines {first}, {second} and {third}");
    for (edited, user) in users.into_iter().enumerate() {
        let unedited = script.replacen("'CHANGE ME'", "'secret'", edited);
        let refused = admin.try_run(&of_all(&unedited)).unwrap_err();
        let said = refused.as_db_error().unwrap();
        assert!(said.message().contains(&of(user)) && said.hint().unwrap().contains(&here), "{said:?}");
        let made = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'gaitway%{name}'");
        assert_eq!(admin.number(&made), 0);
    }
    let roles = of_all(&script.replace("'CHANGE ME'", "'secret'"));
    for _ in 0..2 {
        admin.run(&roles);
        keeping(&as_user(&database.url, &of("gaitway_sink")), 7).recover().unwrap();
    }
    // Who has a password needs none.
    admin.run(&of_all(script));
    let (mut sink, mut walk) = (keeping(&as_user(&database.url, &of("gaitway_sink")), 7), Walk::new());
    sink.recover().unwrap();
    walk.step(&mut sink, 3);
    assert!(parts(&admin).len() > 3);
    let reader = Reader::open(&as_user(&database.url, &of("gaitway_reader")));
    assert_eq!(count(&reader, "activity.raw_readings"), 3);
    assert!(reader.try_run("SELECT FROM raw_data.activity_records").is_err());
    assert!(reader.try_run("CREATE TABLE activity.mine (x int)").is_err());
    let operator = Reader::open(&as_user(&database.url, &of("gaitway_operator")));
    assert_eq!(count(&operator, "raw_data.activity_records"), 3);
    operator.run("DELETE FROM raw_data.activity_records WHERE deviceid = 'nobody'");
    assert!(operator.try_run("UPDATE raw_data.gaitway_progress SET position = 0").is_err());
    drop((sink, reader, operator));
    for user in users {
        let user = of(user);
        admin.run(&format!("REASSIGN OWNED BY {user} TO postgres; DROP OWNED BY {user}; DROP ROLE {user}"));
    }
}
