//! A disk of a few megabytes that nobody else sees: a tmpfs in a mount namespace of one thread and its children.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;

/// A mounted disk.
pub(crate) struct SmallDisk {
    path: PathBuf,
}

/// Runs `test` on a disk with these options of tmpfs, such as `size=8m`. Whatever it starts sees the disk too.
pub(crate) fn on_small_disk(options: &str, test: impl FnOnce(&SmallDisk) + Send) {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace can be made by root");
        let nowhere: Option<&Path> = None;
        mount(nowhere, "/", nowhere, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nowhere).unwrap();
        let dir = tempfile::tempdir().unwrap();
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        let disk = SmallDisk { path: dir.path().to_owned() };
        test(&disk);
        umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("small disk".to_owned()).spawn_scoped(scope, run).unwrap();
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl SmallDisk {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn free(&self) -> u64 {
        let disk = statvfs(&self.path).unwrap();
        disk.blocks_available() * disk.fragment_size()
    }

    /// Fills the disk with something else until so many bytes are free; gives the file.
    pub(crate) fn fill(&self, leave: u64) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut file = File::options().append(true).create(true).open(&ballast).unwrap();
        while self.free() > leave {
            let piece = (self.free() - leave).min(64 * 1024);
            file.write_all(&vec![1; piece as usize]).unwrap();
        }
        ballast
    }

    /// From now on nothing can be written.
    pub(crate) fn make_read_only(&self) {
        let nothing: Option<&Path> = None;
        mount(nothing, &self.path, nothing, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, nothing).unwrap();
    }
}
