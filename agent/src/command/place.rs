//! Which agent a command is about, and where it is reached.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::ensure;

use super::Said;
use crate::addresses::{self, Listens};
use crate::config::AgentConfig;

/// What an agent that has run leaves in its data directory.
const TRACES: [&str; 4] = ["agent-id", "listens", "spool.db", "identity.json"];

/// The agent that is meant.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Of {
    /// The agent's data directory, or that of `gaitway up` [default: that of the agent that runs as this machine's service, else as
    /// configured, ./gaitway-data/agent]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

/// An agent's data directory, and what is configured.
pub(super) struct Place<'a> {
    pub(super) dir: PathBuf,
    configured: &'a AgentConfig,
}

impl<'a> Place<'a> {
    /// Of the agent of `told`, which may be the folder of its `gaitway up`.
    pub(super) fn find(told: &Path, configured: &'a AgentConfig) -> Self {
        let below = told.join("agent");
        let dir = if !is_agents(told) && is_agents(&below) { below } else { told.to_owned() };
        Self { dir, configured }
    }

    /// Fails where neither an agent has run nor the list at `path` is: then a name was mistyped.
    pub(super) fn must_have(&self, path: &Path) -> anyhow::Result<()> {
        ensure!(
            path.exists() || is_agents(&self.dir),
            "no agent has run in {}: `--data-dir DIR` names the folder of the one that is meant, or of its `gaitway up`",
            self.dir.display()
        );
        Ok(())
    }

    /// Says so where no agent has run yet, whose list is begun.
    pub(super) fn warn_of_nobody(&self, said: &mut Said) -> std::fmt::Result {
        if !is_agents(&self.dir) {
            let dir = self.dir.display();
            writeln!(
                said.notes,
                "note: no agent has run in {dir} yet, so this is for one that will; `--data-dir DIR` names the folder of \
                 another, or of its `gaitway up`"
            )?;
        }
        Ok(())
    }

    /// URLs of the agent without a path: of `listener` if that is told, else where it listens or did when it last ran, else as
    /// configured. The one by its name in the network comes last, for not every phone knows such names.
    pub(super) fn urls(&self, listener: Option<SocketAddr>) -> Vec<String> {
        let listens = self.listens(listener);
        let by_name =
            listens.host.is_none().then(|| addresses::local_url(&self.dir, listens.address, listens.is_https));
        listens.urls().into_iter().chain(by_name.flatten()).collect()
    }

    /// Whether other machines reach that listener.
    pub(super) fn is_reached(&self, listener: Option<SocketAddr>) -> bool {
        !self.listens(listener).address.ip().is_loopback()
    }

    fn listens(&self, listener: Option<SocketAddr>) -> Listens {
        let configured = || Listens {
            address: self.configured.http,
            is_https: self.configured.https.key_file.is_some(),
            host: self.configured.push_host.clone(),
        };
        let mut listens = addresses::noted(&self.dir).unwrap_or_else(configured);
        listens.address = listener.unwrap_or(listens.address);
        listens
    }
}

fn is_agents(dir: &Path) -> bool {
    TRACES.iter().any(|name| dir.join(name).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_up_means_its_agent_s_and_one_of_nobody_is_itself() {
        let dir = tempfile::tempdir().unwrap();
        let configured = AgentConfig::default();
        let find = |dir: &Path| Place::find(dir, &configured);
        let place = find(dir.path());
        assert_eq!(place.dir, dir.path());
        let said = place.must_have(&dir.path().join("phones.json")).unwrap_err().to_string();
        assert!(said.contains("no agent has run in") && said.contains("--data-dir"), "{said}");
        let own = dir.path().join("agent");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("agent-id"), "home").unwrap();
        for named in [dir.path(), &own] {
            assert_eq!(find(named).dir, own);
        }
        find(&own).must_have(&own.join("phones.json")).unwrap();
        // An agent's own folder may have one of that name in it.
        std::fs::write(dir.path().join("spool.db"), "").unwrap();
        assert_eq!(find(dir.path()).dir, dir.path());
    }

    #[test]
    fn an_agent_is_reached_as_it_noted_and_else_as_configured() {
        let dir = tempfile::tempdir().unwrap();
        let configured = AgentConfig::default();
        let find = || Place::find(dir.path(), &configured);
        let other = "127.0.0.1:9".parse().ok();
        assert_eq!(find().urls(other), ["http://127.0.0.1:9"]);
        assert!(find().is_reached(None) && !find().is_reached(other));
        let host = Some("pi.example.org".to_owned());
        addresses::note(dir.path(), &Listens { address: "0.0.0.0:8443".parse().unwrap(), is_https: true, host });
        std::fs::write(dir.path().join("local-name"), "attic\nattic-2\n").unwrap();
        assert_eq!(find().urls(None), ["https://pi.example.org:8443"]);
        assert_eq!(find().urls(other), ["https://pi.example.org:9"]);
        let everywhere = Listens { address: "0.0.0.0:8000".parse().unwrap(), is_https: false, host: None };
        addresses::note(dir.path(), &everywhere);
        let urls = find().urls(None);
        assert!(urls.len() > 1 && urls[urls.len() - 1] == "http://attic-2.local:8000", "{urls:?}");
        assert_eq!(find().urls(other), ["http://127.0.0.1:9"], "where nobody else reaches it");
        addresses::note(dir.path(), &Listens { is_https: true, ..everywhere });
        assert!(
            find().urls(None).iter().all(|url| !url.contains(".local")),
            "no certificate is known to have that name"
        );
    }
}
