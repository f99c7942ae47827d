//! When the spool is full, and what then. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schema::LOG_BYTES;

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
    /// The most that the spool may hold. What happens to a push beyond that says `when_full`.
    #[serde(with = "gaitway_service::config::bytes")]
    pub max_bytes: u64,
    /// The part of the spool's disk that stays free. What happens to a push below that says `when_full`. 0 is no such
    /// limit.
    #[serde(with = "gaitway_service::config::percent")]
    pub min_free_percent: f64,
    /// What happens to a push that no longer fits, by `max_bytes` or by `min_free_percent`.
    pub when_full: WhenFull,
    /// How long it is remembered which pushes of a recording were accepted, after its last. A push that is repeated
    /// later than that would be taken as new.
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
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Room {
    /// Pages of the file in use, and what its log has [beyond its ordinary size](log_excess).
    pub used: u64,
    /// Pages of the file that are free inside it.
    pub reusable: u64,
    /// Free on the disk.
    pub disk_free: u64,
    /// Size of the disk.
    pub disk_total: u64,
    /// What the file grows by when its log is moved into it.
    pub debt: u64,
    /// Length of the log.
    pub log: u64,
    /// Where in the log the next commit may begin at most.
    pub log_filled: u64,
    /// Frames of the transaction under way: they go into the log first.
    pub pending: u64,
}

impl Room {
    /// Of a new push, which takes `need` from here on.
    pub fn take(&mut self, need: u64) {
        self.used += need;
        self.disk_free = self.disk_free.saturating_sub(need.saturating_sub(self.reusable));
        self.reusable = self.reusable.saturating_sub(need);
        self.pending += need;
    }

    /// What must be free so that everything accepted, and `need` more, gets into the log and from there into the file,
    /// and so that it can be deleted again.
    fn reserve(&self, need: u64) -> u64 {
        // A page in the log has a head.
        let logged = (self.pending + need) / 40 * 41;
        self.debt + (self.log_filled + logged + UPKEEP).saturating_sub(self.log)
    }

    /// Whether the log should be moved into the file after every commit: the longer it is, the more must stay free.
    pub fn is_tight(&self) -> bool {
        self.disk_free < Self { log_filled: LOG_BYTES, ..*self }.reserve(TIGHT)
    }
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

/// What one transaction that deletes rows, or gives pages back, writes to the log at most.
pub const UPKEEP: u64 = 1280 * 1024;

/// How near the disk's end every commit is moved into the file.
const TIGHT: u64 = 2 * 1024 * 1024;

/// The log beside the file grows to `LOG_BYTES` and by one transaction of many pushes before it is copied into the file
/// and used anew. It grows beyond this only while another program reads the spool.
pub const ORDINARY_LOG: u64 = 4 * LOG_BYTES;

/// A disk smaller than this has no room for an ordinary log and a spool besides.
pub const SMALL_DISK: u64 = 2 * LOG_BYTES + UPKEEP;

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
    if room.disk_free < grows + room.reserve(need) { Err(Full::Disk) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const ROOM: Room = Room {
        used: 0,
        reusable: 0,
        disk_free: 50 * MIB,
        disk_total: 100 * MIB,
        debt: 0,
        log: 0,
        log_filled: 0,
        pending: 0,
    };

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
    fn a_frame_takes_room_in_the_log_and_again_in_the_file_and_deleting_takes_some_too() {
        let config = SpoolConfig { min_free_percent: 0.0, ..SpoolConfig::default() };
        let just = 2 * (MIB + SLACK) + (MIB + SLACK) / 40 + UPKEEP;
        let fits = |room: Room| room_for(MIB, room, &config);
        assert_eq!(fits(Room { disk_free: just, ..ROOM }), Ok(()));
        assert_eq!(fits(Room { disk_free: just - 1024, ..ROOM }), Err(Full::Disk));
        assert_eq!(fits(Room { disk_free: just, debt: MIB, ..ROOM }), Err(Full::Disk));
        assert_eq!(fits(Room { disk_free: just, log_filled: MIB, ..ROOM }), Err(Full::Disk));
        assert_eq!(fits(Room { disk_free: just, log_filled: MIB, log: MIB, ..ROOM }), Ok(()));
        let mut taken = Room { disk_free: just + 2 * MIB, ..ROOM };
        taken.take(MIB);
        assert_eq!(fits(taken), Err(Full::Disk), "of the same transaction");
    }

    #[test]
    fn below_the_disk_floor_only_free_pages_are_used() {
        let config = SpoolConfig::default();
        let low = Room { disk_free: 5 * MIB, ..ROOM };
        assert_eq!(room_for(MIB, low, &config), Err(Full::Disk));
        assert_eq!(room_for(MIB, Room { reusable: 2 * MIB, ..low }, &config), Ok(()));
    }
}
