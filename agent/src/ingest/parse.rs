//! A push body, read once from front to back.

use gaitway_proto::frame::{Builder, Packed};
use gaitway_proto::limits;
use gaitway_proto::message::MAX_MESSAGE_ID;
use gaitway_proto::value::{Fields, Value};
use jiter::Peek;
use xxhash_rust::xxh3::xxh3_128;

use super::Refusal;
use super::json::{Json, Stop, value};
use super::place::{self, Kept};
use super::reading::Reader;
use crate::phones::{Keep, Privacy};
use crate::status::{self, Sent};
use crate::windows::{Sample, lower_median};

/// A push, read and packed; what is left to do needs the spool.
#[derive(Debug)]
pub struct Push {
    /// `deviceId`
    pub device: String,
    /// `sessionId`
    pub session: String,
    /// `userId`
    pub user: Option<String>,
    /// `messageId`, if it is one.
    pub message_id: Option<u64>,
    /// XXH3-128 of the body as it came.
    pub hash: u128,
    /// Bytes of the body.
    pub bytes: usize,
    /// The readings that are kept, as columns.
    pub packed: Packed,
    /// All readings, also those that are not kept.
    pub readings: u32,
    /// Of those that are kept, those whose place was rounded.
    pub rounded: u32,
    /// What is kept of the phone.
    pub privacy: Privacy,
    /// Eligible readings in the order of `payload`.
    pub samples: Vec<Sample>,
    /// Lower median of all usable times, nanoseconds since the Unix epoch.
    pub median_time: Option<i64>,
    /// Which sensors it has readings of, where these have the app's form; for people who look, never stored.
    pub sensors: Vec<Sent>,
    /// The app's test button: nothing is stored.
    pub test: bool,
}

/// The head of a push while it is read.
#[derive(Default)]
struct Head {
    device: Option<Value>,
    session: Option<Value>,
    user: Option<String>,
    message_id: Option<u64>,
    refuse_id: bool,
    extra: Fields,
}

impl Push {
    /// Readings that are not kept because the phone's owner wants it so.
    pub fn withheld(&self) -> u32 {
        self.readings - self.packed.readings()
    }
}

/// The payload of a push while it is read.
#[derive(Default)]
struct Payload {
    frame: Builder,
    readings: usize,
    rounded: u32,
    samples: Vec<Sample>,
    times: Vec<i64>,
    test: bool,
}

/// Reads `body`, the decoded body of a push, of which everything is kept.
pub fn parse(body: &[u8]) -> Result<Push, Refusal> {
    parse_keeping(body, Privacy::default())
}

/// Reads `body`, the decoded body of a push, of which is kept what `privacy` says. Samples are of all of it.
pub fn parse_keeping(body: &[u8], privacy: Privacy) -> Result<Push, Refusal> {
    parse_as(body, Head::default(), privacy)
}

/// Reads `body`, whose `messageId` belongs to another body: it is kept among the unknown fields.
pub fn parse_without_id(body: &[u8], privacy: Privacy) -> Result<Push, Refusal> {
    parse_as(body, Head { refuse_id: true, ..Head::default() }, privacy)
}

fn parse_as(body: &[u8], head: Head, privacy: Privacy) -> Result<Push, Refusal> {
    let mut json = Json::new(body);
    let (mut head, payload) = read(&mut json, head, privacy).map_err(|stop| stop.into_refusal(&json))?;
    let device = id("deviceId", head.device)?;
    let session = id("sessionId", head.session)?;
    if head.user.as_ref().is_some_and(|user| user.len() > limits::MAX_ID) {
        return Err(Refusal::too_large("userId", limits::MAX_ID));
    }

    if !head.extra.is_empty() && Value::Object(head.extra.clone()).to_json().len() > limits::MAX_MESSAGE_FIELDS {
        return Err(Refusal::too_large("what stands beside the payload", limits::MAX_MESSAGE_FIELDS));
    }

    let Payload { mut frame, readings, mut rounded, samples, mut times, test } = payload;
    let median_time = lower_median(&mut times);
    let sensors = status::sent(&frame, median_time);
    if privacy.keep == Keep::Activity {
        (frame, rounded) = (Builder::new(), 0);
    } else {
        if privacy.location.is_some() {
            place::leave_out(&mut head.extra);
        }
        frame.set_extra(head.extra);
    }
    let packed = frame.finish();
    packed.check().map_err(|_| Refusal::too_large("the push as a frame", limits::MAX_FRAME))?;
    Ok(Push {
        device,
        session,
        user: head.user,
        message_id: head.message_id,
        hash: xxh3_128(body),
        bytes: body.len(),
        packed,
        readings: readings as u32,
        rounded,
        privacy,
        samples,
        median_time,
        sensors,
        test,
    })
}

fn read(json: &mut Json<'_>, mut head: Head, privacy: Privacy) -> Result<(Head, Payload), Stop> {
    let peek = json.peek()?;
    if peek != Peek::Object {
        value(json, peek, 0)?;
        json.finish()?;
        return Err(Stop::Refused(Refusal::NotAPush("it is not an object".to_owned())));
    }
    let mut payload = Payload::default();
    let mut key = json.known_object()?.map(str::to_owned);
    while let Some(name) = key {
        let peek = json.peek()?;
        match name.as_str() {
            "payload" => payload = read_payload(json, peek, privacy)?,
            _ => head.take(name, value(json, peek, 1)?),
        }
        key = json.next_key()?.map(str::to_owned);
    }
    json.finish()?;
    Ok((head, payload))
}

fn read_payload(json: &mut Json<'_>, peek: Peek, privacy: Privacy) -> Result<Payload, Stop> {
    let mut payload = Payload::default();
    let mut reader = Reader::new(privacy.location);
    match peek {
        Peek::Null => json.known_null()?,
        Peek::Array => {
            let mut next = json.known_array()?;
            while let Some(peek) = next {
                let read = match reader.read_alike(json.rest(), &mut payload.frame) {
                    Some((read, bytes)) => {
                        json.step_over(bytes);
                        read
                    }
                    None => reader.read(json, peek, &mut payload.frame)?,
                };
                payload.times.extend(read.time);
                payload.samples.extend(read.sample);
                payload.readings += 1;
                payload.rounded += u32::from(read.kept == Kept::Rounded);
                payload.test = read.test && payload.readings == 1;
                // Before they take memory that the body's size does not bound.
                if payload.readings > limits::MAX_READINGS {
                    let limit = limits::MAX_READINGS.to_string();
                    return Err(Stop::Refused(Refusal::TooLarge { what: "the number of readings", limit }));
                }
                next = json.array_step()?;
            }
        }
        other => {
            let mut original = value(json, other, 1)?;
            payload.readings = 1;
            let kept = privacy.location.map_or(Kept::Whole, |decimals| place::of_odd(&mut original, decimals));
            payload.rounded = u32::from(kept == Kept::Rounded);
            if kept != Kept::Nothing {
                payload.frame.push_odd(&original);
            }
        }
    }
    Ok(payload)
}

impl Head {
    fn take(&mut self, name: String, value: Value) {
        // Of duplicate keys the last wins, whatever form the ones before it had.
        if let "userId" | "messageId" = name.as_str() {
            self.extra.remove(&name);
            if name == "userId" { self.user = None } else { self.message_id = None }
        }
        match (name.as_str(), &value) {
            ("deviceId", _) => self.device = Some(value),
            ("sessionId", _) => self.session = Some(value),
            ("userId", Value::Text(user)) => self.user = Some(user.clone()),
            ("userId" | "messageId", Value::Null) => {}
            ("messageId", Value::I64(_) | Value::F64(_)) if !self.refuse_id && message_id(&value).is_some() => {
                self.message_id = message_id(&value);
            }
            _ => {
                self.extra.insert(name, value);
            }
        }
    }
}

fn message_id(value: &Value) -> Option<u64> {
    u64::try_from(value.as_integer()?).ok().filter(|id| *id <= MAX_MESSAGE_ID)
}

fn id(key: &'static str, value: Option<Value>) -> Result<String, Refusal> {
    match value {
        Some(Value::Text(id)) if id.len() > limits::MAX_ID => Err(Refusal::too_large(key, limits::MAX_ID)),
        // No address could name it: a browser takes it for a folder.
        Some(Value::Text(id)) if matches!(id.as_ref(), "." | "..") => {
            Err(Refusal::NotAPush(format!("its {key} is {id:?}, which is no name")))
        }
        // Nobody could name it on a command line, to forget what it sent.
        Some(Value::Text(id)) if id.contains(char::is_control) => {
            Err(Refusal::NotAPush(format!("its {key} has control characters in it")))
        }
        Some(Value::Text(id)) if !id.is_empty() => Ok(id),
        _ => Err(Refusal::NotAPush(format!("it has no {key}"))),
    }
}
