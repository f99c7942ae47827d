//! Says who may push, while the agent runs: an open door must not be missed; and if the list of who may look cannot be used.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gaitway_service::health::Part;
use tokio_util::sync::CancellationToken;

use crate::kept::KeptFile;
use crate::phones::PhonesFile;
use crate::readers::Readers;

/// How often it is looked whether that changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who may push.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Anybody who reaches the listener.
    Open,
    /// So many phones, with their tokens.
    Phones(usize),
    /// Nobody, and why.
    Broken(String),
}

/// Tells the log and `part` until `shutdown`.
///
/// `is_told`: people know of an open door that is open from the beginning.
pub(super) async fn watch(
    (phones, readers): (Arc<PhonesFile>, Arc<KeptFile<Readers>>),
    open: OpenDoor,
    is_told: bool,
    part: Part,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (mut told, mut unusable) = (None, None);
    loop {
        let trouble = readers.current().err();
        if unusable != trouble {
            if let Some(trouble) = &trouble {
                tracing::error!("{trouble}; nobody may look but from this machine");
            }
            unusable = trouble;
        }
        let standing = look(&phones);
        if told.as_ref() != Some(&standing) {
            tell(&standing, &open, told.is_none() && is_told, &part);
            told = Some(standing);
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn look(phones: &PhonesFile) -> Standing {
    match phones.current() {
        Ok(None) => Standing::Open,
        Ok(Some(phones)) => Standing::Phones(phones.iter().count()),
        Err(unusable) => Standing::Broken(unusable.to_string()),
    }
}

/// A door without a list of phones.
#[derive(Debug)]
pub(crate) struct OpenDoor {
    /// What to say of it.
    pub(crate) said: String,
    is_exposed: bool,
}

impl OpenDoor {
    /// Of an agent on `listener`; `flag` is how commands name it.
    pub(crate) fn of(listener: SocketAddr, flag: &str) -> Self {
        let is_exposed = !listener.ip().is_loopback();
        let said = if is_exposed {
            format!(
                "anybody in this network may push; `gaitway agent phone add NAME{flag}` gives a phone a token and lets in no other"
            )
        } else {
            "anybody on this machine may push".to_owned()
        };
        Self { said, is_exposed }
    }
}

fn tell(standing: &Standing, open: &OpenDoor, is_told: bool, part: &Part) {
    match standing {
        Standing::Open => {
            if open.is_exposed && !is_told {
                tracing::warn!("{}", open.said);
            }
            part.ready();
            part.note(open.said.as_str());
        }
        Standing::Phones(phones) => {
            tracing::info!(phones, "phones with their tokens may push, nobody else");
            part.ready();
            part.note(format!("{phones} {} may push", if *phones == 1 { "phone" } else { "phones" }));
        }
        Standing::Broken(why) => {
            tracing::error!("{why}; nobody may push");
            part.note("");
            part.not_ready(why.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use gaitway_service::health::Health;

    use super::*;
    use crate::phones::Token;

    #[test]
    fn an_open_door_and_a_broken_list_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let (file, health) = (PhonesFile::new(dir.path()), Health::new());
        let part = health.part("phones");
        let report = |listener: &str| {
            tell(&look(&file), &OpenDoor::of(listener.parse().unwrap(), " --data-dir /srv"), false, &part);
            health.report().to_text()
        };
        assert!(report("0.0.0.0:8000").contains("phone add NAME --data-dir /srv"));
        assert!(report("127.0.0.1:8000").contains("anybody on this machine"));
        file.change(|phones| phones.add("anna", &Token::random().unwrap(), String::new())).unwrap().unwrap();
        assert!(report("0.0.0.0:8000").contains("1 phone may push"));
        std::fs::write(file.path(), "{").unwrap();
        assert!(report("0.0.0.0:8000").contains("cannot be read") && !health.report().ready);
    }
}
