//! What the agent shows to people: phones, what they do, how much waits.
//!
//! - Nothing is told before it is on the disk.
//! - Phones, sensors and names are bounded, whatever strangers send.
//! - A phone's activity is its running window's; a recording that silence closed has none.
//! - Of a phone's recordings the one with the newest time of the phone is shown: a late push of a former one changes nothing
//!   that is shown of it, nor since when that is so.
//! - Nobody who looks holds up the writer: who is slow misses motions, never the newest state.
//!
//! `drain` estimates until when nothing waits, `sent` how often sensors are read, [`motion`](Motion) is what charts are drawn of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_proto::activity::Window;
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use crate::ingest::Push;
use crate::phones::Keep;
use crate::stretches::{Slice, Stretch, Stretches};
use crate::uplink::UplinkStatus;
use crate::writer::news::{Closing, Heard};

mod drain;
mod motion;
mod sent;

use drain::Drain;
use sent::Meters;

pub use motion::{Bin, MAX_BINS, Motion};
pub(crate) use sent::sent;
pub use sent::{MAX_NAME, MAX_SENSORS, Sent};

/// Phones shown at most; a phone unheard for [`FORGET`] makes room.
const MAX_PHONES: usize = 256;
const FORGET: Duration = Duration::from_secs(600);

/// Motions that a slow viewer may be behind before it misses some.
const MOTIONS: usize = 64;

/// A phone unheard for so long sends nothing: its rates begin anew.
const PAUSE: Duration = Duration::from_secs(10);

/// What a kill may have kept [`Recent`](crate::recent::Recent) from noting of an activity that goes on, ns.
pub(crate) const KILLED: i64 = 30_000_000_000;

/// The agent's present state, shared with whoever shows it.
#[derive(Debug)]
pub struct AgentStatus {
    known: Mutex<Known>,
    changed: Arc<watch::Sender<()>>,
    motions: broadcast::Sender<Arc<Motion>>,
    /// The link to the relay.
    pub uplink: Arc<UplinkStatus>,
    /// The agent's name in the local network, such as `attic.local`, while it is in force.
    pub local_name: watch::Sender<Option<String>>,
}

/// The state and what the next one is computed from.
#[derive(Debug, Default)]
struct Known {
    shown: AgentSnapshot,
    /// By `deviceId`: the same as are shown.
    behind: BTreeMap<String, Behind>,
    /// What phones did before this start.
    before: BTreeMap<String, Doing>,
    drain: Drain,
    /// Age of the oldest frame that waits, and when that was so.
    oldest: Option<(Duration, Instant)>,
}

/// Recordings of a phone that are known at a time: pushes of former ones come late.
const RECORDINGS: usize = 4;

/// What is shown of a phone is computed from this.
#[derive(Debug, Default)]
struct Behind {
    /// At most [`RECORDINGS`], the one heard last at the end.
    recordings: Vec<Recording>,
    meters: Meters,
}

/// What is known of one recording.
#[derive(Debug, Default)]
struct Recording {
    session: String,
    /// Its closed windows.
    run: Stretches,
    /// The run is of before this start.
    is_recalled: bool,
    /// Silence closed it, or it is of before this start: another one that goes on is shown, whatever its clock says.
    is_closed: bool,
    /// Of its last push, ns, phone's clock.
    time: i64,
    running: Option<Window>,
    /// When the running window's activity began.
    since: Option<i64>,
    holes: u64,
    late: u64,
}

/// What a phone did last, by its closed windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Doing {
    /// `sessionId`
    pub session: String,
    /// The last stretch.
    pub stretch: Stretch,
}

/// What waits for the relay.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waiting {
    /// Frames of readings.
    pub(crate) raw: u64,
    /// Frames of windows.
    pub(crate) activity: u64,
    /// Frames that this start has accepted.
    pub(crate) accepted: u64,
    /// Pages of the spool in use, bytes.
    pub(crate) spool_bytes: u64,
    /// Free on its disk, bytes.
    pub(crate) disk_free: Option<u64>,
    /// Age of the oldest frame.
    pub(crate) oldest: Option<Duration>,
}

/// The agent at one moment.
#[derive(Debug, Clone)]
pub struct AgentSnapshot {
    /// When the agent started.
    pub started: Instant,
    /// By `deviceId`.
    pub phones: BTreeMap<String, Arc<Phone>>,
    /// Readings accepted since the agent's start.
    pub readings: u64,
    /// Pushes since the agent's start that were accepted before.
    pub duplicates: u64,
    /// Frames that wait for an acknowledgement: raw, activity.
    pub waiting: (u64, u64),
    /// Pages of the spool in use, bytes.
    pub spool_bytes: u64,
    /// The most that the spool takes, bytes.
    pub spool_cap: u64,
    /// Since the oldest frame that waits was accepted; of frames of earlier starts only while the wall clock is synchronised.
    pub oldest: Option<Duration>,
    /// Free on the spool's disk, bytes.
    pub disk_free: Option<u64>,
    /// Until nothing waits, at the speed of the last seconds; none where nothing waits, or where that is never. While the relay keeps pace it is little
    /// and steady, though single frames come and go.
    pub drained_in: Option<Duration>,
    /// From which mean magnitude on, m/s², a window is walking, running, sprinting.
    pub thresholds: [f64; 3],
    /// The last push of the app's test button.
    pub test: Option<Test>,
    /// Which pushes are refused that somebody here can do something about, what to do, and when the last was.
    pub refused: Option<(String, Instant)>,
    /// What happened to the spool before the one in use, and what to do.
    pub notice: Option<String>,
}

impl Default for AgentSnapshot {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            phones: BTreeMap::new(),
            readings: 0,
            duplicates: 0,
            waiting: (0, 0),
            spool_bytes: 0,
            spool_cap: 0,
            oldest: None,
            disk_free: None,
            drained_in: None,
            thresholds: [0.0; 3],
            test: None,
            refused: None,
            notice: None,
        }
    }
}

/// A push of the app's test button.
#[derive(Debug, Clone)]
pub struct Test {
    /// Of the phone, if the push told it.
    pub device: Option<String>,
    /// When it came.
    pub at: Instant,
}

/// What a phone sends of one sensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Sensor {
    /// As the app calls it.
    pub name: String,
    /// Readings per second of the phone's clock, over the last pushes.
    pub hertz: f64,
}

/// One phone.
#[derive(Debug, Clone)]
pub struct Phone {
    /// When it was last heard.
    pub heard: Instant,
    /// Readings accepted since the agent's start.
    pub readings: u64,
    /// Its running window, if it has one.
    pub running: Option<Window>,
    /// Its last recording.
    pub session: String,
    /// When the running window's activity began: nanoseconds since the Unix epoch, phone's clock. A window stands for the
    /// last slide of its span; this is where the unbroken row of windows of that activity begins, in this recording, which
    /// the running one ends. Closed windows count as they were told, open ones as they would be told now. A restart of the
    /// agent does not break the row.
    pub since: Option<i64>,
    /// Readings per second of the phone's clock over the last pushes: of all its sensors that are shown.
    pub rate: f64,
    /// What it sends, by name; nothing of a phone whose readings are not kept.
    pub sensors: Vec<Sensor>,
    /// Numbers of messages of the recording that never came.
    pub holes: u64,
    /// Readings of the recording that came too late for a window.
    pub late: u64,
}

impl Phone {
    /// One that is heard for the first time.
    pub fn new(heard: Instant) -> Self {
        Self {
            heard,
            readings: 0,
            running: None,
            session: String::new(),
            since: None,
            rate: 0.0,
            sensors: Vec::new(),
            holes: 0,
            late: 0,
        }
    }
}

impl Default for AgentStatus {
    fn default() -> Self {
        let changed = Arc::new(watch::Sender::new(()));
        let uplink = Arc::new(UplinkStatus::telling(changed.clone()));
        Self {
            known: Mutex::default(),
            changed,
            motions: broadcast::Sender::new(MOTIONS),
            uplink,
            local_name: watch::Sender::default(),
        }
    }
}

impl AgentStatus {
    /// The state now.
    pub fn snapshot(&self) -> AgentSnapshot {
        let now = Instant::now();
        let known = self.known();
        let mut shown = known.shown.clone();
        shown.oldest = known.oldest.map(|(age, at)| age + now.saturating_duration_since(at));
        shown.drained_in = known.drain.left(now);
        drop(known);
        // What is away takes nothing, whatever it took lately.
        shown.drained_in = shown.drained_in.filter(|_| self.uplink.snapshot().welcomed);
        shown
    }

    /// Whether `device` was heard since the agent's start.
    pub(crate) fn knows(&self, device: &str) -> bool {
        self.known().shown.phones.contains_key(device)
    }

    /// Changes after each transaction of the writer that told something, and with the link to the relay.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Gets what each push did from now on, once it is on the disk. Who falls behind misses some.
    pub fn motions(&self) -> broadcast::Receiver<Arc<Motion>> {
        self.motions.subscribe()
    }

    /// Notes a push of the app's test button, of `device` if it told one.
    pub fn tested(&self, device: Option<String>) {
        self.known().shown.test = Some(Test { device, at: Instant::now() });
        self.changed.send_replace(());
    }

    /// Notes that a push was refused: which, and what to do about it.
    pub(crate) fn refused(&self, said: String) {
        self.known().shown.refused = Some((said, Instant::now()));
        self.changed.send_replace(());
    }

    /// The motion in a push, if somebody looks and its readings are kept.
    pub fn bins(&self, push: &Push) -> Vec<Bin> {
        let is_shown = self.is_watched() && push.privacy.keep == Keep::All;
        if is_shown { motion::bins(&push.samples, push.median_time) } else { Vec::new() }
    }

    /// Notes what does not change while the agent runs: the most that the spool takes, bytes, and the thresholds.
    pub(crate) fn begin(&self, spool_cap: u64, thresholds: [f64; 3]) {
        let mut known = self.known();
        (known.shown.spool_cap, known.shown.thresholds) = (spool_cap, thresholds);
    }

    /// Notes what phones did before this start, by `deviceId`.
    pub fn recall(&self, before: impl IntoIterator<Item = (String, Doing)>) {
        self.known().before = before.into_iter().take(MAX_PHONES).collect();
    }

    pub(crate) fn notice(&self, notice: String) {
        self.known().shown.notice = Some(notice);
        self.changed.send_replace(());
    }

    pub(crate) fn tell(&self, heard: Vec<Heard>, duplicates: u64, waiting: Waiting) {
        let now = Instant::now();
        let is_watched = self.is_watched();
        let mut motions = Vec::new();
        let mut known = self.known();
        let readings: u64 = heard.iter().map(|heard| heard.readings).sum();
        let shown = &mut known.shown;
        shown.readings += readings;
        shown.duplicates += duplicates;
        shown.waiting = (waiting.raw, waiting.activity);
        shown.spool_bytes = waiting.spool_bytes;
        shown.disk_free = waiting.disk_free;
        known.oldest = waiting.oldest.map(|age| (age, now));
        known.drain.note(now, waiting.accepted, waiting.raw + waiting.activity);
        for mut heard in heard {
            if is_watched {
                motions.push(heard.motion());
            }
            known.hear(heard);
        }
        drop(known);
        self.changed.send_replace(());
        for motion in motions {
            // The last viewer may have gone meanwhile.
            drop(self.motions.send(Arc::new(motion)));
        }
    }

    fn is_watched(&self) -> bool {
        self.motions.receiver_count() > 0
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn hear(&mut self, heard: Heard) {
        let (shown, behind) = (&mut self.shown.phones, &mut self.behind);
        // A recording of before this start: its phone was not heard since.
        if heard.is_silence && !shown.contains_key(&heard.device) {
            return;
        }
        if shown.len() >= MAX_PHONES && !shown.contains_key(&heard.device) {
            shown.retain(|_, phone| heard.at.saturating_duration_since(phone.heard) < FORGET);
            behind.retain(|device, _| shown.contains_key(device));
            if shown.len() >= MAX_PHONES {
                return;
            }
        }
        if !shown.contains_key(&heard.device) {
            let before = self.before.remove(&heard.device);
            let recordings = before.map(Recording::recalled).into_iter().collect();
            shown.insert(heard.device.clone(), Phone::new(heard.at).into());
            behind.insert(heard.device.clone(), Behind { recordings, meters: Meters::default() });
        }
        if let (Some(phone), Some(behind)) = (shown.get_mut(&heard.device), behind.get_mut(&heard.device)) {
            Arc::make_mut(phone).hear(behind, heard);
        }
    }
}

impl Phone {
    fn hear(&mut self, behind: &mut Behind, heard: Heard) {
        let Behind { recordings, meters } = behind;
        let known = recordings.iter().position(|recording| recording.session == heard.session);
        let is_new = known.is_none();
        if is_new && heard.is_silence {
            // The end of a recording that is not known any more says nothing of the phone.
            return;
        }
        let mut recording = known.map_or_else(Recording::default, |known| recordings.remove(known));
        recording.hear(&heard);
        recordings.push(recording);
        let Some(newest) = Recording::newest(recordings) else { return };
        let is_present = newest + 1 == recordings.len();

        if heard.is_withheld || (is_new && is_present) || heard.at.saturating_duration_since(self.heard) >= PAUSE {
            meters.clear();
        }
        if !heard.is_silence {
            self.heard = heard.at;
            if is_present && !heard.is_withheld {
                meters.take(heard.sent);
            }
            self.sensors = meters.shown();
            // The sum of nothing is -0.
            self.rate = self.sensors.iter().map(|sensor| sensor.hertz).sum::<f64>() + 0.0;
        }
        self.readings += heard.readings;
        let shown = &recordings[newest];
        self.session.clone_from(&shown.session);
        self.running.clone_from(&shown.running);
        (self.since, self.holes, self.late) = (shown.since, shown.holes, shown.late);
        if recordings.len() > RECORDINGS {
            recordings.remove(usize::from(newest == 0));
        }
    }
}

impl Recording {
    /// One of before this start.
    fn recalled(Doing { session, stretch }: Doing) -> Self {
        let (time, run) = (stretch.end, stretch.into());
        Self { session, run, time, is_recalled: true, is_closed: true, ..Self::default() }
    }

    /// The index of the one that is shown: of those that go on, or else of all, the newest by the phone's clock.
    fn newest(recordings: &[Self]) -> Option<usize> {
        let newest = recordings.iter().enumerate().max_by_key(|(_, recording)| (!recording.is_closed, recording.time));
        newest.map(|(index, _)| index)
    }

    fn hear(&mut self, heard: &Heard) {
        self.session.clone_from(&heard.session);
        // Of the last push, not the greatest ever: a clock that was wrong once is right again.
        let sent = heard.sent.iter().map(|sent| sent.last).max();
        self.time = sent.or(heard.running.as_ref().map(|window| window.end)).unwrap_or(self.time);
        self.is_closed = heard.is_silence || (self.is_closed && heard.running.is_none());
        (self.holes, self.late) = (heard.holes, heard.late);
        for Closing { window, slide, .. } in &heard.closed {
            self.take(Slice::of(window, *slide));
        }
        let mut present = Self { run: self.run.clone(), is_recalled: self.is_recalled, ..Self::default() };
        for slice in &heard.present {
            present.take(*slice);
        }
        self.since = heard.running.as_ref().and(present.run.now()).map(|stretch| stretch.start);
        self.running.clone_from(&heard.running);
    }

    fn take(&mut self, slice: Slice) {
        let gap = if std::mem::take(&mut self.is_recalled) { KILLED } else { 0 };
        self.run.push_across(slice, gap);
    }
}

#[cfg(test)]
mod tests;
