//! `healthcheck`: asks a running service whether data moves. For images, which have no shell and no curl.
//!
//! - What it prints is what `/readyz` says; it ends with 0 where that is 200, with 1 otherwise.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::checkup::ask;
use crate::server::reachable;

const WITHIN: Duration = Duration::from_secs(3);

/// Where to ask.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service's configuration file; `up`'s will do [default: that of the service]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to ask instead of /readyz at the configured address
    #[arg(long, value_name = "http://IP:PORT/PATH")]
    pub url: Option<Target>,
}

/// An address and a path there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    address: SocketAddr,
    path: String,
}

impl Target {
    /// `/readyz` of the service that listens at `address`.
    pub fn ready(address: SocketAddr) -> Self {
        Self { address, path: "/readyz".to_owned() }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a URL here is http://IP:PORT/PATH, such as http://127.0.0.1:8000/healthz".to_owned();
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, "readyz"));
        let is_plain = |path: &str| path.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain(path) {
            return Err(wrong());
        }
        Ok(Self { address: address.parse().map_err(|_| wrong())?, path: format!("/{path}") })
    }
}

/// Asks there, and prints the answer.
pub async fn run(target: &Target) -> anyhow::Result<ExitCode> {
    let Target { address, path } = target;
    let asked = ask::get(*address, path).await;
    let (status, said) = asked.with_context(|| format!("http://{}{path} does not answer", reachable(*address)))?;
    print(&said)?;
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of a service that speaks HTTPS only whether it takes connections: its certificate is for those who know it by name.
pub async fn run_by_connecting(address: SocketAddr) -> anyhow::Result<ExitCode> {
    let address = reachable(address);
    let connected = timeout(WITHIN, TcpStream::connect(address)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.with_context(|| format!("{address} takes no connection"))?;
    print(&format!("{address} takes connections; https://{address}/readyz tells more\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn print(said: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(said.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::health::Health;
    use crate::http;
    use crate::metrics::Metrics;

    #[test]
    fn a_url_is_an_address_and_a_path() {
        let target = |text: &str| text.parse::<Target>();
        let address = "127.0.0.1:8000".parse().unwrap();
        assert_eq!(target("http://127.0.0.1:8000"), Ok(Target::ready(address)));
        assert_eq!(target("http://127.0.0.1:8000/healthz"), Ok(Target { address, path: "/healthz".to_owned() }));
        assert!(target("http://[::1]:9464/healthz").is_ok());
        for wrong in ["https://127.0.0.1:8000", "127.0.0.1:8000", "http://agent:8000", "http://127.0.0.1:8000/a b"] {
            assert!(target(wrong).unwrap_err().contains("http://IP:PORT/PATH"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn it_is_well_while_every_part_is_ready_and_an_error_where_nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (target, health) = (Target::ready(listener.local_addr().unwrap()), Health::new());
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(http::serve(listener, health.clone(), Metrics::new(), shutdown.clone()));
        let part = health.part("spool");
        assert_eq!(run(&target).await.unwrap(), ExitCode::FAILURE);
        part.ready();
        assert_eq!(run(&target).await.unwrap(), ExitCode::SUCCESS);
        assert_eq!(run_by_connecting(target.address).await.unwrap(), ExitCode::SUCCESS);
        shutdown.cancel();
        server.await.unwrap().unwrap();
        let said = run(&target).await.unwrap_err().to_string();
        assert_eq!(said, format!("http://{}/readyz does not answer", target.address));
        assert!(run_by_connecting(target.address).await.unwrap_err().to_string().contains("takes no connection"));
    }
}
