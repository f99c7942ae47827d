//! Labelled recordings of one trial a file: `time_ns,x,y,z,label,subject,trial,rate`.

use std::path::Path;

use anyhow::Context;

use super::csv_rows::Rows;
use super::open;
use crate::replay::merge::{Readings, Run, survey as survey_run};

/// Reads a trial through: its subject, and its readings to come.
pub(super) fn survey(path: &Path) -> anyhow::Result<(String, Run)> {
    let mut rows = Rows::labelled(open(path)?)?;
    let survey = survey_run(&mut rows)?.context("no readings in it")?;
    let subject = rows.subject().context("no subject in it")?.to_owned();
    let path = path.to_owned();
    Ok((subject, Run::new(survey, move || readings(&path))))
}

fn readings(path: &Path) -> anyhow::Result<Readings> {
    let name = path.display().to_string();
    let rows = open(path).and_then(Rows::labelled).with_context(|| name.clone())?;
    Ok(Box::new(rows.map(move |reading| reading.with_context(|| name.clone()))))
}
