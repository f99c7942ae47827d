//! Nobody is shut out: without scripts, without a mouse, with a screen reader, over a slow network.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::harness::browser::{DESKTOP, PHONE, Page};
use crate::house::House;
use crate::walker::{RUNNING, SPRINTING, STANDING, WALKING};

/// Bytes of all that `/` fetches, each compressed.
const SIZE: usize = 100_000;

#[test]
#[ignore = "needs chromium"]
fn a_visitor_without_javascript_reads_the_current_state() {
    let house = House::new();
    let mut phone = house.walker("phone-anna");
    phone.push(WALKING);
    let page = house.browser.page(PHONE);
    page.allow_script(false);
    page.open(&house.at("/"));
    page.screenshot("no-script-phone");
    assert_eq!(page.text(&phone.doing("walking")).to_lowercase(), "walking");
    for part in [".confidence", ".since", ".heard", ".rate", ".holes", ".late"] {
        assert!(!page.text(&format!("{} {part}", phone.article())).is_empty(), "{part}");
    }
    for part in ["#relay", "#spool", "#disk", "#committed"] {
        assert!(!page.text(part).is_empty(), "{part}");
    }
    assert!(page.fetched().iter().all(|url| !url.contains("/api/")), "no script ran: {:?}", page.fetched());
    // The checker needs scripts; those of the page are passed by already.
    page.open(&house.at("/"));
    page.allow_script(true);
    page.assert_accessible("/ without JavaScript");
    page.allow_script(false);
    page.open(&house.at("/"));
    phone.rest(40);
    phone.push(RUNNING);
    page.through(|| drop(page.run("document.querySelector('.still a').click()")));
    assert!(page.has(&phone.doing("running")), "{}", page.text(&phone.article()));
    page.open(&house.at("/setup"));
    assert!(page.has("#light[data-state=seen]"), "{}", page.text("#light"));
    page.screenshot("no-script-setup-phone");
    page.assert_quiet();
}

/// What can be used by keyboard and is seen, in the order of the page, marked with its place. Radio buttons of one name
/// are one.
const USABLE: &str = "(() => {
    const all = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')];
    const seen = all.filter(one => one.checkVisibility({visibilityProperty: true}));
    const usable = seen.filter(one => one.tabIndex >= 0 && !one.disabled && (one.type !== 'radio' || one.checked));
    usable.forEach((one, place) => one.dataset.place = place);
    return usable.map(one => one.outerHTML.slice(0, 120));
})()";

/// Where the focus is, and whether that is seen.
const FOCUS: &str = "(() => {
    const one = document.activeElement, style = getComputedStyle(one);
    const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== 'none';
    const box = one.getBoundingClientRect();
    return [one.dataset.place ?? null, ring && one.matches(':focus-visible'),
        box.bottom > 0 && box.top < innerHeight];
})()";

/// Asserts that the tab key goes through all that can be used, in order, and shows where it is.
fn assert_reached_by_keyboard(page: &Page, state: &str) {
    let usable: Vec<String> = serde_json::from_value(page.run(USABLE)).unwrap();
    assert!(!usable.is_empty(), "{state}: nothing can be used");
    for (place, html) in usable.iter().enumerate() {
        page.press("Tab");
        let (reached, is_marked, is_in_view): (Option<String>, bool, bool) =
            serde_json::from_value(page.run(FOCUS)).unwrap();
        assert_eq!(reached, Some(place.to_string()), "{state}: the tab key does not come to {html}");
        assert!(is_marked, "{state}: nothing shows that the focus is on {html}");
        assert!(is_in_view, "{state}: the focus is out of view on {html}");
    }
}

#[test]
#[ignore = "needs chromium"]
fn the_pages_are_accessible_and_work_by_keyboard_in_light_and_dark() {
    let house = House::new();
    for (size, page) in &house.both("/") {
        page.await_element("#empty");
        page.await_element("#connection[data-state=live]");
        page.assert_accessible(&format!("/, empty, {size}"));
        assert_reached_by_keyboard(page, &format!("/, empty, {size}"));
        page.assert_quiet();
    }
    let people = [("phone-anna", WALKING), ("phone-ben", RUNNING), ("phone-carla", STANDING), ("phone-dan", SPRINTING)];
    let mut people = people.map(|(name, magnitude)| (house.walker(name), magnitude));
    for (phone, magnitude) in &mut people {
        phone.set_clock(60);
        for _ in 0..60 {
            phone.push(*magnitude);
        }
    }
    let pages = house.both("/");
    for (phone, magnitude) in &mut people {
        phone.push_three_sensors(*magnitude);
    }
    for (size, page) in &pages {
        page.wait("all phones are shown", "document.querySelectorAll('article.phone').length === 4");
        page.await_element("#connection[data-state=live]");
        page.assert_accessible(&format!("/, four phones, {size}"));
        assert_reached_by_keyboard(page, &format!("/, four phones, {size}"));
        page.run("document.activeElement.blur()");
        page.wear("dark");
        page.screenshot(&format!("live-four-phones-{size}-dark"));
        page.wear("light");
        page.screenshot(&format!("live-four-phones-{size}"));
        let wider = page.run("document.documentElement.scrollWidth > innerWidth");
        assert_eq!(wider, Value::Bool(false), "{size}: it must be scrolled sideways");
        page.assert_quiet();
    }
    for (size, page) in &house.both("/setup") {
        assert_reached_by_keyboard(page, &format!("/setup, {size}"));
        let wider = page.run("document.documentElement.scrollWidth > innerWidth");
        assert_eq!(wider, Value::Bool(false), "{size}: it must be scrolled sideways");
        page.assert_quiet();
    }
}

#[test]
#[ignore = "needs chromium"]
fn a_stranger_is_told_how_to_come_in_and_a_link_lets_in_by_keyboard() {
    let house = House::new();
    let page = house.browser.page(PHONE);
    page.be_a_stranger();
    for path in ["/", "/setup", "/enter/0123456789abcdefghjk"] {
        page.open(&house.at(path));
        page.assert_accessible(&format!("{path} of a stranger"));
        let name = path.split('/').nth(1).unwrap_or_default();
        page.screenshot(&format!("stranger-{}-phone", if name.is_empty() { "live" } else { name }));
        assert!(page.text("body").contains("gaitway agent reader add NAME"), "{path}: {}", page.text("body"));
        assert!(!page.has(".activity"), "{path}");
    }
    page.open(&house.at(&house.invite("anna")));
    page.assert_accessible("/enter of a link in force");
    page.screenshot("enter-phone");
    assert_reached_by_keyboard(&page, "/enter");
    page.through(|| page.press("Enter"));
    assert_eq!(page.run("location.pathname"), "/");
    page.await_element("#connection[data-state=live]");
    page.assert_quiet_but_for_the_network();
}

#[test]
#[ignore = "needs chromium"]
fn the_page_is_small_and_fetches_nothing_from_elsewhere() {
    let house = House::new();
    house.walker("phone-anna").push(WALKING);
    let page = house.browser.page(DESKTOP);
    page.open(&house.at("/"));
    page.await_element("#connection[data-state=live]");
    let icons = page.run("[...document.querySelectorAll('link[rel~=icon]')].map(link => link.href)");
    for icon in serde_json::from_value::<Vec<String>>(icons).unwrap() {
        page.run(&format!("fetch('{icon}').then(answer => answer.text()).then(text => text.length)"));
    }
    let mut total = 0;
    for (url, body) in page.bodies() {
        let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
        compressed.write_all(&body).unwrap();
        let size = compressed.finish().unwrap().len();
        total += size;
        println!("{size:>7} of {:>7} bytes  {}", body.len(), url.strip_prefix(house.origin()).unwrap_or(&url));
    }
    println!("{total:>7} bytes in all, each compressed by gzip -9");
    assert!(total > 1_000, "what was fetched is known");
    assert!(total < SIZE, "{total} bytes");
    let elsewhere: Vec<String> =
        page.fetched().into_iter().filter(|url| !url.starts_with(&format!("{}/", house.origin()))).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    page.assert_quiet();
}
