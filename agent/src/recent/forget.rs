//! Deletes what is kept of one device among today's windows, for good. The agent must not run.
//!
//! - One transaction, then the file is written anew and its log cut: what is gone is gone from the file.
//! - A file that cannot be read goes whole: it is a view.

use std::path::Path;

use rusqlite::{OptionalExtension as _, TransactionBehavior};

use super::{schema, store};
use crate::spool::damage;
use crate::spool::rows::Rows;

/// What is kept of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Windows.
    pub windows: u64,
    /// The file cannot be read: nobody knows what is in it, and it goes whole.
    pub is_unreadable: bool,
}

impl Held {
    /// Whether there is nothing of the device.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    const UNREADABLE: Self = Self { windows: 0, is_unreadable: true };
}

/// What there is of `device` in the file at `path`; an agent may be using it. The error is a sentence.
pub fn look(path: &Path, device: &str) -> Result<Held, String> {
    let sql = "SELECT count(*) FROM closed WHERE phone = (SELECT id FROM phone WHERE device = ?1)";
    let count = schema::open_to_read(path)
        .and_then(|file| file.map(|file| file.query_row(sql, [device], |row| row.get::<_, i64>(0))).transpose());
    match count {
        Ok(Some(windows)) => Ok(Held { windows: windows.cast_unsigned(), is_unreadable: false }),
        Ok(None) if !path.exists() => Ok(Held::default()),
        Ok(None) => Ok(Held::UNREADABLE),
        Err(error) if damage::of(&error).is_some() => Ok(Held::UNREADABLE),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// Deletes everything of `device` from the file at `path`, whose directory the caller has locked; gives what there was. The
/// error is a sentence.
pub fn forget(path: &Path, device: &str) -> Result<Held, String> {
    let held = look(path, device)?;
    let cannot = |why: &dyn std::fmt::Display| {
        format!("{} may still hold something of it: {why}; run this again, or delete the file", path.display())
    };
    match delete(path, device) {
        Ok(true) => Ok(held),
        Ok(false) => Err(cannot(&"another program reads it")),
        Err(error) if held.is_unreadable || damage::of(&error).is_some() => {
            schema::remove(path).map(|()| held).map_err(|error| cannot(&error))
        }
        Err(error) => Err(cannot(&error)),
    }
}

/// False if somebody who reads is in the way.
fn delete(path: &Path, device: &str) -> rusqlite::Result<bool> {
    let Some(mut connection) = schema::open(path)? else { return Err(rusqlite::Error::InvalidQuery) };
    connection.pragma_update(None, "secure_delete", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let phone = transaction.query_row("SELECT id FROM phone WHERE device = ?1", [device], |row| row.get(0));
    if let Some(phone) = phone.optional()? {
        store::forget(&transaction, phone)?;
    }
    transaction.commit()?;
    // Also where no row was found: of windows that went before, bytes may be left.
    connection.execute_batch("VACUUM")?;
    let is_cut = Rows(&connection).cut_log()?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(is_cut)
}
