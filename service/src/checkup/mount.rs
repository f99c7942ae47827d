//! Which file system a path lies on, as Linux tells it; elsewhere nobody says. Pure but for reading `/proc`.

use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its numbers, major and minor: of some file systems others than `stat` tells.
    pub(crate) device: (u64, u64),
    /// `ext4`
    pub(super) kind: String,
    /// `/dev/mmcblk0p2`
    pub(super) source: String,
    /// Nothing can be written to it.
    pub(super) is_read_only: bool,
}

/// What a synced write means there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// It is on a disk of this machine.
    Disk,
    /// It is in memory.
    Memory,
    /// It goes with a container.
    Container,
    /// It is what another machine makes of it.
    Network,
}

impl Mount {
    /// Of the file or folder at `path`, which is there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        find(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
    }

    pub(super) fn promise(&self) -> Promise {
        match self.kind.as_str() {
            "tmpfs" | "ramfs" | "rootfs" => Promise::Memory,
            "overlay" | "aufs" => Promise::Container,
            "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "ceph" | "glusterfs" | "fuse.sshfs"
            | "fuse.glusterfs" | "fuse.rclone" | "fuse.s3fs" | "afs" | "lustre" => Promise::Network,
            _ => Promise::Disk,
        }
    }
}

/// The last mount of the longest place that `path` is in (`proc(5)`).
fn find(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let (major, minor) = before.next()?.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let mut before = before.skip(1);
        let (place, options) = (unescaped(before.next()?), before.next()?);
        let mut after = after.split(' ');
        let (kind, source, superblock) = (after.next()?, after.next()?, after.next().unwrap_or_default());
        let is_read_only = [options, superblock].iter().any(|options| options.split(',').any(|option| option == "ro"));
        let mount = Mount { device, kind: kind.to_owned(), source: unescaped(source), is_read_only };
        let place = PathBuf::from(place);
        path.starts_with(&place).then(|| (place.components().count(), mount))
    });
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, mount)| mount)
}

/// White space and backslashes stand there as octal numbers.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw
26 22 0:23 / /run rw,nosuid - tmpfs tmpfs rw,size=184764k
40 22 0:40 / /srv/my\\040data rw - nfs4 nas:/volume rw
41 22 8:1 / /mnt rw - ext4 /dev/sda1 ro,errors=remount-ro
42 22 8:2 / /mnt rw - xfs /dev/sdb1 rw
";

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let of = |path: &str| find(INFO, Path::new(path)).unwrap();
        assert_eq!((of("/var/lib/gaitway").kind.as_str(), of("/").source.as_str()), ("ext4", "/dev/mmcblk0p2"));
        assert_eq!(of("/run/x").promise(), Promise::Memory);
        assert_eq!(of("/runs").promise(), Promise::Disk, "a name that only begins so");
        assert_eq!(of("/srv/my data/up").promise(), Promise::Network);
        assert_eq!((of("/mnt").kind.as_str(), of("/mnt").device), ("xfs", (8, 2)));
        let read_only = find(&INFO.replace("42 22 8:2 / /mnt", "42 22 8:2 / /m"), Path::new("/mnt/a")).unwrap();
        assert!(read_only.is_read_only);
    }
}
