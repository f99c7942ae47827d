//! The frame of all pages, and pages of a sentence or two; the live page stands in `live.rs`.

use maud::{DOCTYPE, Markup, html};

/// A page for who may not look.
pub(super) fn closed() -> Markup {
    plain(
        "gaitway: not for you yet",
        &html! {
            h1 { "Not for you yet" }
            p { "What phones do is shown to those who have a link. On the machine where gaitway runs, make one for this browser:" }
            pre { "gaitway agent reader add NAME" }
            p { "(with " code { "--data-dir" } ", if the agent has one)" }
        },
    )
}

/// A page for who came by a link: opening it uses it up, so a tap does that and no look ahead. `may_add`: it lets phones
/// be added.
pub(super) fn enter(may_add: bool) -> Markup {
    plain(
        "gaitway: open on this device",
        &html! {
            h1 { "Open gaitway on this device?" }
            p {
                "This browser will be shown what your phones do" @if may_add { ", and may add phones" }
                ", until you take that back."
            }
            form method="post" { button type="submit" { "Open" } }
        },
    )
}

/// A page with one sentence.
pub(super) fn sentence(heading: &str, text: &str) -> Markup {
    plain(&format!("gaitway: {heading}"), &html! { h1 { (heading) } p { (text) } })
}

/// What a browser without scripts is told: the page at `path` does not change by itself, which would take it from under a reader.
pub(crate) fn still(path: &str) -> Markup {
    html! { noscript { p.still { "Without scripts this page shows one moment. " a href=(path) { "Show the present one" } } } }
}

/// A page: `head` beside what all have, `body` with its own `main`.
pub(crate) fn document(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="/favicon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/page.css";
                (head)
            }
            body { (body) }
        }
    }
}

fn plain(title: &str, inside: &Markup) -> Markup {
    document(title, &Markup::default(), &html! { main.plain { (inside) } })
}
