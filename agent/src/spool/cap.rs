//! When the spool is full, and what then. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What happens to a push that no longer fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It is refused with a sentence for the phone's owner; nothing that was accepted is lost.
    #[default]
    Refuse,
    /// The oldest raw frames that were never sent make room; a gap record tells of them.
    DropOldestRaw,
}

/// `[spool]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Greatest size of what waits, bytes.
    #[serde(with = "gaitway_service::config::bytes")]
    pub max_bytes: u64,
    /// Part of the disk that stays free, percent.
    #[serde(with = "gaitway_service::config::percent")]
    pub min_free_percent: f64,
    /// What happens to a push that no longer fits.
    pub when_full: WhenFull,
    /// How long a session's messages are remembered after its last.
    #[serde(with = "gaitway_service::config::duration")]
    pub remember: Duration,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            max_bytes: 2 << 30,
            min_free_percent: 5.0,
            when_full: WhenFull::Refuse,
            remember: Duration::from_secs(400 * 24 * 3600),
        }
    }
}

/// What is known of the room there is, bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// Pages of the file in use, and what its log has [beyond its ordinary size](log_excess).
    pub used: u64,
    /// Pages of the file that are free inside it.
    pub reusable: u64,
    /// Free on the disk.
    pub disk_free: u64,
    /// Size of the disk.
    pub disk_total: u64,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The spool's own cap.
    Cap,
    /// The disk's floor.
    Disk,
}

/// Pages around a frame: seen rows, the session, tree nodes, the log's copy of them.
const SLACK: u64 = 64 * 1024;

/// The log beside the file grows to a few megabytes before it is copied into the file and used anew. It grows beyond this
/// only while another program reads the spool.
pub const ORDINARY_LOG: u64 = 16 * 1024 * 1024;

/// What a log of `bytes` has beyond its ordinary size: it counts towards the cap.
pub fn log_excess(bytes: u64) -> u64 {
    bytes.saturating_sub(ORDINARY_LOG)
}

/// How many bytes must go before `need` more fit under the cap or above the disk's floor.
pub fn overflow(need: u64, room: Room, config: &SpoolConfig) -> u64 {
    let need = need + SLACK;
    (room.used + need).saturating_sub(config.max_bytes).max(need)
}

/// Whether `need` more bytes fit.
pub fn room_for(need: u64, room: Room, config: &SpoolConfig) -> Result<(), Full> {
    let need = need + SLACK;
    if room.used + need > config.max_bytes {
        return Err(Full::Cap);
    }
    let floor = room.disk_total as f64 * config.min_free_percent / 100.0;
    let grows = need.saturating_sub(room.reusable);
    if grows > 0 && (room.disk_free as f64) < floor + grows as f64 {
        return Err(Full::Disk);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const ROOM: Room = Room { used: 0, reusable: 0, disk_free: 50 * MIB, disk_total: 100 * MIB };

    #[test]
    fn the_cap_counts_pages_in_use() {
        let config = SpoolConfig { max_bytes: 2 * MIB, ..SpoolConfig::default() };
        assert_eq!(room_for(MIB, ROOM, &config), Ok(()));
        assert_eq!(room_for(MIB, Room { used: MIB, ..ROOM }, &config), Err(Full::Cap));
    }

    #[test]
    fn a_log_counts_from_its_ordinary_size_on() {
        assert_eq!([0, ORDINARY_LOG, ORDINARY_LOG + 5].map(log_excess), [0, 0, 5]);
    }

    #[test]
    fn what_overflows_must_go() {
        let config = SpoolConfig { max_bytes: 2 * MIB, ..SpoolConfig::default() };
        assert_eq!(overflow(MIB, Room { used: 5 * MIB, ..ROOM }, &config), 4 * MIB + SLACK);
        assert_eq!(overflow(MIB, ROOM, &config), MIB + SLACK);
    }

    #[test]
    fn below_the_disk_floor_only_free_pages_are_used() {
        let config = SpoolConfig::default();
        let low = Room { disk_free: 5 * MIB, ..ROOM };
        assert_eq!(room_for(MIB, low, &config), Err(Full::Disk));
        assert_eq!(room_for(MIB, Room { reusable: 2 * MIB, ..low }, &config), Ok(()));
    }
}
