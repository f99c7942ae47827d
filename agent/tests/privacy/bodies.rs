//! Readings that hold a place, in whatever shape.

use proptest::prelude::*;

/// The app's sensors that tell no place, with their fields that are numbers.
const KNOWN: [(&str, &[&str]); 24] = [
    ("accelerometer", &["x", "y", "z"]),
    ("totalacceleration", &["x", "y", "z"]),
    ("accelerometeruncalibrated", &["x", "y", "z"]),
    ("gravity", &["x", "y", "z"]),
    ("gyroscope", &["x", "y", "z"]),
    ("gyroscopeuncalibrated", &["x", "y", "z"]),
    ("magnetometer", &["x", "y", "z", "magneticBearing"]),
    ("magnetometeruncalibrated", &["x", "y", "z"]),
    ("orientation", &["pitch", "roll", "yaw", "qx", "qy", "qz", "qw"]),
    ("barometer", &["pressure", "relativeAltitude"]),
    ("pedometer", &["steps"]),
    ("microphone", &["dBFS"]),
    ("battery", &["batteryLevel", "voltage", "chargingCurrent"]),
    ("batterytemp", &["temperature"]),
    ("brightness", &["brightness"]),
    ("light", &["lux"]),
    ("compass", &["magneticBearing"]),
    ("heartrate", &["bpm"]),
    ("Heart Rate", &["bpm"]),
    ("wristmotion", &["pitch", "roll", "yaw", "accelerationX", "gravityY", "rotationRateZ", "quaternionW"]),
    ("headphone", &["pitch", "roll", "yaw", "accelerationY", "gravityZ", "rotationRateX", "quaternionX"]),
    ("WatchBarometer", &["pressure", "relativeAltitude"]),
    ("watchmagnetometer", &["x", "y", "z"]),
    ("annotation", &["millisecond_press_duration"]),
];

/// Their fields that are words, yes or no, or typed, and other sensors'.
const OTHER_FIELDS: [&str; 10] = [
    "activity",
    "confidence",
    "batteryState",
    "lowPowerMode",
    "health",
    "devicelocation",
    "text",
    "image",
    "id",
    "isConnected",
];

/// A known sensor and some of its fields.
pub(super) fn known() -> impl Strategy<Value = (&'static str, Vec<&'static str>)> {
    prop::sample::select(KNOWN.to_vec())
        .prop_flat_map(|(name, keys)| (Just(name), prop::sample::subsequence(keys, 1..=keys.len())))
}

/// Two coordinates that nobody may find: their digits, which no rounding leaves.
pub(super) fn place() -> impl Strategy<Value = [String; 2]> {
    let degrees =
        || (10_u32..89, 1_000_111_u32..9_999_999).prop_map(|(degrees, rest)| format!("{degrees}.{}7", rest | 1));
    [degrees(), degrees()]
}

/// A reading that holds the place.
pub(super) fn reading(place: &[String; 2]) -> impl Strategy<Value = String> + use<> {
    prop_oneof![
        2 => of_a_location(place),
        1 => printed(&place[0]),
        2 => of_an_unknown_sensor(place),
        3 => of_a_known_sensor(place),
    ]
}

/// What stands before the payload.
pub(super) fn beside(place: &[String; 2]) -> impl Strategy<Value = String> + use<> {
    let key = key(&place[0]);
    prop_oneof![
        2 => Just(String::new()),
        1 => (key, holding(place)).prop_map(|(key, value)| format!("\"{key}\":{value},")),
    ]
}

/// It, or one of its coordinates, as a number or as text that spells one.
fn scalar(place: &[String; 2]) -> impl Strategy<Value = String> + use<> {
    let [degrees, other] = place.clone();
    let digits = degrees.replace('.', "");
    prop::sample::select(vec![
        format!("-{degrees}"),
        format!("{degrees}e0"),
        format!("\"{degrees}\""),
        format!("\" {other} \""),
        degrees,
        other,
        digits,
    ])
}

/// It in a form that is no number.
fn compound(place: &[String; 2]) -> impl Strategy<Value = String> + use<> {
    let [a, b] = place.clone();
    let leaf = prop::sample::select(vec![
        format!("[{b},{a}]"),
        format!("[[{a},{b}],[\"{a}\"]]"),
        format!("{{\"x\":{a},\"y\":{b}}}"),
        format!("{{\"{a}\":null}}"),
        format!("\"{a} N\""),
        format!("\"{a}, {b}\""),
        format!("\"POINT({b} {a})\""),
        format!("\"geo:{a},{b}\""),
        format!("\"https://maps.example/@{a},{b},17z\""),
        format!("\"{{\\\"a\\\":{a}}}\""),
    ]);
    let key = key(&a);
    leaf.prop_recursive(3, 8, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|items| format!("[{}]", items.join(","))),
            (key.clone(), inner.clone()).prop_map(|(key, value)| format!("{{\"{key}\":{value}}}")),
            (key.clone(), inner).prop_map(|(key, value)| format!("{{\"{key}\":1,\"{key}\":{value},\"x\":null}}")),
        ]
    })
}

fn holding(place: &[String; 2]) -> impl Strategy<Value = String> + use<> {
    prop_oneof![scalar(place), compound(place)]
}

/// A key that no known sensor has, or one that holds a coordinate itself.
fn key(degrees: &str) -> impl Strategy<Value = String> + Clone + use<> {
    let keys = [
        "latitude",
        "longitude",
        "Latitude",
        "lat",
        "mLat",
        "lng",
        "altitude",
        "bearing",
        "speed",
        "route",
        "start",
        "geometry",
        "horizontalAccuracy",
        "coords",
        "location",
        "new",
        "plus_code",
        "gps",
        "",
        degrees,
    ];
    prop::sample::select(keys.map(str::to_owned).to_vec())
}

fn fields(fields: impl IntoIterator<Item = (String, String)>) -> String {
    let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Of a location sensor, which holds it anywhere.
fn of_a_location(place: &[String; 2]) -> impl Strategy<Value = String> + use<> {
    let digits = place[0].replace('.', "");
    let field = (
        prop::sample::select(vec!["time", "accuracy", "values", "values", "values", "name", "new", "latitude"]),
        prop_oneof![
            3 => holding(place),
            1 => Just("1760000000000000000".to_owned()),
            3 => prop::collection::vec((key(&place[0]), holding(place)), 0..5).prop_map(fields),
            2 => prop::collection::vec((key(&place[0]), scalar(place)), 0..3).prop_map(|more| {
                fields(more.into_iter().chain([("latitude".to_owned(), "1".to_owned())]))
            }),
        ],
    );
    let names = vec!["location", "Location", "locationGPS", "location network", "watchlocation", "gnss", "position"];
    (prop::sample::select(names), prop::collection::vec(field, 0..5), any::<bool>()).prop_map(
        move |(name, others, first)| {
            // As an integer it is a time like another.
            let is_time = |(key, value): &(&str, String)| *key == "time" && *value == digits;
            let others = others.into_iter().filter(|field| !is_time(field));
            let mut all: Vec<_> = others.map(|(key, value)| (key.to_owned(), value)).collect();
            all.insert(if first { 0 } else { all.len() }, ("name".to_owned(), format!("\"{name}\"")));
            fields(all)
        },
    )
}

/// Of a location, as the app prints it.
fn printed(degrees: &str) -> impl Strategy<Value = String> + use<> {
    let layouts = vec![
        r#"{"name":"location","time":5,"values":{"latitude":V,"longitude":V}}"#,
        r#"{"name":"location","time":5,"accuracy":1,"values":{"bearing":V,"latitude":V,"speed":V,"longitude":-V,"altitude":V}}"#,
        r#"{"values":{"longitude":V,"speed":1,"horizontalAccuracy":4},"time":5,"name":"locationgps"}"#,
    ];
    let degrees = degrees.to_owned();
    prop::sample::select(layouts).prop_map(move |layout| layout.replace('V', &degrees))
}

/// Of a sensor that is not known, under whatever names.
fn of_an_unknown_sensor(place: &[String; 2]) -> impl Strategy<Value = String> + use<> {
    let names = [
        "coordinates".to_owned(),
        "place".to_owned(),
        "nmea".to_owned(),
        "geohash".to_owned(),
        "address".to_owned(),
        "geojson".to_owned(),
        "watch".to_owned(),
        "wifi".to_owned(),
        "unheard of".to_owned(),
        "accelerometer.".to_owned(),
        format!("compass {}", place[0]),
        place[1].clone(),
    ];
    let [a, b] = place.clone();
    let values = prop_oneof![
        Just(fields([("x".to_owned(), a), ("y".to_owned(), b), ("z".to_owned(), "0".to_owned())])),
        (key(&place[0]), holding(place)).prop_map(|field| fields([field])),
        holding(place),
    ];
    (prop::sample::select(names.to_vec()), values, prop::sample::select(vec!["5", "\"5\"", "null"]))
        .prop_map(|(name, values, time)| format!(r#"{{"name":"{name}","time":{time},"values":{values}}}"#))
}

/// Of a known one, anywhere but as a number in a field of its own that is one.
fn of_a_known_sensor(place: &[String; 2]) -> impl Strategy<Value = String> + use<> {
    let own = fields(["x", "y"].into_iter().map(str::to_owned).zip(place.clone()));
    let wrong = prop_oneof![
        // Under a foreign key, a field that is no number, or in a form that is none.
        2 => (key(&place[0]), holding(place)).prop_map(|field| ("values", field)),
        1 => (prop::sample::select(OTHER_FIELDS.map(str::to_owned).to_vec()), holding(place))
            .prop_map(|field| ("values", field)),
        2 => compound(place).prop_map(|value| ("own", (String::new(), value))),
        1 => (key(&place[0]), holding(place)).prop_map(|field| ("beside", field)),
        1 => compound(place).prop_map(|value| ("beside", ("time".to_owned(), value))),
        1 => holding(place).prop_map(|value| ("beside", ("accuracy".to_owned(), value))),
        1 => holding(place)
            .prop_filter("the later values count: these are numbers in fields of its own", move |value| *value != own)
            .prop_map(|value| ("beside", ("values".to_owned(), value))),
    ];
    let times = vec!["5", "\"1760000000000000000\"", "1.76e18", "null"];
    (known(), wrong, prop::sample::select(times), any::<bool>()).prop_map(
        |((name, keys), (place, (key, value)), time, first)| {
            let mut own: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), "0.5".to_owned())).collect();
            let mut all = vec![("name".to_owned(), format!("\"{name}\"")), ("time".to_owned(), time.to_owned())];
            match place {
                "beside" => all.push((key, value)),
                "own" => own.extend(keys.last().map(|key| ((*key).to_owned(), value))),
                _ => own.insert(if first { 0 } else { own.len() }, (key, value)),
            }
            all.insert(if first { 0 } else { all.len() }, ("values".to_owned(), fields(own)));
            fields(all)
        },
    )
}
