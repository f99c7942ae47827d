//! `docs/configuration.md`.

use std::fmt::Write as _;

use crate::WRITE;
use crate::conffile::{UP_DATA_DIR, UP_DECIDES};
use crate::keys::{self, Key, SERVICES};
use crate::source::Sources;

pub(crate) fn write(sources: &Sources) -> anyhow::Result<String> {
    let mut out = format!(
        "# Configuration\n\n\
         <!-- Written by `{WRITE}` from the code: change it there. -->\n\n\
         Every key of every service. Each service reads one TOML file: `--config FILE`, else `/etc/gaitway/agent.toml`, \
         `relay.toml` or `sink.toml` if it is there.\n\n\
         - A flag wins over an environment variable, that over the file, that over the default.\n\
         - An unknown key, and a value that does not fit, is an error that names its place: the service does not start.\n\
         - A variable is text and becomes what its key wants: a number, `true`, a list such as `2, 8, 20`. An empty one unsets a \
         key that has no default.\n\
         - Changes are taken up when the service is started again.\n\
         - A file with a secret may be read by nobody but its owner. `\"$CREDENTIALS_DIRECTORY/NAME\"` is the credential NAME that \
         systemd gives to the service.\n\
         - `GAITWAY_LOG` is no key: it says how much is logged, as in `debug` or `info,gaitway_relay=debug`; `info` if it is not set.\n\
         - Tables that are marked *optional* mean something by being there.\n\n\
         `gaitway doctor` reads the files of a machine and says what is wrong in them.\n\n\
         Services: [agent](#agent), [relay](#relay), [sink](#sink), [all in one process](#up).\n",
    );
    for (service, _) in SERVICES {
        let mut name = service.to_owned();
        name[..1].make_ascii_uppercase();
        write!(
            out,
            "\n## {name}\n\n`/etc/gaitway/{service}.toml`, variables `GAITWAY_{}__…`.\n",
            service.to_uppercase()
        )?;
        for table in keys::tables(sources, service)? {
            if !table.path.is_empty() {
                let optional = if table.is_optional { " (optional)" } else { "" };
                write!(out, "\n### {service}: `[{}]`{optional}\n\n{}\n", table.path, table.doc)?;
            }
            for key in &table.keys {
                one_key(&mut out, service, key)?;
            }
        }
    }
    up(&mut out)?;
    Ok(out)
}

fn one_key(out: &mut String, service: &str, key: &Key) -> anyhow::Result<()> {
    write!(out, "\n#### {service} `{}`\n\n{}\n\n- What: {}\n", key.path, key.doc, key.kind)?;
    for (word, does) in &key.words {
        let does = if does.is_empty() { String::new() } else { format!(": {does}") };
        writeln!(out, "  - `\"{word}\"`{does}")?;
    }
    match (&key.default, key.example) {
        (Some(default), Some(example)) => writeln!(out, "- Default: `{default}`; an example: `{example}`")?,
        (Some(default), None) => writeln!(out, "- Default: `{default}`")?,
        (None, Some(example)) => writeln!(out, "- Default: not set; an example: `{example}`")?,
        (None, None) => writeln!(out, "- Default: not set")?,
    }
    writeln!(out, "- Environment: `{}`", key.variable)?;
    if let Some(flag) = key.flag {
        writeln!(out, "- Flag: `{flag}`")?;
    }
    Ok(())
}

fn up(out: &mut String) -> anyhow::Result<()> {
    let decided: Vec<String> = UP_DECIDES.iter().map(|(service, key)| format!("`{service}.{key}`")).collect();
    write!(
        out,
        "\n## Up\n\n\
         `gaitway up` reads one file, `--config FILE` or else `/etc/gaitway/up.toml`, with the tables `[agent]`, `[relay]` and \
         `[sink]`. Each holds what is above: `spool.max_bytes` of the agent is `max_bytes` in `[agent.spool]`. Variables are \
         spelled as those of the service.\n\n\
         - Above the tables may stand `{}`, a path, by default `gaitway-data`. {} The flag is `--data-dir`.\n\
         - `up` decides these itself, and refuses them: {}.\n\
         - `sink.kafka`, `sink.group`, `sink.batch`, `sink.admin` and `relay.schema_registry.url` need `relay.kafka`, or \
         `--kafka`. The sink takes the Kafka of the relay unless `sink.kafka` says otherwise.\n\
         - `--http` sets `agent.http`, `--mqtt` sets `relay.mqtt`, `--kafka` sets `relay.kafka.brokers`.\n",
        UP_DATA_DIR.0,
        UP_DATA_DIR.1,
        decided.join(", ")
    )?;
    Ok(())
}
