//! The page that sets a phone up.

use crate::house::House;
use crate::walker::WALKING;

#[test]
#[ignore = "needs chromium"]
fn the_first_push_turns_the_light_green_and_a_test_push_is_celebrated() {
    let house = House::new();
    let pages = house.both("/setup");
    let mut phone = house.walker("phone-anna");
    let show = |state: &str| {
        for (size, page) in &pages {
            page.await_element(&format!("#light[data-state={state}]"));
            page.assert_accessible(&format!("/setup, {state}, {size}"));
            page.screenshot(&format!("setup-{state}-{size}"));
        }
    };
    show("waiting");
    for (_, page) in &pages {
        let link = page.attribute("a.open-app", "href").unwrap();
        assert!(link.starts_with("sensorlogger://config/"), "{link}");
        assert!(page.has("svg.qr[data-for=ios]") && page.has("svg.qr[data-for=android]"));
        let url = page.text(".push-url");
        assert!(url.contains("/data"), "{url}");
    }

    phone.push_test();
    show("tested");
    for (_, page) in &pages {
        assert!(page.text("#light").contains("test push"), "{}", page.text("#light"));
    }

    phone.push_three_sensors(WALKING);
    show("seen");
    for (_, page) in &pages {
        let said = page.text("#light");
        assert!(said.to_lowercase().contains("phone seen: 3 sensors, 100 hz"), "{said}");
        page.open(&house.at("/setup"));
        page.await_element("#light[data-state=seen]");
        page.assert_quiet();
        assert!(page.fetched().iter().all(|url| url.starts_with(house.origin())), "{:?}", page.fetched());
    }
    pages[0].1.wear("dark");
    pages[0].1.screenshot("setup-seen-phone-dark");
}
