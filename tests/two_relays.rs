//! Two relays on the same topics, as processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use harness::kafka;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::proxy::Proxy;
use harness::topic;
use harness::warehouse::await_drained;
use nix::sys::signal::Signal;

/// The status that no unit restarts on.
const FENCED: i32 = 78;

#[test]
#[ignore = "needs kafka"]
fn a_second_relay_takes_over_and_the_first_ends_with_the_status_that_no_unit_restarts_on() {
    let dir = tempfile::tempdir().unwrap();
    let own = kafka::unique("two-relays");
    let raw = format!("{own}-raw");
    let file = dir.path().join("relay.toml");
    let config = format!(
        "[kafka]\nbrokers = \"{}\"\n[kafka.create]\npartitions = 2\n[kafka.topics]\nraw = \"{raw}\"\nactivity = \"{own}-activity\"\n\
         gaps = \"{own}-gaps\"\nprogress = \"{own}-progress\"\n",
        kafka::broker()
    );
    std::fs::write(&file, config).unwrap();
    let relay = || Process::start(&["relay", "--mqtt", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    let owns = |relay: &mut Process| {
        relay.logged("owning the topic", |event| (event["message"] == "owner of the progress topic").then_some(()));
    };

    let proxy = Proxy::new();
    let mut first = relay();
    proxy.point(Some(&first.mqtt_address()));
    owns(&mut first);
    let silent = dir.path().join("agent.toml");
    std::fs::write(&silent, "[windows]\nsilence = \"300ms\"\n").unwrap();
    let more = ["--config", silent.to_str().unwrap()];
    let mut agent = Process::agent(&dir.path().join("agent"), &proxy.url(), &more);
    let (url, spool) = (agent.agent_push_url(), dir.path().join("agent/spool.db"));
    let (phone, mut pushed) = (Phone::new(1, 3), Pushed::new());
    push(&url, &phone, 0..5, &mut pushed);
    await_drained(&spool);

    let mut second = relay();
    let address = second.mqtt_address();
    owns(&mut second);
    assert!(first.ended().is_none(), "it notices when it commits");
    push(&url, &phone, 5..10, &mut pushed);
    assert_eq!(first.wait().code(), Some(FENCED));

    proxy.point(Some(&address));
    await_drained(&spool);
    assert!(second.terminate(Signal::SIGTERM).success());
    assert_eq!(topic::read(kafka::broker(), &raw).len(), pushed.values().map(Vec::len).sum::<usize>());
}
