//! One question for a certificate and its answer, over TLS.
//!
//! - It is over within [`WITHIN`], and nothing beyond the greatest question is read.
//! - Tries of codes are bounded before the store hears of them; who shows a certificate to have it replaced tries none.

use std::net::SocketAddr;
use std::time::Duration;

use gaitway_proto::enrolment::{Answer, Ask, MAX_ASK, Refusal, announced, framed};
use gaitway_proto::envelope::WireError;
use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::tls::{Shown, Tls};

const WITHIN: Duration = Duration::from_secs(10);

/// How it went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A certificate was issued.
    Issued { agent: String, renewed: bool },
    /// None was.
    Refused(Refusal),
    /// The question could not be read.
    Unreadable(WireError),
    /// It did not come to an answer.
    Broken(io::Error),
}

impl Outcome {
    /// The label of the counter.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Issued { renewed: false, .. } => "enrolled",
            Self::Issued { renewed: true, .. } => "renewed",
            Self::Refused(_) => "not_enrolled",
            Self::Unreadable(_) => "malformed",
            Self::Broken(_) => "io",
        }
    }
}

/// Hears the question, answers and closes.
pub(super) async fn serve<S>(stream: &mut S, peer: SocketAddr, tls: &Tls, shown: Option<Shown>) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let served = timeout(WITHIN, hear_and_answer(stream, peer, tls, shown)).await;
    served.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).unwrap_or_else(Outcome::Broken)
}

async fn hear_and_answer<S>(stream: &mut S, peer: SocketAddr, tls: &Tls, shown: Option<Shown>) -> io::Result<Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = match announced(length, "question", MAX_ASK) {
        Ok(length) => length,
        Err(error) => return Ok(Outcome::Unreadable(error)),
    };
    let mut payload = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut payload).await?;
    let ask = match Ask::decode(&payload) {
        Ok(ask) => ask,
        Err(error) => return Ok(Outcome::Unreadable(error)),
    };
    let renewed = matches!(ask, Ask::Renew { .. });
    let tries = !renewed || shown.is_none();
    let answer = match if tries { tls.take_attempt(peer) } else { Ok(()) } {
        Ok(()) => tls.desk.certify(ask, shown.map(|shown| shown.serial)).await,
        Err(seconds) => Answer::Refused(Refusal::TooMany { seconds }),
    };
    if tries && let Answer::Issued(_) = &answer {
        tls.give_attempt_back(peer);
    }
    stream.write_all(&framed(&answer.encode())).await?;
    stream.shutdown().await?;
    Ok(match answer {
        Answer::Issued(issued) => Outcome::Issued { agent: issued.agent.to_string(), renewed },
        Answer::Refused(refusal) => Outcome::Refused(refusal),
    })
}
