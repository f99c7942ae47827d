//! Who may push and look, and by what door.

use std::net::SocketAddr;

use gaitway_service::checkup::port::{self, Own, Port};
use gaitway_service::checkup::{Checkup, ask, certificate, folder};

use crate::addresses;
use crate::config::AgentConfig;
use crate::kept::KeptFile;
use crate::phones::PhonesFile;
use crate::readers::Readers;
use crate::service::door::OpenDoor;

/// Looks at listener, lists and certificate; `own` says whether this agent runs.
pub(super) async fn examine(config: &AgentConfig, own: Own, checkup: &mut Checkup) {
    let is_running = matches!(own, Own::Process(_));
    let noted = is_running.then(|| addresses::noted(&config.data_dir)).flatten();
    let address = noted.as_ref().map_or(config.http, |noted| noted.address);
    let is_http = noted.as_ref().map_or(config.https.key_file.is_none(), |noted| !noted.is_https);
    let subject = "port for phones";
    if noted.is_some() && config.http.port() != 0 && config.http != address {
        let said = format!(
            "listens on {address}, and {} is configured: restart it to have that, or a flag of it says so",
            config.http
        );
        checkup.warn(subject, said);
    }
    port::examine(Port { subject, address, key: "--http or the key http", own, is_http }, checkup).await;
    if is_running && is_http {
        of_parts(address, checkup).await;
    } else if is_running {
        let said = format!("not asked, as the agent speaks HTTPS: curl -k https://{address}/readyz asks it");
        checkup.warn("data moves", said);
    }
    of_https(config, checkup);
    of_lists(config, address, checkup);
}

fn of_https(config: &AgentConfig, checkup: &mut Checkup) {
    let Some(pair) = config.https.pair() else { return };
    for path in [&pair.key, &pair.certificate] {
        if let Some(error) = folder::denied(path, &config.data_dir) {
            return checkup.warn("HTTPS", folder::unseen(path, &error));
        }
    }
    match config.https.load() {
        Err(wrong) => checkup.fail("HTTPS", wrong.to_string()),
        Ok(_) => certificate::of_pair("HTTPS", &pair, checkup),
    }
}

/// What the agent that runs says of itself.
async fn of_parts(address: SocketAddr, checkup: &mut Checkup) {
    match ask::get(address, "/readyz").await {
        Ok((200, _)) => checkup.ok("data moves", "the agent says that it is ready"),
        Ok((503, parts)) => {
            let lame: Vec<_> = parts.lines().filter(|part| !part.contains(": ready")).collect();
            checkup.warn("data moves", format!("the agent says: {}", lame.join("; ")));
        }
        Ok((status, _)) => {
            checkup.warn("data moves", format!("/readyz answers {status}: another version of gaitway runs"));
        }
        Err(error) => checkup.warn("data moves", format!("the agent does not say whether it is ready: {error}")),
    }
}

fn of_lists(config: &AgentConfig, address: SocketAddr, checkup: &mut Checkup) {
    let flag = addresses::command_flag(config);
    let (phones, readers): (_, KeptFile<Readers>) =
        (PhonesFile::new(&config.data_dir), KeptFile::new(&config.data_dir));
    for path in [phones.path(), readers.path()] {
        if let Some(error) = folder::denied(path, &config.data_dir) {
            return checkup.warn("phones and readers", folder::unseen(path, &error));
        }
    }
    match phones.current() {
        Ok(Some(phones)) => match phones.iter().count() {
            0 => checkup.warn("phones", format!("none may push: gaitway agent phone add NAME{flag}")),
            1 => checkup.ok("phones", "1 may push, with its token"),
            count => checkup.ok("phones", format!("{count} may push, each with its token")),
        },
        Ok(None) if address.ip().is_loopback() => checkup.ok("phones", OpenDoor::of(address, &flag).said),
        Ok(None) => checkup.warn("phones", OpenDoor::of(address, &flag).said),
        Err(unusable) => checkup.fail("phones", format!("{unusable}. Nobody may push meanwhile")),
    }
    if let Err(unusable) = readers.current() {
        checkup.fail("readers", format!("{unusable}. Nobody may look at the page meanwhile but from this machine"));
    }
}
