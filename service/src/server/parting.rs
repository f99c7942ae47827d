//! How a connection ends that this side ends.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::wire::Wire;

/// How long a client may take to read its last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Connections that linger at a time: with those that are served, fewer than the usual 1,024 descriptors of a process.
const LINGERING: usize = 384;

/// Why a connection ends before its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// The head of its request takes too long, or nothing is asked for long.
    Slow,
    /// It asks nothing, or slowly, and somebody else needs the place.
    MakeRoom,
    /// There is no place for it.
    Full,
    /// It does not speak HTTP/1.
    Foreign,
    /// It does not speak TLS where nothing else is spoken.
    Plain,
}

impl Parting {
    /// The answer: status, headers and one sentence.
    pub(super) fn answer(self) -> String {
        let (status, sentence) = match self {
            Self::Slow => ("408 Request Timeout", "the head of a request must arrive within 10 s"),
            Self::MakeRoom => {
                ("503 Service Unavailable", "the request took too long to arrive while others wait for a connection")
            }
            Self::Full => ("503 Service Unavailable", "all connections are busy; try again"),
            // The status whose text Sensor Logger shows.
            Self::Plain => ("499 HTTPS Only", "this address speaks HTTPS: the push URL must begin with https://"),
            Self::Foreign => ("505 HTTP Version Not Supported", "this address speaks HTTP/1.1 only"),
        };
        let body = format!(r#"{{"status":"error","message":"{sentence}"}}"#);
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// Where connections that were told to leave may read why: a socket closed with bytes unread takes its answer along.
#[derive(Debug, Clone)]
pub(super) struct Lobby(Arc<Semaphore>);

impl Default for Lobby {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LINGERING)))
    }
}

impl Lobby {
    /// Ends `stream`, with an answer if there is a reason to tell, once its client has read everything, or soon.
    pub(super) async fn see_off(&self, mut stream: Wire, why: Option<Parting>) {
        let Ok(_place) = self.0.try_acquire() else {
            say_at_once(stream, why);
            return;
        };
        let parting = async {
            if let Some(why) = why {
                stream.write_all(why.answer().as_bytes()).await?;
            }
            stream.shutdown().await?;
            let mut rest = vec![0; 16 * 1024];
            while stream.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // Who is gone needs no answer, who does not read it gets none.
        let _ = tokio::time::timeout(LINGER, parting).await;
    }

    /// Answers a connection that is not served.
    pub(super) fn refuse(&self, stream: TcpStream, why: Parting) {
        let stream = Wire::Plain(stream);
        if self.0.available_permits() == 0 {
            say_at_once(stream, Some(why));
            return;
        }
        let lobby = self.clone();
        tokio::spawn(async move { lobby.see_off(stream, Some(why)).await });
    }
}

/// One write that does not wait: little was written before, so that there is room for it.
fn say_at_once(stream: Wire, why: Option<Parting>) {
    let Wire::Plain(stream) = stream else { return };
    if let (Some(why), Ok(mut stream)) = (why, stream.into_std()) {
        let _ = stream.write_all(why.answer().as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
    }
}
