//! What the page says when something is away, and that it comes back by itself.

use crate::deaf::Deaf;
use crate::harness::browser::{Browser, DESKTOP, PHONE};
use crate::harness::process::Process;
use crate::harness::proxy::Proxy;
use crate::house::{House, folder, origin};
use crate::walker::{RUNNING, STANDING, WALKING, Walker};

#[test]
#[ignore = "needs chromium"]
fn a_killed_relay_is_told_and_a_restarted_agent_is_found_again() {
    let dir = folder();
    let (agent_dir, relay_dir) = (dir.path().join("agent"), dir.path().join("relay"));
    let proxy = Proxy::new();
    let mut relay = Process::up(&relay_dir, &[]);
    proxy.point(Some(&relay.mqtt_address()));
    let mut agent = Process::agent(&agent_dir, &proxy.url(), &[]);
    let push_url = agent.agent_push_url();
    let mut phone = Walker::new("phone-anna", &push_url);
    phone.push(WALKING);

    let browser = Browser::start();
    let pages = [("phone", PHONE), ("desktop", DESKTOP)].map(|(size, screen)| (size, browser.page(screen)));
    let show = |state: &str| {
        for (size, page) in &pages {
            page.assert_accessible(&format!("{state}, {size}"));
            page.screenshot(&format!("live-{state}-{size}"));
        }
    };
    for (_, page) in &pages {
        page.open(&format!("{}/", origin(&push_url)));
        page.await_element("#connection[data-state=live]");
        page.await_element("#relay[data-state=linked]");
        page.await_element(&phone.doing("walking"));
    }
    let linked = pages[0].1.text("#relay");

    relay.kill(&[]);
    proxy.point(None);
    proxy.cut();
    phone.push(WALKING);
    for (_, page) in &pages {
        page.await_element("#relay[data-state=away]");
        let away = page.text("#relay");
        assert!(!away.is_empty() && away != linked, "{away}");
        assert!(page.has("#connection[data-state=live]"), "the agent is there");
    }
    show("relay-away");

    let mut relay = Process::up(&relay_dir, &[]);
    proxy.point(Some(&relay.mqtt_address()));
    for (_, page) in &pages {
        page.await_element("#relay[data-state=linked]");
    }
    for (_, page) in &pages {
        page.assert_quiet();
    }

    agent.kill(&[]);
    for (_, page) in &pages {
        page.await_element("#connection[data-state=lost]");
    }
    show("agent-away");
    let address = origin(&push_url).strip_prefix("http://").unwrap();
    let (dir_text, relay_url) = (agent_dir.to_str().unwrap(), proxy.url());
    let mut agent = Process::start(&["agent", "--data-dir", dir_text, "--http", address, "--relay", &relay_url]);
    assert_eq!(agent.agent_push_url(), push_url, "the same port");
    for (_, page) in &pages {
        page.await_element("#connection[data-state=live]");
    }
    phone.rest(40);
    phone.push(RUNNING);
    for (_, page) in &pages {
        page.await_element(&phone.doing("running"));
        page.assert_quiet_but_for_the_network();
    }
    show("agent-back");
}

#[test]
#[ignore = "needs chromium"]
fn a_page_that_nobody_sees_holds_no_connection_and_is_at_the_present_once_it_is_seen() {
    let house = House::new();
    let mut phone = house.walker("phone-anna");
    phone.push(WALKING);
    let page = house.browser.page(PHONE);
    page.open(&house.at("/"));
    page.await_element("#connection[data-state=live]");
    page.await_element(&phone.doing("walking"));
    let hide = |is_hidden: bool| {
        page.run(&format!(
            "Object.defineProperty(document, 'hidden', {{get: () => {is_hidden}, configurable: true}});
             document.dispatchEvent(new Event('visibilitychange'))"
        ));
    };
    let events = "performance.getEntriesByType('resource').filter(one => one.name.endsWith('/events')).length";
    hide(true);
    // It is told of only once it has ended.
    page.wait("the events end", &format!("{events} === 1"));
    phone.rest(40);
    phone.push(RUNNING);
    assert!(page.has(&phone.doing("walking")), "it does not follow");
    hide(false);
    page.await_element(&phone.doing("running"));
    page.await_element("#connection[data-state=live]");
    page.assert_quiet();
}

#[test]
#[ignore = "needs chromium"]
fn where_events_do_not_pass_the_page_asks_again_and_again() {
    let house = House::new();
    let way = Deaf::towards(house.origin().strip_prefix("http://").unwrap());
    let mut phone = house.walker("phone-anna");
    let page = house.browser.page(PHONE);
    page.open(&format!("{}/", way.origin()));
    page.await_element("#connection[data-state=polling]");
    for (magnitude, word) in [(STANDING, "stationary"), (RUNNING, "running")] {
        phone.rest(40);
        phone.push(magnitude);
        page.await_element(&phone.doing(word));
    }
    assert!(way.refused() > 0, "it asked for events");
    page.assert_accessible("polling");
    page.screenshot("live-polling-phone");
    page.assert_quiet_but_for_the_network();
}
