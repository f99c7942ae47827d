//! `gaitway agent phone`: who may push.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use anyhow::Context as _;
use gaitway_proto::schema;
use gaitway_service::clock;
use gaitway_service::table::{Side, Table};
use serde::{Deserialize, Serialize};

use super::Said;
use super::place::{Of, Place};
use crate::kept::KeptFile;
use crate::phones::{Decimals, Keep, NoDecimals, Phones, PhonesFile, Privacy, Token};
use crate::readers::{self, Link, Readers, Right};
use crate::setup::{self, Code};

/// Says which phones may push. It is in force at once, also while the agent runs.
#[derive(Debug, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PhoneCommand {
    /// Lets a phone in: prints its push URL and its token, once, and a link that sets the phone up, on a terminal as a
    /// QR code too. From the first phone on, pushes without a token are refused
    Add {
        /// What to call it, such as the name of its owner
        name: String,
        #[command(flatten)]
        kept: Kept,
        #[command(flatten)]
        #[serde(skip)]
        of: Of,
        /// Where phones push to [default: where the agent listens, or did when it last ran; else as configured]
        #[arg(long, value_name = "ADDR", value_parser = super::address)]
        http: Option<SocketAddr>,
    },
    /// Shows the phones that may push
    List {
        #[command(flatten)]
        #[serde(skip)]
        of: Of,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Changes what is kept of a phone from its next push on; what was kept before stays
    #[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["keep", "location_decimals"])))]
    Set {
        /// Its name
        name: String,
        #[command(flatten)]
        kept: Kept,
        #[command(flatten)]
        #[serde(skip)]
        of: Of,
    },
    /// Lets a phone in no more, nor browsers that came by the link of its `phone add`
    Revoke {
        /// Its name
        name: String,
        #[command(flatten)]
        #[serde(skip)]
        of: Of,
    },
}

/// What is kept of a phone.
#[derive(Debug, Serialize, Deserialize, clap::Args)]
pub(crate) struct Kept {
    /// What is stored and sent of its pushes; what is not told stays as it is, in the beginning `all`
    #[arg(long, value_enum, value_name = "WHAT")]
    keep: Option<Keep>,
    /// Keeps its places to N decimals, or exact as they come; what is not told stays as it is, in the beginning `exact`
    ///
    /// N is 0 to 7. Two places that are kept as one lie up to 111 km apart with 0 decimals, 11 km with 1, 1.1 km with 2,
    /// 110 m with 3, 11 m with 4, 1.1 m with 5, 11 cm with 6, 1.1 cm with 7, from north to south; from east to west less,
    /// the further from the equator. Of a location latitude and longitude are kept so, its time, its accuracy class and its
    /// speed to 0.1 m/s, and nothing else. Of the other sensors only those of the app are kept that are known to tell no place,
    /// with their known fields; everything else is left out, users' own sensors too. What known sensors measure and annotations
    /// of at most three digits are kept as they came: motion, air pressure and words may tell a place to who knows it.
    #[arg(long, visible_alias = "location", value_name = "N|exact")]
    location_decimals: Option<Location>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Location(Option<Decimals>);

impl std::str::FromStr for Location {
    type Err = NoDecimals;

    fn from_str(text: &str) -> Result<Self, NoDecimals> {
        let decimals = |text: &str| text.parse::<u8>().map_err(|_| NoDecimals)?.try_into();
        if text == "exact" { Ok(Self(None)) } else { decimals(text).map(Some).map(Self) }
    }
}

impl Kept {
    /// Changes what is told of, and nothing else.
    fn apply(&self, privacy: &mut Privacy) {
        privacy.keep = self.keep.unwrap_or(privacy.keep);
        privacy.location = self.location_decimals.map_or(privacy.location, |Location(decimals)| decimals);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    added: &'a str,
    device: Option<&'a str>,
    keep: Keep,
    location_decimals: Option<Decimals>,
}

impl PhoneCommand {
    /// Which agent it is for, as it was told.
    pub(super) fn of(&mut self) -> &mut Of {
        match self {
            Self::Add { of, .. } | Self::List { of, .. } | Self::Set { of, .. } | Self::Revoke { of, .. } => of,
        }
    }
}

/// Runs one of them.
pub(super) fn run(command: PhoneCommand, place: &Place<'_>, said: &mut Said) -> anyhow::Result<()> {
    let out = &mut said.out;
    match command {
        PhoneCommand::Add { name, kept, http, .. } => {
            let token = Token::random().context("this machine has no random numbers for a token")?;
            let now = schema::rfc3339(clock::now_micros().div_euclid(1_000_000) * 1_000_000_000);
            let list = PhonesFile::new(&place.dir);
            let listed = list.current()?;
            let first = listed.is_none();
            // What cannot be added gets no link, and without a link nothing is added.
            Phones::clone(&listed.unwrap_or_default()).add(&name, &token, String::new())?;
            let link = Link { name: name.trim().to_owned(), right: Right::SetUp(token.clone()) };
            let (code, _) = readers::invite(&place.dir, &link)?;
            let privacy = list.change(|phones| {
                phones.add(&name, &token, now)?;
                phones.set(&name, |privacy| kept.apply(privacy))
            })??;
            let reached = place.urls(http);
            let pushed: Vec<String> = reached.iter().map(|url| format!("{url}/data/{}", token.reveal())).collect();
            show_new(out, name.trim(), &token, &pushed)?;
            if let Some(url) = reached.first() {
                let seen = "Or open this in the phone's browser: it sets Sensor Logger up by a tap, and shows what all \
                            phones of this agent do (good once, and for an hour):";
                writeln!(out, "\n{seen}\n  {url}{}", readers::path(&code))?;
            }
            writeln!(out, "\nOf this phone is kept: {privacy}.")?;
            if first {
                let path = list.path().display();
                writeln!(out, "From now on this agent refuses pushes without a token ({path}).")?;
            }
            let scanned = reached.first().filter(|_| place.is_reached(http));
            if let Some((url, columns)) = scanned.zip(said.columns) {
                show_code(out, name.trim(), &readers::short(url, &code), columns)?;
            }
            place.warn_of_nobody(said)?;
        }
        PhoneCommand::List { json, .. } => {
            let list = PhonesFile::new(&place.dir);
            place.must_have(list.path())?;
            match list.current()? {
                None => {
                    if json {
                        writeln!(out, "null")?;
                    }
                    let path = list.path().display();
                    let note = "anybody may push: there is no list of phones";
                    writeln!(said.notes, "{note} ({path}); `phone add NAME` begins one")?;
                }
                Some(phones) if json => show_json(out, &phones)?,
                Some(phones) => show_all(out, &phones)?,
            }
        }
        PhoneCommand::Set { name, kept, .. } => {
            let list = PhonesFile::new(&place.dir);
            place.must_have(list.path())?;
            let privacy = list.change(|phones| phones.set(&name, |privacy| kept.apply(privacy)))??;
            writeln!(out, "of phone {:?} is kept from its next push on: {privacy}", name.trim())?;
        }
        PhoneCommand::Revoke { name, .. } => {
            let list = PhonesFile::new(&place.dir);
            place.must_have(list.path())?;
            let phone = list.change(|phones| phones.revoke(&name))??;
            writeln!(out, "phone {:?} may not push any more", phone.name)?;
            if !phone.privacy().keeps_everything() {
                writeln!(out, "Of it was kept: {}. Say so again if you add it anew.", phone.privacy())?;
            }
            let readers = KeptFile::<Readers>::new(&place.dir);
            if readers.current()?.is_some() && readers.change(|readers| readers.revoke_of_phone(&name))?.is_ok() {
                writeln!(out, "Nor may browsers look that came by the link that was made with it.")?;
            }
            if list.current()?.is_some_and(|phones| phones.iter().next().is_none()) {
                let path = list.path().display();
                writeln!(out, "No phone is left: nobody may push. To let anybody in again, delete {path}.")?;
            }
        }
    }
    Ok(())
}

fn show_new(out: &mut impl Write, name: &str, token: &Token, urls: &[String]) -> fmt::Result {
    writeln!(out, "Set this as the push URL in Sensor Logger on phone {name:?}, the phone being in the same network:")?;
    for url in urls {
        writeln!(out, "  {url}")?;
    }
    writeln!(out, "or one without its last piece, and this as the app's token:\n  {}", token.reveal())?;
    writeln!(out, "It is not shown again, and the first phone that uses it is the only one that can.")
}

/// What the phone's camera reads, last: of a long text a terminal shows the end.
fn show_code(out: &mut impl Write, name: &str, link: &str, columns: usize) -> anyhow::Result<()> {
    let code = Code::of(link).context("the link does not fit into a QR code")?;
    let said = [
        format!("Scan this with the camera of {name}."),
        String::new(),
        "It opens a page that sets Sensor Logger up by a tap and says when the phone is heard.".to_owned(),
        String::new(),
        "Good once, and for an hour.".to_owned(),
    ];
    let lines = setup::beside(&code, &said, columns).unwrap_or_else(|| code.lines());
    if code.width() <= columns {
        writeln!(out)?;
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(())
}

fn show_all(out: &mut impl Write, phones: &Phones) -> fmt::Result {
    let mut table =
        Table::new(&[("phone", Side::Left), ("added", Side::Left), ("kept", Side::Left), ("device", Side::Left)]);
    for phone in phones.iter() {
        let device = phone.device.clone().unwrap_or_else(|| "has not pushed yet".to_owned());
        table.push(vec![phone.name.clone(), phone.added.clone(), phone.privacy().to_string(), device]);
    }
    write!(out, "{table}")
}

fn show_json(out: &mut impl Write, phones: &Phones) -> anyhow::Result<()> {
    let shown: Vec<_> = phones
        .iter()
        .map(|phone| {
            let Privacy { keep, location: location_decimals } = phone.privacy();
            Shown { name: &phone.name, added: &phone.added, device: phone.device.as_deref(), keep, location_decimals }
        })
        .collect();
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AgentConfig;

    #[test]
    fn what_is_shown_of_a_new_phone_is_all_that_it_needs() {
        let (token, mut out) = (Token::random().unwrap(), String::new());
        let urls = [format!("http://192.168.1.9:8000/data/{}", token.reveal())];
        show_new(&mut out, "anna", &token, &urls).unwrap();
        let text = out;
        assert!(
            text.contains(&format!("  {}\n", urls[0])) && text.contains(&format!("  {}\n", token.reveal())),
            "{text}"
        );
    }

    #[test]
    fn the_code_of_a_new_phone_is_drawn_where_it_has_room() {
        let link = "HTTP://192.168.178.100:8000/E/MWM3SVH2G7ZJFSJ3YW83";
        let shown = |columns| {
            let mut out = String::new();
            show_code(&mut out, "Anna's old phone", link, columns).unwrap();
            out
        };
        assert!(shown(80).contains("Scan this with the camera of Anna's") && shown(80).lines().count() < 24);
        let narrow = shown(40);
        assert!(narrow.contains('█') && !narrow.contains("Scan"), "{narrow}");
        assert_eq!(shown(30), "");
    }

    #[test]
    fn a_list_shows_no_token_and_no_hash() {
        let (token, mut phones) = (Token::random().unwrap(), Phones::default());
        phones.add("anna", &token, "2026-01-31T12:00:00Z".to_owned()).unwrap();
        let (mut table, mut json) = (String::new(), String::new());
        show_all(&mut table, &phones).unwrap();
        show_json(&mut json, &phones).unwrap();
        assert_eq!(
            table,
            "phone  added                 kept  device\nanna   2026-01-31T12:00:00Z  all   has not pushed yet\n"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            serde_json::json!([{
                "name": "anna", "added": "2026-01-31T12:00:00Z", "device": null, "keep": "all", "locationDecimals": null
            }])
        );
    }

    #[test]
    fn a_phone_without_a_link_is_not_added() {
        let dir = tempfile::tempdir().unwrap();
        let readers = KeptFile::<Readers>::new(dir.path());
        std::fs::create_dir(readers.unfinished()).unwrap();
        let configured = AgentConfig::default();
        let add = || {
            let Cli { command } = clap::Parser::try_parse_from(["phone", "add", "anna"]).unwrap();
            run(command, &Place::find(dir.path(), &configured), &mut Said::default())
        };
        assert!(add().unwrap_err().to_string().contains("list of readers"));
        assert_eq!(PhonesFile::new(dir.path()).current(), Ok(None), "its token was not shown");
        std::fs::remove_dir(readers.unfinished()).unwrap();
        add().unwrap();
        assert!(add().unwrap_err().to_string().contains("there is a phone"));
    }

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        command: PhoneCommand,
    }

    fn parsed(line: &str) -> Option<Kept> {
        match clap::Parser::try_parse_from(line.split(' ')) {
            Ok(Cli { command: PhoneCommand::Add { kept, .. } | PhoneCommand::Set { kept, .. } }) => Some(kept),
            _ => None,
        }
    }

    #[test]
    fn what_is_not_told_of_stays_as_it_was_and_nonsense_is_refused() {
        let two = Some(Decimals::try_from(2).unwrap());
        let before = Privacy { keep: Keep::Activity, location: two };
        for (line, privacy) in [
            ("phone add anna", before),
            ("phone set anna --keep all", Privacy { keep: Keep::All, location: two }),
            ("phone set anna --location exact", Privacy { keep: Keep::Activity, location: None }),
            ("phone set anna --keep activity --location 2", before),
            ("phone add anna --keep all --location-decimals exact", Privacy::default()),
        ] {
            let mut after = before;
            parsed(line).unwrap().apply(&mut after);
            assert_eq!(after, privacy, "{line}");
        }
        for line in [
            "phone set anna",
            "phone set anna --keep some",
            "phone set anna --location 8",
            "phone set anna --location -1",
            "phone add anna --location-decimals two",
        ] {
            assert!(parsed(line).is_none(), "{line}");
        }
    }
}
