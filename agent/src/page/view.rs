//! What is shown: the agent's state in words, as HTML.

use maud::{DOCTYPE, Markup, html};

use crate::api::shape::Status;

/// Seconds until a browser asks again.
const AGAIN: u32 = 5;

/// The page.
pub(super) fn page(status: &Status) -> Markup {
    let agent = status.agent.as_deref().unwrap_or("agent");
    let inside = html! {
        h1 { "gaitway " span { (agent) } }
        @for notice in &status.notices {
            p.notice role="status" { (notice) }
        }
        h2 { "Phones" }
        @if status.phones.is_empty() {
            p { "No phone has pushed since the agent's start." }
        }
        @for phone in &status.phones {
            section {
                h3 { (phone.name.as_deref().unwrap_or(&phone.device_id)) }
                @match (phone.activity, phone.confidence) {
                    (Some(activity), Some(confidence)) => {
                        p.activity { (activity) " " small { (format!("{:.0} %", confidence * 100.0)) } }
                    }
                    _ => p.activity.none { "no activity" },
                }
                p { "heard " (ago(phone.seconds_ago)) " · " (thousands(phone.readings)) " readings since the agent's start" }
            }
        }
        h2 { "On the way" }
        p {
            @if status.relay.is_linked { "The relay takes what comes. " } @else { "The relay takes nothing at present. " }
            (match status.spool.frames {
                0 => "Nothing waits.".to_owned(),
                1 => format!("1 frame waits in the spool ({} kB).", thousands(status.spool.bytes / 1000)),
                more => {
                    format!("{} frames wait in the spool ({} kB).", thousands(more), thousands(status.spool.bytes / 1000))
                }
            })
        }
    };
    document("gaitway", Some(AGAIN), &inside)
}

/// A page for who may not look.
pub(super) fn closed() -> Markup {
    document(
        "gaitway: not for you yet",
        None,
        &html! {
            h1 { "Not for you yet" }
            p { "What phones do is shown to those who have a link. On the machine where gaitway runs, make one for this browser:" }
            pre { "gaitway agent reader add NAME" }
        },
    )
}

/// A page for who came by a link: opening it uses it up, so a tap does that and no look ahead.
pub(super) fn enter() -> Markup {
    document(
        "gaitway: open on this device",
        None,
        &html! {
            h1 { "Open gaitway on this device?" }
            p { "This browser will be shown what your phones do, until you take that back." }
            form method="post" { button type="submit" { "Open" } }
        },
    )
}

/// A page with one sentence.
pub(super) fn sentence(heading: &str, text: &str) -> Markup {
    document(&format!("gaitway: {heading}"), None, &html! { h1 { (heading) } p { (text) } })
}

fn document(title: &str, again: Option<u32>, inside: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(seconds) = again { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                link rel="stylesheet" href="/page.css";
            }
            body { main { (inside) } }
        }
    }
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..2 => "just now".to_owned(),
        2..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}

/// With spaces between groups of three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let grouped = digits.bytes().enumerate().flat_map(|(at, digit)| {
        let gap = at > 0 && (digits.len() - at).is_multiple_of(3);
        gap.then_some('\u{202f}').into_iter().chain([char::from(digit)])
    });
    grouped.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gaitway_proto::activity::{Activity, Window};

    use super::*;
    use crate::phones::{Phones, Token};
    use crate::status::{AgentSnapshot, Phone};
    use crate::uplink::UplinkSnapshot;

    #[test]
    fn the_page_says_what_phones_do_and_what_should_not_be_so() {
        let now = Instant::now();
        let running = Window {
            start: 0,
            end: 1,
            count: 1,
            mean: 5.0,
            activity: Activity::Walking,
            confidence: 0.874,
            revision: 0,
        };
        let mut status =
            AgentSnapshot { readings: 12_345, waiting: (1, 2), spool_bytes: 7_000, ..AgentSnapshot::default() };
        status.phones.insert("<b>".to_owned(), Phone { readings: 12_345, running: Some(running), ..Phone::new(now) });
        let away = UplinkSnapshot { waiting: Some("the relay is away".to_owned()), ..UplinkSnapshot::default() };
        let shown = Status::of(None, status.clone(), &away, Ok(None), "anybody may push", now);
        let page = super::page(&shown).into_string();
        for part in [
            "&lt;b&gt;",
            "walking <small>87 %",
            "12\u{202f}345 readings",
            "anybody may push",
            "the relay is away",
            "3 frames wait",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("<b>"), "{page}");

        let mut phones = Phones::default();
        phones.add("Anna's", &Token::random().unwrap(), String::new()).unwrap();
        let linked = UplinkSnapshot { welcomed: true, ..UplinkSnapshot::default() };
        let shown = Status::of(None, AgentSnapshot::default(), &linked, Ok(Some(&phones)), "", now);
        let page = super::page(&shown).into_string();
        assert!(
            page.contains("No phone has pushed") && page.contains("takes what comes") && !page.contains("notice"),
            "{page}"
        );
    }

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!(["0", "999", "1\u{202f}000", "12\u{202f}345\u{202f}678"], [0, 999, 1000, 12_345_678].map(thousands));
        assert_eq!(["just now", "2 s ago", "119 s ago", "2 min ago", "2 h ago"], [0, 2, 119, 120, 7200].map(ago));
    }
}
