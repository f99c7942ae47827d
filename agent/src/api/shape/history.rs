//! What phones did as JSON: windows, stretches of one activity, and the motion of a push.

use gaitway_proto::activity::{Activity, Window};
use gaitway_proto::schema;
use serde::Serialize;

use crate::status;
use crate::stretches::Stretch;

/// The most closed windows of a motion that are told.
const MOST_CLOSED: usize = 600;

/// One window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownWindow {
    /// Inclusive; phone's clock.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) start: String,
    /// Exclusive; phone's clock.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) end: String,
    /// Readings in it.
    pub(crate) samples: u64,
    /// Their mean magnitude, m/s².
    pub(crate) magnitude: f64,
    /// What the phone's owner did.
    #[cfg_attr(test, schema(schema_with = crate::api::openapi::made::activity))]
    pub(crate) activity: &'static str,
    /// Probability that the activity is right.
    #[cfg_attr(test, schema(minimum = 0, maximum = 1))]
    pub(crate) confidence: f64,
}

/// A closed window of a recording.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionWindow {
    #[serde(flatten)]
    pub(crate) window: ShownWindow,
    /// The recording.
    pub(crate) session_id: String,
}

/// Closed windows in the order of their ends.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Windows {
    /// The windows that end in the span.
    pub(crate) windows: Vec<SessionWindow>,
    /// `from` of the next page, where there is one.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) next: Option<String>,
}

/// A time of one activity.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownStretch {
    /// What the phone's owner did.
    #[cfg_attr(test, schema(schema_with = crate::api::openapi::made::activity))]
    pub(crate) activity: &'static str,
    /// Phone's clock.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) start: String,
    /// Phone's clock.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) end: String,
    /// Mean probability that the activity is right.
    #[cfg_attr(test, schema(minimum = 0, maximum = 1))]
    pub(crate) confidence: f64,
}

/// What a phone's owner did over a span.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Activities {
    /// Each closed window stands for the last slide of its span, as far as readings go through it; where nothing was recorded
    /// there is none.
    pub(crate) activities: Vec<ShownStretch>,
    /// How long each activity lasted.
    pub(crate) seconds: Seconds,
}

/// Sums of seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Seconds {
    pub(crate) stationary: f64,
    pub(crate) walking: f64,
    pub(crate) running: f64,
    pub(crate) sprinting: f64,
}

/// What one push told of a phone's motion.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Motion {
    /// As the phone tells it.
    pub(crate) device_id: String,
    /// The recording.
    pub(crate) session_id: String,
    /// Least and greatest magnitude of acceleration, m/s², in each 100 ms of the phone's clock that has readings:
    /// milliseconds since the Unix epoch, least, greatest; ascending. Of more than 3,000 the last. None of a phone whose
    /// readings are not kept.
    pub(crate) bins: Vec<(i64, f32, f32)>,
    /// The window that is not closed yet.
    pub(crate) running: Option<ShownWindow>,
    /// The windows that the push closed; of more than 600 the last.
    pub(crate) closed: Vec<ShownWindow>,
}

impl ShownWindow {
    pub(crate) fn of(window: &Window) -> Self {
        Self {
            start: schema::rfc3339(window.start),
            end: schema::rfc3339(window.end),
            samples: window.count,
            magnitude: window.mean,
            activity: window.activity.as_str(),
            confidence: window.confidence,
        }
    }
}

impl Activities {
    /// These stretches, in their order.
    pub(crate) fn of(stretches: &[Stretch]) -> Self {
        let [mut stationary, mut walking, mut running, mut sprinting] = [0_i64; 4];
        for stretch in stretches {
            let sum = match stretch.activity {
                Activity::Stationary => &mut stationary,
                Activity::Walking => &mut walking,
                Activity::Running => &mut running,
                Activity::Sprinting => &mut sprinting,
            };
            *sum = sum.saturating_add(stretch.end.saturating_sub(stretch.start));
        }
        let shown = |stretch: &Stretch| ShownStretch {
            activity: stretch.activity.as_str(),
            start: schema::rfc3339(stretch.start),
            end: schema::rfc3339(stretch.end),
            confidence: stretch.confidence,
        };
        let [stationary, walking, running, sprinting] =
            [stationary, walking, running, sprinting].map(|nanoseconds| nanoseconds as f64 / 1e9);
        let seconds = Seconds { stationary, walking, running, sprinting };
        Self { activities: stretches.iter().map(shown).collect(), seconds }
    }
}

impl Motion {
    pub(crate) fn of(motion: &status::Motion) -> Self {
        let closed = &motion.closed[motion.closed.len().saturating_sub(MOST_CLOSED)..];
        Self {
            device_id: motion.device.clone(),
            session_id: motion.session.clone(),
            bins: motion.bins.iter().map(|bin| (bin.at_ms, bin.min, bin.max)).collect(),
            running: motion.running.as_ref().map(ShownWindow::of),
            closed: closed.iter().map(ShownWindow::of).collect(),
        }
    }
}
