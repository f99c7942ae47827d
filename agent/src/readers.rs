//! Who may look at what phones do: browsers that came by a link.
//!
//! - A link holds a code of 100 random bits and lets one browser in, within an hour. The browser then shows a token of its own, in a
//!   cookie, for as long as browsers keep one.
//! - Of codes and tokens only the SHA-256 is kept, from which nobody gets them back.
//! - A phone's token is kept beside the link that sets the phone up, sealed by that link's code, and goes with the
//!   link.
//! - Without a link nobody is let in, also if the list is not there or cannot be read.

use std::path::Path;

use anyhow::Context as _;
use gaitway_service::clock;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::kept::{Form, Kept, KeptFile};
use crate::phones::{Token, hash, is_default, is_name};

mod seal;

/// A link is good for so long, seconds.
pub const LINK_FOR: i64 = 3600;

/// A browser is known for so long, seconds: browsers keep no cookie for longer.
pub const READER_FOR: i64 = 400 * 24 * 3600;

/// Browsers and links at most, as many as phones; the oldest make room.
const MOST: usize = 1_000;

/// Why the list is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A name that cannot be one.
    #[error("a reader's name has 1 to 64 characters, and no line ends or other control characters")]
    BadName,
    /// No browser and no link has this name.
    #[error("there is no reader {0:?}: `gaitway agent reader list` shows those that there are")]
    Unknown(String),
    /// The link was used, is too old, or never was one.
    #[error("the link is not in force: it is good once and for an hour")]
    NoLink,
}

/// Whom a link lets in. There is one unused link of each name, and one of each phone's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What the browser is called.
    pub name: String,
    /// What for.
    pub right: Right,
}

/// What a browser that came by a link may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// Look.
    Look,
    /// Look, and add phones.
    AddPhones,
    /// Look, and set up the phone of that name, whose token this is. The link goes with the phone.
    SetUp(Token),
}

/// Who came by a link.
#[derive(Debug, PartialEq, Eq)]
pub struct Entered {
    /// The name of the link.
    pub name: String,
    /// It may add phones.
    pub may_add: bool,
    /// The link was made with the phone of that name.
    pub of_phone: bool,
    /// The token of the phone that the link sets up, if it can still be read.
    pub token: Option<Token>,
}

/// A link that nobody has used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    name: String,
    #[serde(default)]
    of_phone: bool,
    /// Who comes by it may add phones.
    #[serde(default, skip_serializing_if = "is_default")]
    may_add: bool,
    /// Of its code: SHA-256, hexadecimal.
    code_sha256: String,
    /// The token of the phone that it sets up.
    #[serde(default, skip_serializing_if = "is_default")]
    sealed_token: Option<String>,
    /// Seconds since 1970.
    until: i64,
}

/// A browser that may look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// The name of the link that it came by.
    pub name: String,
    /// That link was made with the phone of that name.
    #[serde(default)]
    pub(crate) of_phone: bool,
    /// It may add phones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub may_add: bool,
    /// Of its token: SHA-256, hexadecimal.
    pub(crate) token_sha256: String,
    /// When it came, seconds since 1970.
    pub since: i64,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readers {
    links: Vec<Open>,
    browsers: Vec<Reader>,
}

impl Readers {
    /// The browsers that may look at `now`, in the order in which they came.
    pub fn iter(&self, now: i64) -> impl Iterator<Item = &Reader> {
        self.browsers.iter().filter(move |reader| reader.is_known(now))
    }

    /// Makes a link of `code`, in the place of an unused one for the same; whether there was one. `now`: seconds since 1970.
    pub fn invite(&mut self, link: &Link, code: &Token, now: i64) -> Result<bool, Refused> {
        let Link { name, right } = link;
        if !is_name(name) {
            return Err(Refused::BadName);
        }
        self.tidy(now);
        let before = self.links.len();
        let of_phone = matches!(right, Right::SetUp(_));
        self.links.retain(|open| open.name != *name || open.of_phone != of_phone);
        let replaced = self.links.len() < before;
        make_room(&mut self.links);
        let (code_sha256, until, may_add) = (hash(code.reveal()), now + LINK_FOR, *right == Right::AddPhones);
        let sealed_token = match right {
            Right::SetUp(token) => Some(seal::seal(token, code, name)),
            Right::Look | Right::AddPhones => None,
        };
        self.links.push(Open { name: name.clone(), of_phone, may_add, code_sha256, sealed_token, until });
        Ok(replaced)
    }

    /// Whether a link with this code is in force.
    pub fn is_invited(&self, code: &str, now: i64) -> bool {
        self.link(code, now).is_some()
    }

    /// Whether who comes by the link with this code may add phones.
    pub fn lets_add(&self, code: &str, now: i64) -> bool {
        self.link(code, now).is_some_and(|at| self.links[at].may_add)
    }

    /// Lets the browser in that came by the link with this code and will show `token`; the link is used up.
    pub fn enter(&mut self, code: &str, token: &Token, now: i64) -> Result<Entered, Refused> {
        let link = self.links.remove(self.link(code, now).ok_or(Refused::NoLink)?);
        self.tidy(now);
        make_room(&mut self.browsers);
        let Open { name, of_phone, may_add, sealed_token, .. } = link;
        let of_its_phone = sealed_token.and_then(|sealed| seal::open(&sealed, code, &name));
        let token_sha256 = hash(token.reveal());
        self.browsers.push(Reader { name: name.clone(), of_phone, may_add, token_sha256, since: now });
        Ok(Entered { name, may_add, of_phone, token: of_its_phone })
    }

    /// The browser that shows this token. It takes as long whichever it is.
    pub fn with_token(&self, token: &str, now: i64) -> Option<&Reader> {
        let hash = hash(token);
        let found = self.browsers.iter().fold(None, |found, reader| {
            if bool::from(reader.token_sha256.as_bytes().ct_eq(hash.as_bytes())) { Some(reader) } else { found }
        });
        found.filter(|reader| reader.is_known(now))
    }

    /// Lets browsers and links of this name in no more. How many browsers they were.
    pub fn revoke(&mut self, name: &str) -> Result<usize, Refused> {
        self.revoke_where(name, |_| true)
    }

    /// The same for those whose link was made with the phone of this name.
    pub fn revoke_of_phone(&mut self, name: &str) -> Result<usize, Refused> {
        self.revoke_where(name, |of_phone| of_phone)
    }

    fn revoke_where(&mut self, name: &str, goes: impl Fn(bool) -> bool) -> Result<usize, Refused> {
        let (name, links, readers) = (name.trim(), self.links.len(), self.browsers.len());
        self.links.retain(|link| link.name != name || !goes(link.of_phone));
        self.browsers.retain(|reader| reader.name != name || !goes(reader.of_phone));
        if (self.links.len(), self.browsers.len()) == (links, readers) {
            return Err(Refused::Unknown(name.to_owned()));
        }
        Ok(readers - self.browsers.len())
    }

    fn link(&self, code: &str, now: i64) -> Option<usize> {
        let hash = hash(code);
        let found = self.links.iter().enumerate().fold(None, |found, (at, link)| {
            if bool::from(link.code_sha256.as_bytes().ct_eq(hash.as_bytes())) { Some((at, link)) } else { found }
        });
        found.filter(|(_, link)| link.is_open(now)).map(|(at, _)| at)
    }

    fn tidy(&mut self, now: i64) {
        self.links.retain(|link| link.is_open(now));
        self.browsers.retain(|reader| reader.is_known(now));
    }
}

impl Open {
    /// A clock that was set back makes no link last longer.
    fn is_open(&self, now: i64) -> bool {
        (self.until - LINK_FOR..self.until).contains(&now)
    }
}

impl Reader {
    /// Before the clock of a machine without a battery is set it says too little.
    fn is_known(&self, now: i64) -> bool {
        now < self.since.saturating_add(READER_FOR)
    }
}

/// The code of a new link to the agent of `data_dir`, in force at once, whose [`path`] is its path; and whether it took the place of an
/// unused one.
pub fn invite(data_dir: &Path, link: &Link) -> anyhow::Result<(Token, bool)> {
    let code = Token::random().context("this machine has no random numbers for a link")?;
    let now = clock::now_micros().div_euclid(1_000_000);
    let replaced = KeptFile::<Readers>::new(data_dir).change(|readers| readers.invite(link, &code, now))??;
    Ok((code, replaced))
}

/// Of the link with this code.
pub fn path(code: &Token) -> String {
    format!("/enter/{}", code.reveal())
}

/// The same link for a QR code, below a URL of the agent: short, and in capitals, which take less room there. What has
/// to keep its case is left out: a browser that asks for it is sent to [`path`].
pub fn short(url: &str, code: &Token) -> String {
    format!("{url}/E/{}", code.reveal()).to_ascii_uppercase()
}

/// The code of a [`short`] link as it stands in [`path`].
pub(crate) fn code_of_short(code: &str) -> String {
    code.to_ascii_lowercase()
}

fn make_room<T>(list: &mut Vec<T>) {
    if list.len() >= MOST {
        list.remove(0);
    }
}

impl Kept for Readers {
    const FORM: Form = Form {
        file: "readers.json",
        key: "readers",
        version: 1,
        what: "list of readers",
        remedy: "restore it, or move it away and make links anew with `gaitway agent reader add`",
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn link(name: &str) -> Link {
        Link { name: name.to_owned(), right: Right::Look }
    }

    fn token() -> Token {
        Token::random().unwrap()
    }

    #[test]
    fn a_link_lets_one_browser_in_within_an_hour() {
        let (mut readers, code, cookie) = (Readers::default(), token(), token());
        readers.invite(&link("anna"), &code, NOW).unwrap();
        assert!(readers.is_invited(code.reveal(), NOW) && readers.is_invited(code.reveal(), NOW + LINK_FOR - 1));
        for late in [NOW + LINK_FOR, NOW - 1] {
            assert_eq!(readers.clone().enter(code.reveal(), &cookie, late), Err(Refused::NoLink));
        }
        assert_eq!(readers.enter(token().reveal(), &cookie, NOW), Err(Refused::NoLink));
        assert_eq!(readers.with_token(cookie.reveal(), NOW), None);
        readers.enter(code.reveal(), &cookie, NOW + 5).unwrap();
        assert_eq!(readers.enter(code.reveal(), &token(), NOW + 5), Err(Refused::NoLink), "it is used up");
        assert_eq!(readers.with_token(cookie.reveal(), NOW + 5).unwrap().name, "anna");
        assert_eq!(readers.with_token(code.reveal(), NOW + 5), None, "a code is no token");
        assert!(readers.with_token(cookie.reveal(), NOW + 5 + READER_FOR).is_none());
        assert_eq!(readers.revoke("anna"), Ok(1));
        assert_eq!(readers.with_token(cookie.reveal(), NOW + 5), None);
        assert_eq!(readers.revoke("anna"), Err(Refused::Unknown("anna".to_owned())));
    }

    #[test]
    fn a_name_has_one_open_link_and_any_number_of_browsers() {
        let mut readers = Readers::default();
        let (first, second) = (token(), token());
        readers.invite(&link("up"), &first, NOW).unwrap();
        readers.invite(&link("up"), &second, NOW).unwrap();
        assert!(!readers.is_invited(first.reveal(), NOW) && readers.is_invited(second.reveal(), NOW));
        readers.enter(second.reveal(), &token(), NOW).unwrap();
        readers.invite(&link("up"), &first, NOW).unwrap();
        readers.enter(first.reveal(), &token(), NOW).unwrap();
        assert_eq!(readers.iter(NOW).count(), 2);
        readers.invite(&link("up"), &second, NOW).unwrap();
        assert_eq!(readers.revoke("up"), Ok(2));
        assert!(!readers.is_invited(second.reveal(), NOW), "an open link goes with them");
        for bad in ["", "a\nb"] {
            assert_eq!(readers.invite(&link(bad), &first, NOW), Err(Refused::BadName));
        }
    }

    #[test]
    fn a_phone_s_browsers_go_with_it_and_others_of_its_name_stay() {
        let mut readers = Readers::default();
        let (own, others) = (token(), token());
        for (right, cookie) in [(Right::SetUp(token()), &own), (Right::Look, &others)] {
            let code = token();
            let link = Link { name: "anna".to_owned(), right };
            assert_eq!(readers.invite(&link, &token(), NOW), Ok(false));
            assert_eq!(readers.invite(&link, &code, NOW), Ok(true), "the former is replaced");
            readers.enter(code.reveal(), cookie, NOW).unwrap();
        }
        assert_eq!(readers.revoke_of_phone("anna"), Ok(1));
        assert!(readers.with_token(own.reveal(), NOW).is_none() && readers.with_token(others.reveal(), NOW).is_some());
        assert!(readers.revoke_of_phone("anna").is_err());
        assert_eq!(readers.revoke("anna"), Ok(1));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut readers = Readers::default();
        let cookies: Vec<Token> = (0..=MOST).map(|_| token()).collect();
        for cookie in &cookies {
            let code = token();
            readers.invite(&link("a"), &code, NOW).unwrap();
            readers.enter(code.reveal(), cookie, NOW).unwrap();
        }
        assert_eq!(readers.iter(NOW).count(), MOST);
        assert!(readers.with_token(cookies[0].reveal(), NOW).is_none());
        assert!(readers.with_token(cookies[MOST].reveal(), NOW).is_some());
        for number in 0..=MOST {
            readers.invite(&link(&number.to_string()), &token(), NOW).unwrap();
        }
        assert_eq!(readers.links.len(), MOST);
    }

    #[test]
    fn who_comes_by_a_phone_s_link_gets_its_token_and_nothing_of_it_stays() {
        let (mut readers, code, of_phone) = (Readers::default(), token(), token());
        let link = Link { name: "anna".to_owned(), right: Right::SetUp(of_phone.clone()) };
        readers.invite(&link, &code, NOW).unwrap();
        let kept = serde_json::to_string(&readers).unwrap();
        assert!(kept.contains("sealed_token") && !kept.contains(of_phone.reveal()), "{kept}");
        let mut readers: Readers = serde_json::from_str(&kept).unwrap();
        let entered = readers.enter(code.reveal(), &token(), NOW).unwrap();
        let expected = Entered { name: "anna".to_owned(), may_add: false, of_phone: true, token: Some(of_phone) };
        assert_eq!(entered, expected);
        assert!(!serde_json::to_string(&readers).unwrap().contains("sealed_token"));
    }

    #[test]
    fn only_who_came_by_such_a_link_may_add_phones() {
        let mut readers = Readers::default();
        for (right, may_add) in [(Right::Look, false), (Right::AddPhones, true), (Right::SetUp(token()), false)] {
            let (code, cookie) = (token(), token());
            readers.invite(&Link { name: "anna".to_owned(), right }, &code, NOW).unwrap();
            assert_eq!(readers.enter(code.reveal(), &cookie, NOW).unwrap().may_add, may_add);
            assert_eq!(readers.with_token(cookie.reveal(), NOW).unwrap().may_add, may_add);
        }
        let before = r#"{"links":[],"browsers":[{"name":"a","of_phone":false,"token_sha256":"","since":1}]}"#;
        let before: Readers = serde_json::from_str(before).unwrap();
        assert!(!before.browsers[0].may_add, "one from before there was that right");
    }

    #[test]
    fn a_short_link_has_what_a_small_code_can_hold_and_leads_to_the_same() {
        let code = token();
        let short = short("http://192.168.1.20:8000", &code);
        assert!(short.bytes().all(|byte| b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/.".contains(&byte)), "{short}");
        let (_, shown) = short.rsplit_once("/E/").unwrap();
        assert_eq!(code_of_short(shown), code.reveal());
    }

    #[test]
    fn what_is_kept_holds_no_code_and_no_token() {
        let (mut readers, code, cookie) = (Readers::default(), token(), token());
        readers.invite(&link("a"), &code, NOW).unwrap();
        readers.invite(&link("b"), &cookie, NOW).unwrap();
        readers.enter(code.reveal(), &cookie, NOW).unwrap();
        let kept = serde_json::to_string(&readers).unwrap();
        assert!(!kept.contains(code.reveal()) && !kept.contains(cookie.reveal()), "{kept}");
    }

    proptest! {
        #[test]
        fn no_text_but_the_code_and_the_token_opens(text in ".{0,40}") {
            let (mut readers, code, cookie) = (Readers::default(), token(), token());
            readers.invite(&link("a"), &code, NOW).unwrap();
            readers.enter(code.reveal(), &cookie, NOW).unwrap();
            readers.invite(&link("a"), &code, NOW).unwrap();
            prop_assert_eq!(readers.is_invited(&text, NOW), text == code.reveal());
            prop_assert_eq!(readers.with_token(&text, NOW).is_some(), text == cookie.reveal());
        }
    }
}
