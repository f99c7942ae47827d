//! Where phones push to, which of them may, who may look, and where the data lies.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, absolute};

use gaitway_agent::addresses::{data_dir_flag, local_url, urls};
use gaitway_agent::config::AgentConfig;
use gaitway_agent::phones::PhonesFile;
use gaitway_agent::readers::{self, Link};

/// Prints it on a terminal, logs it otherwise.
pub(super) fn show(terminal: bool, listener: SocketAddr, data_dir: &Path, agent: &AgentConfig) -> std::io::Result<()> {
    let is_https = agent.https.key_file.is_some();
    let by_name =
        local_url(&agent.data_dir, listener, is_https).filter(|_| agent.mdns.enabled && agent.push_host.is_none());
    let reached: Vec<_> = urls(listener, is_https, agent.push_host.as_deref()).into_iter().chain(by_name).collect();
    let urls = reached.iter().map(|url| format!("{url}/data"));
    let agent_dir = &agent.data_dir;
    let is_open = PhonesFile::new(agent_dir).current().is_ok_and(|phones| phones.is_none());
    let of = data_dir_flag(agent_dir);
    let data_dir = absolute(data_dir)?;
    if !terminal {
        for url in urls {
            tracing::info!(url, "phones push to this address");
        }
        tracing::info!("`gaitway agent reader add NAME{of}` makes a link to the page that shows what they do");
        tracing::info!(warehouse = %data_dir.join("warehouse.db").display(), "readings and windows are kept here");
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    if is_open {
        writeln!(out, "Set one of these as the push URL in Sensor Logger, the phone being in the same network:")?;
        for url in urls {
            writeln!(out, "  {url}")?;
        }
        if !listener.ip().is_loopback() {
            writeln!(out, "Anybody in this network may push! To let in only phones that you know:")?;
            writeln!(out, "  gaitway agent phone add NAME{of}")?;
        }
    } else {
        writeln!(out, "Phones push with their tokens. A push URL for another phone:")?;
        writeln!(out, "  gaitway agent phone add NAME{of}")?;
    }
    let scheme = if is_https { "https" } else { "http" };
    writeln!(out, "What they do is shown in a browser:")?;
    if listener.ip().is_loopback() || listener.ip().is_unspecified() {
        writeln!(out, "  {scheme}://localhost:{} on this machine", listener.port())?;
    }
    if let Some(url) = reached.first().filter(|_| !listener.ip().is_loopback()) {
        match readers::invite(agent_dir, &Link { name: "up".to_owned(), of_phone: false }) {
            Ok((code, _)) => {
                writeln!(out, "  {url}{} on another device, once and within an hour", readers::path(&code))?;
            }
            Err(error) => tracing::warn!("no link to the page can be made: {error:#}"),
        }
    }
    writeln!(out, "Readings and windows are kept in {}", data_dir.join("warehouse.db").display())?;
    writeln!(out, "Ctrl-C ends it; nothing accepted is lost.\n")?;
    out.flush()
}
