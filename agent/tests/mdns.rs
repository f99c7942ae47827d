//! The agent's name in the local network, as Debian's Avahi finds it: on machines of their own, made of namespaces.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod mdns {
    pub(crate) mod avahi;
    pub(crate) mod machine;
}

use mdns::avahi::{Avahi, Found};
use mdns::machine::{Machine, Network, agent, await_some};

const EVERYWHERE: &str = "http = \"0.0.0.0:8000\"\n[mdns]\nname = \"attic\"\n";

fn page(name: &str, ip: &str) -> Found {
    let text = ["path=/", "push=/data"].map(str::to_owned).into();
    (format!("gaitway {name}"), format!("{name}.local"), ip.to_owned(), "8000".to_owned(), text)
}

fn await_pages(avahi: &Avahi, pages: &[Found]) {
    let pages = pages.iter().cloned().collect();
    let mut last = None;
    await_some(&format!("{pages:?} are found"), || {
        let found = avahi.browse();
        let is_so = found == pages;
        if last.as_ref() != Some(&found) {
            eprintln!("found: {found:?}");
            last = Some(found);
        }
        is_so.then_some(())
    });
}

fn await_address(avahi: &Avahi, name: &str, ip: &str) {
    await_some(&format!("{name} is {ip}"), || (avahi.resolve(name).as_deref() == Some(ip)).then_some(()));
}

#[test]
#[ignore = "needs network namespaces and avahi"]
fn two_agents_of_one_name_in_one_network_are_found_under_two_until_they_end() {
    let (dir, network) = (tempfile::tempdir().unwrap(), Network::new());
    let [one, other, laptop] = ["one", "other", "laptop"].map(Machine::new);
    network.plug(&one, "10.77.0.1");
    network.plug(&other, "10.77.0.2");
    network.plug(&laptop, "10.77.0.3");
    let mut first = agent(&one, &dir.path().join("one"), EVERYWHERE);
    first.await_saying("attic.local");
    let mut second = agent(&other, &dir.path().join("other"), EVERYWHERE);
    second.await_saying("\"attic-2.local\"");
    assert!(second.said().contains("attic.local is another's in this network"), "{}", second.said());

    let avahi = Avahi::start(&laptop, "laptop", &dir.path().join("avahi"));
    await_pages(&avahi, &[page("attic", "10.77.0.1"), page("attic-2", "10.77.0.2")]);
    await_address(&avahi, "attic.local", "10.77.0.1");
    await_address(&avahi, "attic-2.local", "10.77.0.2");

    assert!(first.terminate().success());
    await_pages(&avahi, &[page("attic-2", "10.77.0.2")]);
    // The name is free, and yet the second keeps the one that phones push to.
    assert!(second.terminate().success());
    let mut second = agent(&other, &dir.path().join("other"), EVERYWHERE);
    second.await_saying("\"attic-2.local\"");
    await_pages(&avahi, &[page("attic-2", "10.77.0.2")]);
}

#[test]
#[ignore = "needs network namespaces and avahi"]
fn an_avahi_on_the_same_machine_goes_on_answering_for_the_machine() {
    let (dir, network) = (tempfile::tempdir().unwrap(), Network::new());
    let [pi, laptop] = ["pi", "laptop"].map(Machine::new);
    network.plug(&pi, "10.77.0.1");
    network.plug(&laptop, "10.77.0.3");
    let own = Avahi::start(&pi, "pi", &dir.path().join("own"));
    // Each with nothing in its memory.
    let ask = |when: &str, agent: Option<&str>| {
        let laptops = Avahi::start(&laptop, "laptop", &dir.path().join(when));
        await_address(&laptops, "pi.local", "10.77.0.1");
        let pages: Vec<_> = agent.map(|name| page(name, "10.77.0.1")).into_iter().collect();
        await_pages(&laptops, &pages);
        if let Some(name) = agent {
            await_address(&laptops, &format!("{name}.local"), "10.77.0.1");
        }
    };
    ask("before", None);
    // The machine's name is Avahi's.
    let mut running = agent(&pi, &dir.path().join("agent"), "http = \"0.0.0.0:8000\"\n[mdns]\nname = \"pi\"\n");
    running.await_saying("\"pi-gaitway.local\"");
    ask("meanwhile", Some("pi-gaitway"));
    await_pages(&own, &[page("pi-gaitway", "10.77.0.1")]);
    await_address(&own, "pi-gaitway.local", "10.77.0.1");
    assert!(running.terminate().success());
    ask("after", None);
    await_address(&own, "pi.local", "10.77.0.1");
}

#[test]
#[ignore = "needs network namespaces and avahi"]
fn a_network_that_comes_and_goes_is_followed_and_only_the_listener_s_addresses_are_told() {
    let (dir, network) = (tempfile::tempdir().unwrap(), Network::new());
    let [pi, laptop] = ["pi", "laptop"].map(Machine::new);
    network.plug(&laptop, "10.77.0.3");
    let avahi = Avahi::start(&laptop, "laptop", &dir.path().join("avahi"));
    let mut everywhere = agent(&pi, &dir.path().join("agent"), EVERYWHERE);
    everywhere.await_saying("taking pushes");
    network.plug(&pi, "10.77.0.1");
    await_pages(&avahi, &[page("attic", "10.77.0.1")]);
    pi.ip("link del eth0");
    network.plug(&pi, "10.77.0.9");
    await_pages(&avahi, &[page("attic", "10.77.0.9")]);
    assert!(everywhere.terminate().success());

    pi.ip("addr add 10.77.0.10/24 dev eth0");
    let mut on_one = agent(&pi, &dir.path().join("agent"), &EVERYWHERE.replace("0.0.0.0", "10.77.0.10"));
    on_one.await_saying("\"attic.local\"");
    await_pages(&avahi, &[page("attic", "10.77.0.10")]);
    assert!(on_one.terminate().success());
    for (name, silent) in [("loopback", EVERYWHERE.replace("0.0.0.0", "127.0.0.1")), ("off", off())] {
        let mut agent = agent(&pi, &dir.path().join(name), &silent);
        agent.await_saying("taking pushes");
        await_pages(&avahi, &[]);
        assert!(!agent.said().contains(".local"), "{}", agent.said());
        assert!(!is_heard_on_5353(&pi), "{name}");
    }
}

fn off() -> String {
    format!("{EVERYWHERE}enabled = false\n")
}

/// Whether any process of `machine` has a socket for mDNS: port 5353 is 14E9.
fn is_heard_on_5353(machine: &Machine) -> bool {
    let tables = machine.command("cat").args(["/proc/self/net/udp", "/proc/self/net/udp6"]).output().unwrap();
    String::from_utf8_lossy(&tables.stdout).contains(":14E9 ")
}

#[test]
#[ignore = "needs network namespaces and avahi"]
fn a_port_that_is_another_s_alone_is_said_once_and_the_agent_runs_and_tries_again() {
    let (dir, network) = (tempfile::tempdir().unwrap(), Network::new());
    let [pi, laptop] = ["pi", "laptop"].map(Machine::new);
    network.plug(&pi, "10.77.0.1");
    network.plug(&laptop, "10.77.0.3");
    let avahi = Avahi::start(&laptop, "laptop", &dir.path().join("avahi"));
    let taken = pi.take_port();
    let mut running = agent(&pi, &dir.path().join("agent"), EVERYWHERE);
    running.await_saying("cannot be told on every link");
    await_some("the agent answers", || is_served(&pi).then_some(()));
    drop(taken);
    await_pages(&avahi, &[page("attic", "10.77.0.1")]);
    assert_eq!(running.said().matches("cannot be told on every link").count(), 1);
    assert!(running.terminate().success());
}

/// Whether the agent of `machine` answers.
fn is_served(machine: &Machine) -> bool {
    let script = "exec 3<>/dev/tcp/127.0.0.1/8000 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3";
    let said = machine.command("bash").args(["-c", script]).output().unwrap();
    String::from_utf8_lossy(&said.stdout).contains(" 200 ")
}
