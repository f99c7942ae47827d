//! The set-up page as HTML. The words for the app's settings are the app's own.

use maud::{Markup, html};
use zeroize::Zeroizing;

use super::code::Code;
use super::light::Light;
use super::link::Sensors;
use crate::page::{document, still};
use crate::shell;

/// What sets a phone up.
pub(super) struct Links {
    /// For iPhones, which know names such as `pi.local`.
    pub(super) ios: Zeroizing<String>,
    /// For Androids, of which many know none.
    pub(super) android: Zeroizing<String>,
    /// The page is open on an iPhone.
    pub(super) is_ios: bool,
    /// What to type where no link works.
    pub(super) push_urls: Vec<String>,
}

/// Whom the page is for.
pub(super) enum For<'a> {
    /// Any phone: there is no list.
    Anybody,
    /// The phone of this name, whose token was first shown so many seconds `ago`; `once`: it is shown this once.
    Phone { name: &'a str, ago: u64, once: bool },
    /// Who may add a phone to the list.
    Adding,
    /// The browser of this phone, whose token is not known here any more.
    Forgotten(&'a str),
    /// Who may look and nothing else.
    Nobody,
}

/// All that is shown.
pub(super) struct Shown<'a> {
    pub(super) whose: For<'a>,
    pub(super) links: Option<Links>,
    pub(super) sensors: Sensors,
    pub(super) may_add: bool,
    /// How commands name this agent.
    pub(super) flag: &'a str,
    /// Other machines do not reach the listener.
    pub(super) is_for_this_machine: bool,
    /// The listener's.
    pub(super) port: u16,
    /// Why what was asked for was not done.
    pub(super) problem: Option<String>,
    /// None where no phone is awaited.
    pub(super) light: Option<Light>,
}

impl Shown<'_> {
    fn is_once(&self) -> bool {
        matches!(self.whose, For::Phone { once: true, .. })
    }
}

/// The page.
pub(super) fn page(shown: &Shown<'_>) -> Markup {
    let name = if let For::Phone { name, .. } | For::Forgotten(name) = shown.whose { Some(name) } else { None };
    let head = html! {
        link rel="stylesheet" href="/setup.css";
        @if shown.light.is_some() {
            link rel="modulepreload" href="/page/stream.js";
            link rel="modulepreload" href="/page/words.js";
            script type="module" src="/page/setup.js" {}
        }
    };
    let body = html! {
        header.top {
            h1 { "Set up " (name.unwrap_or("a phone")) }
            nav { a href="/" { "Live page" } }
        }
        main.setup {
            @if let Some(problem) = &shown.problem { p.notice role="alert" { (problem) } }
            @if shown.is_for_this_machine {
                p.notice {
                    "This agent listens on this machine alone: no phone reaches it. Start it with "
                    code { "--http 0.0.0.0:" (shown.port) } " to let phones in."
                }
            }
            @if let Some(awaited) = &shown.light {
                (light(awaited, name))
                @if !shown.is_once() && shown.problem.is_none() { (still("/setup")) }
            }
            (whose(shown))
            @let is_open = matches!(shown.whose, For::Anybody);
            @if is_open && shown.may_add { (adding(shown)) }
            @if let Some(links) = shown.links.as_ref().filter(|_| !shown.is_for_this_machine) { (linked(links, shown)) }
            @if !is_open && shown.may_add && !shown.is_once() { (adding(shown)) }
            @if !matches!(shown.whose, For::Nobody) { (steps(shown)) }
            (silent())
        }
    };
    document("gaitway: set up a phone", &head, &body)
}

fn light(light: &Light, name: Option<&str>) -> Markup {
    html! {
        section #light data-state=(light.state.as_str()) data-phone=[name] data-ago=(light.ago) role="status"
            aria-live="polite" {
            span.lamp aria-hidden="true" {}
            p.said { (light.text) }
            p.hint { (light.hint) }
        }
    }
}

fn whose(shown: &Shown<'_>) -> Markup {
    let flag = shown.flag;
    html! {
        @match shown.whose {
            For::Anybody if shown.is_for_this_machine => {},
            For::Anybody => p.notice {
                "Anybody in this network may push. "
                @if shown.may_add {
                    a href="#add" { "Give each phone a token" } " to let in only those that you know: a phone that is set \
                    up without one must be set up again then."
                }
                @else { "To let in only phones that you know: " code { "gaitway agent phone add NAME" (flag) } }
            },
            For::Phone { name, once, .. } => p.aside {
                "The link holds the token of " strong { (name) }
                ": the first phone that pushes with it is the only one that can. "
                @if once { "It is shown this once: set the phone up before you leave this page." }
                @else { "This browser can come back to it for an hour, as long as the agent runs." }
            },
            For::Adding => {},
            For::Forgotten(name) => p.notice {
                "The token of " strong { (name) }
                " is not shown any more: it is known for an hour, and until the agent ends. If the phone is not set up \
                 yet, make a new one: " code { (shell::command("gaitway agent phone revoke", name, flag)) } ", then "
                code { (shell::command("gaitway agent phone add", name, flag)) }
            },
            For::Nobody => p.notice {
                "This agent takes pushes of phones with a token, and this browser may not make one. Where gaitway \
                 runs: "
                code { "gaitway agent phone add NAME" (flag) } ", or for a browser that may: "
                code { "gaitway agent reader add NAME --may-add-phones" (flag) }
            },
        }
    }
}

fn linked(links: &Links, shown: &Shown<'_>) -> Markup {
    let own = if links.is_ios { &links.ios } else { &links.android };
    html! {
        section.link {
            div.on-phone {
                a.open-app href=(**own) { "Open in Sensor Logger" }
                p { "This is for the phone that you hold. Sensor Logger asks before it takes the settings." }
            }
            p.careful {
                strong { "It replaces the app's settings" }
                ", sensors and streaming included. This was not yet confirmed on every version of the app: if nothing \
                 opens, "
                a href="#steps" { "type the push URL" } "."
            }
            (chosen(shown.sensors, shown.is_once()))
        }
        section.codes {
            div {
                (code(&links.ios, "ios", "iPhone"))
                (code(&links.android, "android", "Android"))
            }
            p.how { "Scan the code with the phone's camera, then let Sensor Logger open it." }
        }
    }
}

fn code(link: &str, of: &str, label: &str) -> Markup {
    html! {
        figure {
            @match Code::of(link) {
                Ok(code) => (code.svg(of, &format!("QR code that sets Sensor Logger up on {label}"))),
                Err(_) => p { "The link is too long for a code." },
            }
            figcaption { (label) }
        }
    }
}

/// Which sensors the link switches on, and how to have others.
fn chosen(sensors: Sensors, is_once: bool) -> Markup {
    let choice = |of: Sensors, label: &str| {
        html! {
            a href={ "?sensors=" (of.as_str()) } aria-current=[(of == sensors).then_some("true")] { (label) }
        }
    };
    html! {
        @if !is_once {
            nav.choice aria-label="Sensors" {
                (choice(Sensors::Usual, "Usual sensors"))
                (choice(Sensors::Activity, "Activity only"))
            }
        }
        p.sensors { (what(sensors)) }
    }
}

fn what(sensors: Sensors) -> &'static str {
    match sensors {
        Sensors::Usual => {
            "Accelerometer, Gravity, Gyroscope and Orientation at 100 Hz; Barometer and Location once a second; \
             Pedometer, Battery."
        }
        Sensors::Activity => "Accelerometer at 100 Hz: all that activity needs, and nothing of where the phone is.",
    }
}

fn adding(shown: &Shown<'_>) -> Markup {
    let (sensors, is_first) = (shown.sensors, matches!(shown.whose, For::Anybody));
    let choice = |of: Sensors, label: &str| {
        html! {
            label.radio {
                input type="radio" name="sensors" value=(of.as_str()) checked[of == sensors];
                span { strong { (label) } " " (what(of)) }
            }
        }
    };
    html! {
        section #add {
            h2 { (if matches!(shown.whose, For::Phone { .. }) { "Add another phone" } else { "Add a phone" }) }
            form method="post" action="/setup" {
                label for="name" { "Name of the phone" }
                input #name type="text" name="name" required maxlength="64" autocomplete="off" placeholder="Anna";
                fieldset {
                    legend { "Sensors" }
                    (choice(Sensors::Usual, "Usual."))
                    (choice(Sensors::Activity, "Activity only."))
                }
                button type="submit" { "Make its code" }
            }
            p.aside {
                "Each phone gets a token of its own, which the code holds."
                @if is_first {
                    " From the first one on, pushes without a token are refused: phones that were set up without one \
                     must be set up again."
                }
            }
        }
    }
}

fn steps(shown: &Shown<'_>) -> Markup {
    html! {
        section #steps {
            h2 { "Step by step" }
            ol {
                @if let Some(links) = &shown.links {
                    li {
                        @if shown.is_for_this_machine { "On the " }
                        @else {
                            "Open the code or the link, and confirm in Sensor Logger that it takes the settings. By \
                             hand instead: on the "
                        }
                        strong { "Logger" } " page tap the gear, then " strong { "Data Streaming" }
                        "; switch " strong { "HTTP Push" } " on, with a batch period of 1 s and this as the "
                        strong { "Push URL" } ":"
                        @for url in &links.push_urls { code.push-url { (url) } }
                    }
                }
                @else {
                    li {
                        "In Sensor Logger, on the " strong { "Logger" } " page, tap the gear, then "
                        strong { "Data Streaming" }
                        ": " strong { "HTTP Push" } " is where the push URL and the batch period stand."
                    }
                }
                li {
                    "There, tap " strong { "Tap to Test Pushing" }
                    @if shown.light.is_some() { ": the light on this page says that it arrived" }
                    ". On an iPhone allow " strong { "Local Network" } " when it asks."
                }
                li { "Leave " strong { "Skip Writing" } " off: then what does not arrive is still on the phone." }
                li {
                    "Back on the " strong { "Logger" } " page, see that " strong { "Accelerometer" } " is on, and tap "
                    strong { "Start Recording" } "."
                }
            }
        }
    }
}

fn silent() -> Markup {
    html! {
        section.silent {
            h2 { "If nothing arrives" }
            dl {
                dt { "iPhone" }
                dd {
                    "Sensor Logger may not use the local network. In the iPhone's own Settings: "
                    strong { "Privacy & Security → Local Network" } ", switch Sensor Logger on."
                }
                dt { "Android" }
                dd {
                    "Battery saving stops pushes in the background. Take Sensor Logger out of it in the phone's \
                     settings for the app."
                }
                dt { "Both" }
                dd {
                    "The phone must be in the same Wi-Fi as this agent, not in mobile data. Guest and company networks \
                     often keep devices apart."
                }
                dt { "Only with the screen on" }
                dd {
                    "Some phones stop when the screen goes dark: set " strong { "Keep Awake" }
                    " in Sensor Logger's settings."
                }
            }
        }
    }
}
