//! The light on the set-up page: whether the phone is heard. Pure. `setup.js` says the same of later states, in the
//! same words.

use crate::api::shape::{SeenPhone, Status};
use crate::page::duration;

/// A push of the app's test button is celebrated for so long, seconds.
const TESTED_FOR: u64 = 600;

/// A phone that sent nothing for so long is not lit, seconds. Who comes back from the app may open the page anew, so what
/// was heard so shortly before that counts too.
pub(super) const LATELY: u64 = 30;

/// What is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet.
    Waiting,
    /// The app's test button.
    Tested,
    /// Readings.
    Seen,
    /// Readings, but none lately.
    Silent,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Tested => "tested",
            Self::Seen => "seen",
            Self::Silent => "silent",
        }
    }
}

/// The light.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Light {
    pub(super) state: State,
    /// What is seen.
    pub(super) text: String,
    /// What comes next.
    pub(super) hint: &'static str,
    /// What was heard longer ago than so many seconds was another phone.
    pub(super) ago: u64,
}

impl Light {
    /// What `status` shows of the phone `name`, which has its token for `ago` seconds, or of whichever phone was heard
    /// within them last.
    pub(super) fn of(status: &Status, name: Option<&str>, ago: u64) -> Self {
        let is_it = |phone: &&SeenPhone| match name {
            Some(_) => phone.name.as_deref() == name,
            None => phone.seconds_ago <= ago,
        };
        let phone = status.phones.iter().find(is_it);
        let test = status.test.as_ref().filter(|test| test.seconds_ago < TESTED_FOR && test.seconds_ago <= ago);
        // The test push names no phone, so of two it may be another's: readings say more, unless they are older.
        let is_newer = |seconds: u64| phone.is_none_or(|phone| seconds < phone.seconds_ago);
        let (state, text, hint) = match (test.filter(|test| is_newer(test.seconds_ago)), phone) {
            (Some(_), _) => (
                State::Tested,
                "The test push arrived.".to_owned(),
                "Sensor Logger reaches this agent. Now tap “Start Recording” on the Logger page.",
            ),
            (None, Some(phone)) if phone.seconds_ago < LATELY => {
                (State::Seen, seen(phone), "It works: what arrives is accepted.")
            }
            (None, Some(phone)) => (
                State::Silent,
                format!("Phone last heard {} ago", duration(told(phone.seconds_ago))),
                "Nothing came since. See in the app that the recording runs.",
            ),
            (None, None) => (
                State::Waiting,
                "Waiting for the phone…".to_owned(),
                "Tap “Tap to Test Pushing” in the app, or start a recording.",
            ),
        };
        Self { state, text, hint, ago }
    }
}

/// Who listens to the page is not told every second how long a phone is silent.
fn told(seconds: u64) -> u64 {
    if seconds < 60 { LATELY } else { seconds }
}

fn seen(phone: &SeenPhone) -> String {
    let fastest = phone.sensors.iter().map(|sensor| sensor.hertz).fold(0.0, f64::max);
    match phone.sensors.len() {
        0 => "Phone seen".to_owned(),
        1 => format!("Phone seen: 1 sensor, {fastest:.0} Hz"),
        sensors => format!("Phone seen: {sensors} sensors, {fastest:.0} Hz"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::phones::{Phones, Token};
    use crate::status::{AgentSnapshot, Phone, Sensor, Test};
    use crate::uplink::UplinkSnapshot;

    /// What the light says where `change` is told when so many seconds ago was.
    fn light(change: impl FnOnce(&mut AgentSnapshot, &dyn Fn(u64) -> Instant), name: Option<&str>) -> (State, String) {
        let begun = Instant::now();
        let now = begun + Duration::from_secs(3600);
        let mut snapshot = AgentSnapshot::default();
        change(&mut snapshot, &|seconds| begun + Duration::from_secs(3600 - seconds));
        let (mut phones, token) = (Phones::default(), Token::random().unwrap());
        phones.add("anna", &token, String::new()).unwrap();
        let mut phones = serde_json::to_value(&phones).unwrap();
        phones[0]["device"] = "d1".into();
        let phones: Phones = serde_json::from_value(phones).unwrap();
        let status = Status::of(None, snapshot, &UplinkSnapshot::default(), Ok(Some(&phones)), "", now);
        let Light { state, text, .. } = Light::of(&status, name, if name.is_some() { 400 } else { LATELY });
        (state, text)
    }

    /// When so many seconds ago was.
    type Ago<'a> = &'a dyn Fn(u64) -> Instant;

    fn heard(snapshot: &mut AgentSnapshot, device: &str, at: Instant, hertz: &[f64]) {
        let sensor = |(number, hertz): (usize, &f64)| Sensor { name: number.to_string(), hertz: *hertz };
        let sensors = hertz.iter().enumerate().map(sensor).collect();
        snapshot.phones.insert(device.to_owned(), Phone { sensors, ..Phone::new(at) }.into());
    }

    #[test]
    fn the_light_waits_for_the_phone_and_says_what_it_sends() {
        assert_eq!(light(|_, _| {}, None).0, State::Waiting);
        let three = |snapshot: &mut AgentSnapshot, ago: Ago<'_>| heard(snapshot, "d1", ago(0), &[1.0, 99.7, 50.0]);
        let seen = (State::Seen, "Phone seen: 3 sensors, 100 Hz".to_owned());
        assert_eq!((light(three, None), light(three, Some("anna"))), (seen.clone(), seen));
        assert_eq!(light(three, Some("ben")).0, State::Waiting, "another phone is not it");
        let one = |snapshot: &mut AgentSnapshot, ago: Ago<'_>| heard(snapshot, "d1", ago(0), &[50.0]);
        assert_eq!(light(one, None).1, "Phone seen: 1 sensor, 50 Hz");
        let silent = |snapshot: &mut AgentSnapshot, ago: Ago<'_>| heard(snapshot, "d1", ago(0), &[]);
        assert_eq!(light(silent, None), (State::Seen, "Phone seen".to_owned()));
    }

    #[test]
    fn a_phone_that_sends_no_more_is_not_lit_and_one_without_a_name_is_forgotten() {
        let said = |seconds: u64, name| light(|snapshot, ago| heard(snapshot, "d1", ago(seconds), &[100.0]), name);
        let silent = |text: &str| (State::Silent, text.to_owned());
        assert_eq!(said(29, None).0, State::Seen);
        assert_eq!(said(31, None).0, State::Waiting, "it was heard before anybody asked for this page");
        assert_eq!(said(29, Some("anna")).0, State::Seen);
        assert_eq!(said(30, Some("anna")), silent("Phone last heard 30 s ago"));
        assert_eq!(said(59, Some("anna")), silent("Phone last heard 30 s ago"));
        assert_eq!(said(3599, Some("anna")), silent("Phone last heard 59 min ago"));
    }

    #[test]
    fn a_test_push_is_celebrated_until_readings_come() {
        let state = |test_ago: Option<u64>, heard_ago: Option<u64>| {
            let change = |snapshot: &mut AgentSnapshot, ago: &dyn Fn(u64) -> Instant| {
                snapshot.test = test_ago.map(|seconds| Test { device: None, at: ago(seconds) });
                if let Some(seconds) = heard_ago {
                    heard(snapshot, "d1", ago(seconds), &[1.0]);
                }
            };
            light(change, Some("anna")).0
        };
        assert_eq!((state(Some(5), None), state(Some(400), None)), (State::Tested, State::Tested));
        assert_eq!(state(Some(401), None), State::Waiting, "it was another phone's");
        assert_eq!(state(Some(300), Some(100)), State::Silent);
        let long_ago = |snapshot: &mut AgentSnapshot, ago: &dyn Fn(u64) -> Instant| {
            snapshot.test = Some(Test { device: None, at: ago(TESTED_FOR) });
        };
        assert_eq!(light(long_ago, None).0, State::Waiting);
        assert_eq!((state(Some(60), Some(1)), state(Some(5), Some(300))), (State::Seen, State::Tested));
    }
}
