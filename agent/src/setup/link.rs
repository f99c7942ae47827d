//! The link that sets the app up: `sensorlogger://config/` and the standard base64 of a zstd frame of JSON. Pure.
//!
//! - Only keys are used that stand in codes of the app itself; what is not said is as the app has it.
//! - The token is in the link and in nothing that outlives it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// What every such link begins with.
pub(crate) const PREFIX: &str = "sensorlogger://config/";

/// Of zstd: a link is made once and read by a camera, so the smallest it has.
const LEVEL: i32 = 19;

/// From one push to the next, ms: one of the three periods that the app offers.
const BATCH_PERIOD: u32 = 1000;

/// What the app shall send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sensors {
    /// Motion, place, height and steps.
    #[default]
    Usual,
    /// What labels are made of, and nothing else.
    Activity,
}

impl Sensors {
    /// As it stands in a query and a form.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Activity => "activity",
        }
    }

    /// What `text` says, the usual ones if it says nothing known.
    pub(crate) fn said(text: Option<&str>) -> Self {
        if text == Some(Self::Activity.as_str()) { Self::Activity } else { Self::Usual }
    }

    /// The app's names, each with the sampling period in ms, none where it has no choice of one.
    fn list(self) -> &'static [(&'static str, Option<u32>)] {
        match self {
            Self::Activity => &[("Accelerometer", Some(10))],
            Self::Usual => &[
                ("Accelerometer", Some(10)),
                ("Gravity", Some(10)),
                ("Gyroscope", Some(10)),
                ("Orientation", Some(10)),
                ("Barometer", Some(1000)),
                ("Location", Some(1000)),
                ("Pedometer", None),
                ("Battery", None),
            ],
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    sensor_state: Map<String, Value>,
    http: Http<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    enabled: bool,
    url: &'a str,
    batch_period: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
    skip: bool,
}

/// The link that makes the app push `sensors` to `url`, with `token` if one is needed. What was written to the phone
/// stays there too.
pub(crate) fn link(url: &str, token: Option<&str>, sensors: Sensors) -> Zeroizing<String> {
    let of_one = |(name, period): &(&str, Option<u32>)| {
        let state = period.map_or_else(|| json!({"enabled": true}), |ms| json!({"enabled": true, "speed": ms}));
        ((*name).to_owned(), state)
    };
    let sensor_state = sensors.list().iter().map(of_one).collect();
    let http = Http { enabled: true, url, batch_period: BATCH_PERIOD, auth_token: token, skip: false };
    let text = Zeroizing::new(serde_json::to_vec(&Config { sensor_state, http }).expect("text and numbers are JSON"));
    let packed = zstd::bulk::compress(&text, LEVEL).expect("zstd compresses any bytes into a buffer of its own bound");
    let packed = Zeroizing::new(packed);
    let mut link = Zeroizing::new(String::with_capacity(PREFIX.len() + packed.len().div_ceil(3) * 4));
    link.push_str(PREFIX);
    STANDARD.encode_string(&*packed, &mut link);
    link
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What the app finds in a link.
    pub(crate) fn read(link: &str) -> Value {
        let packed = STANDARD.decode(link.strip_prefix(PREFIX).expect("a link to a configuration")).unwrap();
        serde_json::from_slice(&zstd::bulk::decompress(&packed, 64 * 1024).unwrap()).unwrap()
    }

    #[test]
    fn a_link_says_where_to_push_what_how_often_and_with_which_token() {
        let link = super::link("http://192.168.1.20:8000/data", Some("b1qh1hgwvtqavrzm1krg"), Sensors::Usual);
        let expected = json!({
            "sensorState": {
                "Accelerometer": {"enabled": true, "speed": 10},
                "Gravity": {"enabled": true, "speed": 10},
                "Gyroscope": {"enabled": true, "speed": 10},
                "Orientation": {"enabled": true, "speed": 10},
                "Barometer": {"enabled": true, "speed": 1000},
                "Location": {"enabled": true, "speed": 1000},
                "Pedometer": {"enabled": true},
                "Battery": {"enabled": true}
            },
            "http": {
                "enabled": true,
                "url": "http://192.168.1.20:8000/data",
                "batchPeriod": 1000,
                "authToken": "b1qh1hgwvtqavrzm1krg",
                "skip": false
            }
        });
        assert_eq!(read(&link), expected);
        assert!(link.len() < 480, "it must fit into a code that a camera reads: {}", link.len());
    }

    #[test]
    fn without_tokens_and_for_activity_alone_it_says_no_more_than_that() {
        let link = super::link("https://pi.example.org:8443/data", None, Sensors::Activity);
        let expected = json!({
            "sensorState": {"Accelerometer": {"enabled": true, "speed": 10}},
            "http": {"enabled": true, "url": "https://pi.example.org:8443/data", "batchPeriod": 1000, "skip": false}
        });
        assert_eq!(read(&link), expected);
        for sensors in [Sensors::Usual, Sensors::Activity] {
            assert_eq!(Sensors::said(Some(sensors.as_str())), sensors);
        }
        assert_eq!([None, Some(""), Some("all")].map(Sensors::said), [Sensors::Usual; 3]);
    }
}
