//! Where phones push to, which of them may, who may look, and where the data lies: with a code for the phone's camera
//! where the terminal has room for it, and where other machines reach the agent.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf, absolute};

use gaitway_agent::addresses::{command_flag, local_url, urls};
use gaitway_agent::config::AgentConfig;
use gaitway_agent::phones::{PhonesFile, Token};
use gaitway_agent::readers::{self, Link, Right};
use gaitway_agent::setup::{self, Code};

/// Push URLs beside a code; a machine with more addresses shows the likeliest.
const MOST_URLS: usize = 4;

/// What there is to say.
struct Banner {
    /// URLs of the agent without a path, the likeliest first, the one by name last.
    reached: Vec<String>,
    listener: SocketAddr,
    is_https: bool,
    /// Anybody may push.
    is_open: bool,
    /// How commands name this agent.
    of: String,
    warehouse: PathBuf,
}

/// Prints it on a terminal, logs it otherwise.
pub(super) fn show(terminal: bool, listener: SocketAddr, data_dir: &Path, agent: &AgentConfig) -> io::Result<()> {
    let is_https = agent.https.key_file.is_some();
    let by_name =
        local_url(&agent.data_dir, listener, is_https).filter(|_| agent.mdns.enabled && agent.push_host.is_none());
    let banner = Banner {
        reached: urls(listener, is_https, agent.push_host.as_deref()).into_iter().chain(by_name).collect(),
        listener,
        is_https,
        is_open: PhonesFile::new(&agent.data_dir).current().is_ok_and(|phones| phones.is_none()),
        of: command_flag(agent),
        warehouse: absolute(data_dir)?.join("warehouse.db"),
    };
    if !terminal {
        banner.log();
        return Ok(());
    }
    let code = banner.is_exposed().then(|| invite(&agent.data_dir)).flatten();
    let size = console::Term::stdout().size_checked().map(|(rows, columns)| (usize::from(rows), usize::from(columns)));
    let lines = size
        .zip(code.as_ref())
        .and_then(|((rows, columns), code)| banner.with_code(code, rows, columns))
        .unwrap_or_else(|| banner.in_words(code.as_ref()));
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    out.flush()
}

/// The code of a link for a browser that may add phones.
fn invite(agent_dir: &Path) -> Option<Token> {
    let link = Link { name: "up".to_owned(), right: Right::AddPhones };
    let invited = readers::invite(agent_dir, &link);
    invited.inspect_err(|error| tracing::warn!("no link to the page can be made: {error:#}")).ok().map(|(code, _)| code)
}

impl Banner {
    /// Other machines reach the agent.
    fn is_exposed(&self) -> bool {
        !self.listener.ip().is_loopback()
    }

    fn push_urls(&self) -> impl Iterator<Item = String> {
        self.reached.iter().map(|url| format!("{url}/data"))
    }

    /// Where a browser on this machine looks, if the listener is there too.
    fn here(&self) -> Option<String> {
        let scheme = if self.is_https { "https" } else { "http" };
        let is_here = self.listener.ip().is_loopback() || self.listener.ip().is_unspecified();
        is_here.then(|| format!("{scheme}://localhost:{}", self.listener.port()))
    }

    fn log(&self) {
        for url in self.push_urls() {
            tracing::info!(url, "phones push to this address");
        }
        let of = &self.of;
        tracing::info!("`gaitway agent reader add NAME{of}` makes a link to the page that shows what they do");
        tracing::info!(warehouse = %self.warehouse.display(), "readings and windows are kept here");
    }

    /// With a code and the live line below on one screen; none if there is no room.
    fn with_code(&self, link: &Token, rows: usize, columns: usize) -> Option<Vec<String>> {
        let url = self.reached.first()?;
        let code = Code::of(&readers::short(url, link)).ok()?;
        let mut beside = vec![
            "Scan this with the phone's camera: it opens the page that sets Sensor Logger up. Good once, and for an \
             hour."
                .to_owned(),
            String::new(),
        ];
        if self.is_open {
            beside.push("Or set one as the push URL in the app, the phone being in the same network:".to_owned());
            beside.extend(self.push_urls().take(MOST_URLS).map(|url| format!("  {url}")));
            beside.push(String::new());
            beside.push(
                "Anybody in this network may push! That page gives each phone a token, and lets in no other."
                    .to_owned(),
            );
        } else {
            beside.push("Phones push with their tokens. That page makes one for another phone.".to_owned());
        }
        if let Some(here) = self.here() {
            beside.extend([String::new(), "What they do is shown on this machine:".to_owned(), format!("  {here}")]);
        }
        let mut lines = setup::beside(&code, &beside, columns)?;
        let below = [format!("Without a camera: {url}{}", readers::path(link)), self.kept(), ENDS.to_owned()];
        let height: usize = below.iter().map(|line| line.chars().count().div_ceil(columns)).sum();
        let (wrapped, live) = (height - below.len(), 1);
        lines.extend(below);
        if lines.len() + wrapped + live < rows {
            lines.push(String::new());
        }
        (lines.len() + wrapped + live <= rows).then_some(lines)
    }

    fn in_words(&self, link: Option<&Token>) -> Vec<String> {
        let of = &self.of;
        let mut lines = Vec::new();
        if self.is_open {
            lines.push(
                "Set one of these as the push URL in Sensor Logger, the phone being in the same network:".to_owned(),
            );
            lines.extend(self.push_urls().map(|url| format!("  {url}")));
            if self.is_exposed() {
                lines.push("Anybody in this network may push! To let in only phones that you know:".to_owned());
                lines.push(format!("  gaitway agent phone add NAME{of}"));
            }
        } else {
            lines.push("Phones push with their tokens. A push URL for another phone:".to_owned());
            lines.push(format!("  gaitway agent phone add NAME{of}"));
        }
        lines.push("What they do is shown in a browser:".to_owned());
        lines.extend(self.here().map(|here| format!("  {here} on this machine")));
        if let Some((url, link)) = self.reached.first().zip(link) {
            lines.push(format!("  {url}{} on another device, once and within an hour", readers::path(link)));
        }
        lines.extend([self.kept(), ENDS.to_owned(), String::new()]);
        lines
    }

    fn kept(&self) -> String {
        format!("Readings and windows are kept in {}", self.warehouse.display())
    }
}

const ENDS: &str = "Ctrl-C ends it; nothing accepted is lost.";
