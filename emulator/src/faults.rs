//! Faults that tests inject while the emulator runs: which, at which calls, for which channel, how often.
//!
//! - A call meets at most one fault: the oldest injection that matches it and is not used up.
//! - An injection tells how often it was met, also after it is used up.

use std::time::Duration;

use crate::requests::Call;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The call is done, then the connection is closed without an answer.
    ResponseLost,
    /// The call is done, then answered with 503.
    DoneThenUnavailable,
    /// The connection is reset before anything is done.
    ConnectionReset,
    /// 400 `STALE_CONTINUATION_TOKEN_SEQUENCER`.
    StaleToken,
    /// 409 `ERR_CHANNEL_HAS_UNCOMMITTED_DATA`.
    OpenHasUncommittedData,
    /// 409 `ERR_OPEN_CHANNEL_IN_PROGRESS`.
    OpenInProgress,
    /// 200, and the channel has this status, which is not `SUCCESS`, until it is opened again.
    OpenNotSuccess {
        /// The status.
        code: String,
    },
    /// From this status call on the channel has this status until it is opened again, and takes no append.
    ChannelInvalid {
        /// The status.
        code: String,
    },
    /// The channel is deleted with its token before the call is looked at.
    ChannelWiped,
    /// 429.
    TooManyRequests {
        /// Seconds of the `Retry-After` header.
        retry_after: Option<u32>,
    },
    /// 503.
    Unavailable {
        /// Seconds of the `Retry-After` header.
        retry_after: Option<u32>,
    },
    /// 500.
    InternalError,
    /// 408.
    RequestTimeout,
    /// 413.
    TooLarge,
    /// 410 `ERR_PIPE_FAILED_OVER`.
    FailedOver,
    /// 404 with a page that is no JSON.
    NotFoundPage,
    /// 404 with a JSON body.
    NotFound,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// This status with this body; nothing is done.
    Answered {
        /// The status.
        status: u16,
        /// The body, JSON or not.
        body: &'static str,
    },
    /// So many rows of the append are refused as invalid.
    RejectRows {
        /// How many, from the first.
        rows: u64,
    },
    /// The answer comes so much later.
    Slow {
        /// By how much.
        by: Duration,
    },
    /// Nothing is done and no answer comes.
    NoAnswer,
    /// A statement is answered with 202 and has to be polled.
    StatementPending,
}

impl Fault {
    /// The calls that meet it unless [`Injection::at`] says others.
    fn usual(&self) -> &'static [Call] {
        match self {
            Self::OpenHasUncommittedData | Self::OpenInProgress | Self::OpenNotSuccess { .. } => &[Call::Open],
            Self::ChannelInvalid { .. } => &[Call::Status],
            Self::StatementPending => &[Call::Statement],
            Self::ChannelWiped => &[Call::Open, Call::Append, Call::Status],
            _ => &[Call::Append],
        }
    }

    /// This fault `times` times.
    pub fn times(self, times: u32) -> Injection {
        Injection::from(self).times(times)
    }

    /// This fault until faults are cleared.
    pub fn always(self) -> Injection {
        Injection { times: None, ..Injection::from(self) }
    }

    /// This fault once, for one channel.
    pub fn channel(self, channel: &str) -> Injection {
        Injection::from(self).channel(channel)
    }

    /// This fault once, at calls of these kinds.
    pub fn at(self, calls: &[Call]) -> Injection {
        Injection::from(self).at(calls)
    }
}

/// A fault and when it is met. From a [`Fault`] alone: once, at its usual calls (append, unless its description speaks
/// of another), for any channel.
#[derive(Debug, Clone)]
pub struct Injection {
    fault: Fault,
    times: Option<u32>,
    channel: Option<String>,
    calls: Vec<Call>,
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { calls: fault.usual().to_vec(), fault, times: Some(1), channel: None }
    }
}

impl Injection {
    /// So many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// For this channel only.
    #[must_use]
    pub fn channel(mut self, channel: &str) -> Self {
        self.channel = Some(channel.to_owned());
        self
    }

    /// At calls of these kinds.
    #[must_use]
    pub fn at(mut self, calls: &[Call]) -> Self {
        self.calls = calls.to_vec();
        self
    }
}

/// Names an injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(usize);

/// What a call meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) fault: Fault,
    /// The one channel that the injection is about.
    pub(crate) channel: Option<String>,
}

/// All injections of an emulator, in order.
#[derive(Debug, Default)]
pub(crate) struct Plan(Vec<(Injection, u64)>);

impl Plan {
    pub(crate) fn inject(&mut self, injection: Injection) -> FaultId {
        self.0.push((injection, 0));
        FaultId(self.0.len() - 1)
    }

    /// How often it was met.
    pub(crate) fn met(&self, id: FaultId) -> u64 {
        self.0[id.0].1
    }

    /// Nothing more is met; counts stay.
    pub(crate) fn clear(&mut self) {
        for (injection, _) in &mut self.0 {
            injection.times = Some(0);
        }
    }

    /// The fault that a call about `channels` meets.
    pub(crate) fn meet(&mut self, call: Call, channels: &[String]) -> Option<Met> {
        let (injection, met) = self.0.iter_mut().find(|(injection, _)| {
            let channel = injection.channel.as_ref();
            injection.times != Some(0)
                && injection.calls.contains(&call)
                && channel.is_none_or(|wanted| channels.contains(wanted))
        })?;
        injection.times = injection.times.map(|times| times - 1);
        *met += 1;
        Some(Met { fault: injection.fault.clone(), channel: injection.channel.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_met_as_often_as_told_and_counted() {
        let mut plan = Plan::default();
        let id = plan.inject(Fault::InternalError.times(2));
        let met: Vec<_> = (0..3).map(|_| plan.meet(Call::Append, &[]).map(|met| met.fault)).collect();
        assert_eq!(met, [Some(Fault::InternalError), Some(Fault::InternalError), None]);
        assert_eq!(plan.met(id), 2);
    }

    #[test]
    fn a_fault_waits_for_its_call_and_its_channel() {
        let mut plan = Plan::default();
        plan.inject(Fault::Forbidden.at(&[Call::Open, Call::Drop]).channel("b"));
        assert_eq!(plan.meet(Call::Append, &["b".into()]), None);
        assert_eq!(plan.meet(Call::Open, &["a".into()]), None);
        assert_eq!(
            plan.meet(Call::Open, &["a".into(), "b".into()]),
            Some(Met { fault: Fault::Forbidden, channel: Some("b".into()) })
        );
    }

    #[test]
    fn faults_come_in_the_order_of_their_injection_until_cleared() {
        let mut plan = Plan::default();
        plan.inject(Fault::TooLarge.into());
        let always = plan.inject(Fault::RequestTimeout.always());
        let met: Vec<_> = (0..3).map(|_| plan.meet(Call::Append, &[]).unwrap().fault).collect();
        assert_eq!(met, [Fault::TooLarge, Fault::RequestTimeout, Fault::RequestTimeout]);
        plan.clear();
        assert_eq!(plan.meet(Call::Append, &[]), None);
        assert_eq!(plan.met(always), 2);
    }
}
