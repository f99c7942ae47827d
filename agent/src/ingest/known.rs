//! The app's sensors that tell no place, and the fields that each is known to have.
//!
//! - A sensor or a field that is not listed here is not known, however harmless it sounds.
//! - A known field holds one number, one word of its list, yes or no, or nothing; never what has parts.
//! - Only an annotation holds text of its writer's, and no more digits than a place to a tenth of a degree has.
//!
//! Names and words are those of the app's reference of units, release 1.63.

use gaitway_proto::value::Value;

/// Most numerals in an annotation: `52` and `13` are four.
const MOST_NUMERALS: usize = 3;

/// What a field holds; null, whatever its form.
enum Form {
    /// A number, or text that spells one and nothing else.
    Number,
    /// Yes or no, which some phones spell `"False"`.
    Flag,
    /// One of these, whatever its case.
    Word(&'static [&'static str]),
    /// What somebody typed.
    Note,
}

use Form::{Flag, Note, Number, Word};

type Fields = [(&'static str, Form)];

const AXES: &Fields = &[("x", Number), ("y", Number), ("z", Number)];
const ANGLES: &Fields = &[("pitch", Number), ("roll", Number), ("yaw", Number)];
const TURN: &Fields = &[("qw", Number), ("qx", Number), ("qy", Number), ("qz", Number)];
const BEARING: &Fields = &[("magneticBearing", Number)];
const AIR: &Fields = &[("pressure", Number), ("relativeAltitude", Number)];
const STEPS: &Fields = &[("steps", Number)];
const LOUDNESS: &Fields = &[("dBFS", Number)];
const BRIGHTNESS: &Fields = &[("brightness", Number)];
const LIGHT: &Fields = &[("lux", Number)];
const PULSE: &Fields = &[("bpm", Number)];
const TEMPERATURE: &Fields = &[("temperature", Number)];
const ANNOTATION: &Fields = &[("text", Note), ("millisecond_press_duration", Number)];

const WORN: &Fields = &[
    ("accelerationX", Number),
    ("accelerationY", Number),
    ("accelerationZ", Number),
    ("gravityX", Number),
    ("gravityY", Number),
    ("gravityZ", Number),
    ("rotationRateX", Number),
    ("rotationRateY", Number),
    ("rotationRateZ", Number),
    ("quaternionW", Number),
    ("quaternionX", Number),
    ("quaternionY", Number),
    ("quaternionZ", Number),
];

/// Which ear, whatever the field is called.
const EAR: &Fields = &[("devicelocation", Word(&["left", "right"]))];

const ACTIVITY: &Fields = &[
    ("activity", Word(&["walking", "running", "cycling", "automotive", "stationary", "tilting", "unknown"])),
    ("confidence", Word(&["low", "medium", "high", "unknown"])),
];

const BATTERY: &Fields = &[
    ("batteryLevel", Number),
    ("batteryState", Word(&["unknown", "unplugged", "charging", "full"])),
    ("lowPowerMode", Flag),
    ("voltage", Number),
    ("chargingCurrent", Number),
    ("health", Word(&["good", "overheat", "dead", "over_voltage", "unspecified_failure", "cold"])),
];

/// What is known of one sensor.
pub(super) struct Sensor(&'static [&'static Fields]);

impl Sensor {
    /// The sensor of this name, as pushes and exports spell it: `wrist motion`, `WristMotion`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(Self(match spelled(name).as_str() {
            "accelerometer"
            | "accelerometeruncalibrated"
            | "totalacceleration"
            | "gravity"
            | "gyroscope"
            | "gyroscopeuncalibrated"
            | "magnetometeruncalibrated" => &[AXES],
            "magnetometer" | "watchmagnetometer" => &[AXES, BEARING],
            "compass" | "watchcompass" => &[BEARING],
            "orientation" => &[ANGLES, TURN],
            "wristmotion" => &[WORN, ANGLES],
            "headphone" => &[WORN, ANGLES, EAR],
            "barometer" | "watchbarometer" => &[AIR],
            "pedometer" => &[STEPS],
            "activity" => &[ACTIVITY],
            "microphone" | "watchmicrophone" => &[LOUDNESS],
            "battery" => &[BATTERY],
            "batterytemp" => &[TEMPERATURE],
            "brightness" => &[BRIGHTNESS],
            "light" => &[LIGHT],
            "heartrate" => &[PULSE],
            "annotation" => &[ANNOTATION],
            _ => return None,
        }))
    }

    /// Whether it is known to have the field `key`, and `value` has its form.
    pub(super) fn has(&self, key: &str, value: &Value) -> bool {
        let form = self.0.iter().copied().flatten().find(|(field, _)| *field == key);
        form.is_some_and(|(_, form)| form.is_of(value))
    }
}

impl Form {
    fn is_of(&self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) | (Flag, Value::Bool(_)) => true,
            (Number, _) => value.as_number().is_some(),
            (Flag, Value::Text(text)) => ["true", "false"].iter().any(|flag| text.eq_ignore_ascii_case(flag)),
            (Word(words), Value::Text(text)) => words.iter().any(|word| text.eq_ignore_ascii_case(word)),
            (Note, Value::Text(text)) => text.chars().filter(|letter| letter.is_numeric()).count() <= MOST_NUMERALS,
            _ => false,
        }
    }
}

/// A sensor's name as pushes spell most: `Wrist Motion` is `wristmotion`.
pub(super) fn spelled(name: &str) -> String {
    name.chars().filter(|letter| *letter != ' ').map(|letter| letter.to_ascii_lowercase()).collect()
}
