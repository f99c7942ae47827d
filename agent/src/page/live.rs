//! The live page: the agent's state at one moment, in the elements that the scripts take over.
//!
//! - It can be read without scripts: everything but pictures is here, and a link asks again.
//! - The markup of a card stands here alone; the scripts copy it from a template.

use maud::{Markup, html};

use super::view::{document, still};
use super::words;
use crate::api::shape::{Relay, SeenPhone, Spool, Status, Test};

/// What main.js loads, so that a browser need not find out one by one.
const MODULES: [&str; 8] = ["phone", "way", "stream", "chart", "ribbon", "series", "stretches", "words"];

/// The page.
pub(super) fn page(status: &Status) -> Markup {
    let mut phones: Vec<&SeenPhone> = status.phones.iter().collect();
    phones.sort_by_key(|phone| name(phone));
    let size = match phones.len() {
        0 | 1 => "one",
        2 => "two",
        3..=8 => "few",
        _ => "many",
    };
    let head = html! {
        @for module in MODULES { link rel="modulepreload" href={ "/page/" (module) ".js" }; }
        script type="module" src="/page/main.js" {}
    };
    let body = html! {
        header.top {
            h1 { (steps()) "gaitway " span #agent { (status.agent.as_deref().unwrap_or("agent")) } }
            p #connection role="status" {}
            nav { a href="/setup" { "Add a phone" } }
        }
        main {
            (still("/"))
            ul #notices aria-label="Notices" {
                @for notice in &status.notices { li.notice { (words::capital(notice)) } }
            }
            @if phones.is_empty() { (no_phone(status.test.as_ref())) }
            div #phones data-size=(size) { @for phone in phones { (card(Some(phone))) } }
            (way(&status.relay, &status.spool))
            p #announcement.unseen aria-live="polite" {}
        }
        footer { p #about { "gaitway " (status.version) ", up for " (words::duration(status.uptime_seconds)) ", "
            (words::thousands(status.readings)) " readings" } }
        template #card { (card(None)) }
        template #no-phone { (no_phone(None)) }
    };
    document("gaitway", &head, &body)
}

fn name(phone: &SeenPhone) -> &str {
    phone.name.as_deref().unwrap_or(&phone.device_id)
}

/// Four steps, of which the style sheet lights as many as the activity is high.
fn steps() -> Markup {
    html! { span.steps aria-hidden="true" { i {} i {} i {} i {} } }
}

/// One phone; without one the elements alone.
fn card(phone: Option<&SeenPhone>) -> Markup {
    let activity = phone.and_then(|phone| phone.activity);
    let ago = phone.map_or(0, |phone| phone.seconds_ago);
    let state = if ago < words::SILENT { "live" } else { "stale" };
    let since = phone.and_then(|phone| phone.since.as_deref());
    html! {
        article.phone data-device=[phone.map(|phone| &phone.device_id)] data-ago=(ago) data-state=(state)
            data-now=(activity.unwrap_or("none")) {
            header {
                h2.name title=[phone.map(|phone| &phone.device_id)] { (phone.map(name).unwrap_or_default()) }
                p.heard { (words::heard(ago)) }
            }
            div.present {
                (steps())
                p.activity data-activity=(activity.unwrap_or("none")) { (words::activity(activity, ago)) }
                p.certainty {
                    span.confidence { (phone.and_then(|phone| phone.confidence).map(words::sure).unwrap_or_default()) }
                    " "
                    time.since datetime=[since] { (since.map(began).unwrap_or_default()) }
                }
            }
            figure.minute {
                canvas.chart role="img"
                    aria-label="Acceleration over the last minute, over the bands of the activities" {}
                figcaption.measured { "Nothing measured in the last minute" }
            }
            section.today {
                div.heading { h3.day { "Today" } p.readout {} }
                div.ribbon role="slider" tabindex="0" aria-label="What was when" aria-valuemin="0" aria-valuemax="1440"
                    aria-valuenow="0" { canvas {} }
                dl.totals {
                    @for activity in words::ACTIVITIES {
                        div data-activity=(activity) { dt { (words::capital(activity)) } dd { "…" } }
                    }
                }
            }
            ul.facts {
                li.rate { (words::thousands(phone.map_or(0.0, |phone| phone.readings_per_second).round() as u64))
                    " readings/s" }
                li.sensors { (phone.map(|phone| words::sensors(&phone.sensors)).unwrap_or_default()) }
                (problem("holes", phone.map_or(0, |phone| phone.holes), words::lost))
                (problem("late", phone.map_or(0, |phone| phone.late_readings), words::late))
            }
        }
    }
}

fn problem(part: &str, count: u64, words: fn(u64) -> String) -> Markup {
    let class = if count > 0 { format!("{part} wrong") } else { part.to_owned() };
    html! { li class=(class) { (words(count)) } }
}

/// "since 14:02 UTC" of an RFC 3339 text: without scripts nobody knows the reader's time zone.
fn began(since: &str) -> String {
    since.get(11..16).map(|time| format!("since {time} UTC")).unwrap_or_default()
}

fn no_phone(test: Option<&Test>) -> Markup {
    html! {
        section #empty {
            h2 { "No phone yet" }
            p { "As soon as a phone sends, this page shows what it does." }
            ol {
                li { "Install the app " b { "Sensor Logger" } " on the phone." }
                li {
                    "Open " a href="/setup" { "the set-up page" } " on it, or scan the code there: both set up the app."
                }
                li { "Start a recording." }
            }
            p.tested role="status" {
                @if let Some(test) = test {
                    "The test push arrived " (words::duration(test.seconds_ago)) " ago. Now start a recording."
                }
            }
        }
    }
}

/// From here to the warehouse; the same words as way.js.
fn way(relay: &Relay, spool: &Spool) -> Markup {
    let (state, link, more) = if relay.is_linked {
        ("linked", "Linked", "It takes what comes.")
    } else {
        ("away", "Away", "What comes is kept here.")
    };
    let age =
        spool.oldest_seconds.filter(|age| *age >= 5).map(|age| format!(", the oldest for {}", words::duration(age)));
    let age = age.unwrap_or_default();
    let room = if spool.max_bytes > 0 { format!(" of {}", words::size(spool.max_bytes)) } else { String::new() };
    let (waits, depth) = match spool.frames {
        0 => ("Nothing".to_owned(), String::new()),
        frames => (words::frames(frames), format!("{}{room}{age}", words::size(spool.bytes))),
    };
    let drain = match (spool.frames, spool.drained_in_seconds) {
        (0, _) => "Drained".to_owned(),
        (_, None) => "Not known".to_owned(),
        (_, Some(0)) => "A moment".to_owned(),
        (_, Some(left)) => format!("About {}", words::duration(left)),
    };
    let disk = spool.disk_free_bytes.map_or_else(|| "Not known".to_owned(), words::size);
    html! {
        section #way aria-labelledby="way-title" {
            h2 #way-title { "On the way to the warehouse" }
            dl {
                div { dt { "Relay" } dd #relay data-state=(state) { span { (link) } small { (more) } } }
                div { dt { "Waiting here" } dd #spool { span { (waits) } small { (depth) } } }
                div { dt { "Time to drain" } dd #drain { span { (drain) } small {} } }
                div { dt { "Committed" } dd #committed {
                    span { (words::frames(relay.committed_frames)) } small { "since the agent's start" } } }
                div { dt { "Disk left" } dd #disk { span { (disk) } small {} } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use gaitway_proto::activity::{Activity, Window};

    use super::*;
    use crate::phones::{Phones, Token};
    use crate::status::{AgentSnapshot, Phone};
    use crate::uplink::UplinkSnapshot;

    fn walking() -> Window {
        let (activity, confidence) = (Activity::Walking, 0.874);
        Window { start: 0, end: 1, count: 1, mean: 5.0, activity, confidence, revision: 0 }
    }

    fn with_phone(device: &str, phone: Phone) -> AgentSnapshot {
        AgentSnapshot { phones: [(device.to_owned(), phone.into())].into(), ..AgentSnapshot::default() }
    }

    fn shown(status: AgentSnapshot, uplink: &UplinkSnapshot, now: Instant) -> String {
        super::page(&Status::of(None, status, uplink, Ok(None), "anybody may push", now)).into_string()
    }

    #[test]
    fn the_page_says_what_phones_do_and_what_should_not_be_so() {
        let now = Instant::now();
        let phone = Phone { running: Some(walking()), rate: 843.6, holes: 3, since: Some(0), ..Phone::new(now) };
        let status = AgentSnapshot { waiting: (1, 2), spool_bytes: 7_000, ..with_phone("A", phone) };
        let away = UplinkSnapshot { waiting: Some("the relay is away".to_owned()), ..UplinkSnapshot::default() };
        let page = shown(status, &away, now);
        for part in [
            "data-device=\"A\"",
            "data-state=\"live\"",
            "<p class=\"activity\" data-activity=\"walking\">Walking</p>",
            "87\u{202f}% sure",
            "since 00:00 UTC",
            "844 readings/s",
            "<li class=\"holes wrong\">3 pushes lost on the way",
            "<li class=\"notice\">Anybody may push.",
            "Nothing is forwarded: the relay is away.",
            "data-state=\"away\"><span>Away</span><small>What comes is kept here.",
            "<span>3 frames</span><small>7.0 kB",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn refused_pushes_are_told_of_for_a_minute() {
        let begun = Instant::now();
        let told = |seconds| {
            let status = AgentSnapshot {
                refused: Some(("pushes without a token are refused".to_owned(), begun)),
                ..AgentSnapshot::default()
            };
            shown(status, &UplinkSnapshot::default(), begun + Duration::from_secs(seconds))
                .contains("<li class=\"notice\">Pushes without a token are refused.")
        };
        assert!(told(59) && !told(60));
    }

    #[test]
    fn what_strangers_send_is_text() {
        let now = Instant::now();
        let evil = "\"><script>alert(1)</script>";
        let page = shown(with_phone(evil, Phone::new(now)), &UplinkSnapshot::default(), now);
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(1)"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
    }

    #[test]
    fn a_silent_phone_does_not_look_alive() {
        let heard = Instant::now();
        let page =
            shown(with_phone("A", Phone::new(heard)), &UplinkSnapshot::default(), heard + Duration::from_secs(300));
        for part in ["data-state=\"stale\"", "last heard 5 min ago", "Not recording"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn without_a_phone_the_page_says_what_to_do() {
        let mut phones = Phones::default();
        phones.add("Anna's", &Token::random().unwrap(), String::new()).unwrap();
        let linked = UplinkSnapshot { welcomed: true, ..UplinkSnapshot::default() };
        let now = Instant::now();
        let status = Status::of(None, AgentSnapshot::default(), &linked, Ok(Some(&phones)), "", now);
        let page = super::page(&status).into_string();
        let body = page.split("<template").next().unwrap();
        assert!(body.contains("No phone yet") && body.contains("href=\"/setup\""), "{page}");
        assert!(!body.contains("class=\"notice\"") && !body.contains("<article"), "{page}");
        let heard = shown(with_phone("A", Phone::new(now)), &linked, now);
        assert!(!heard.split("<template").next().unwrap().contains("No phone yet"), "{heard}");
    }

    #[test]
    fn cards_stand_by_name_and_make_room_for_one_another() {
        let now = Instant::now();
        let phones = ["b", "c", "a"].map(|device| (device.to_owned(), Phone::new(now).into()));
        let page =
            shown(AgentSnapshot { phones: phones.into(), ..AgentSnapshot::default() }, &UplinkSnapshot::default(), now);
        let order: Vec<_> = page.split("data-device=\"").skip(1).map(|rest| &rest[..1]).collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert!(page.contains("data-size=\"few\""), "{page}");
    }

    #[test]
    fn without_scripts_a_link_asks_again() {
        let page = shown(AgentSnapshot::default(), &UplinkSnapshot::default(), Instant::now());
        assert!(page.contains("<noscript>") && page.contains("<a href=\"/\">Show the present one</a>"), "{page}");
        assert!(!page.contains("http-equiv"), "{page}");
        assert!(!page.contains("style=") && !page.contains("://") && !page.contains("onclick"), "{page}");
    }
}
