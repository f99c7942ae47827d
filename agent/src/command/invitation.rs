//! Where a relay is and the code that it made, as they are brought to `gaitway agent enroll`.

use std::path::Path;

use anyhow::Context as _;
use gaitway_proto::enrolment::Code;
use gaitway_service::key_file;
use zeroize::Zeroizing;

use crate::uplink::RelayAddress;

/// Of the file that `gaitway relay agent add --invitation` has written.
pub(super) fn read(file: &Path) -> anyhow::Result<(RelayAddress, Code)> {
    let shown = file.display();
    let line = key_file::read(file)?.with_context(|| {
        format!("there is no file {shown}: make it with `gaitway relay agent add NAME --invitation {shown}`")
    })?;
    let wrong = || format!("{shown} is no invitation of `gaitway relay agent add NAME --invitation {shown}`");
    let line = std::str::from_utf8(&line).ok().and_then(|line| line.trim_end().split_once(' ')).with_context(wrong)?;
    let relay = RelayAddress::secure(line.0).ok().with_context(wrong)?;
    Ok((relay, line.1.parse::<Code>().ok().with_context(wrong)?))
}

/// Of the command line. The code is parsed here and not with the flags, whose errors would show it.
pub(super) fn given(
    relay: Option<RelayAddress>,
    code: Option<Zeroizing<String>>,
) -> anyhow::Result<(RelayAddress, Code)> {
    let (relay, code) =
        relay.zip(code).context("an agent enrols with HOST:PORT and a code, or with --invitation FILE")?;
    Ok((relay, code.parse::<Code>().context("this is no code of `gaitway relay agent add`")?))
}
