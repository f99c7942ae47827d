//! A directory on a disk that may lose power.
//!
//! - A name (made, moved or removed) is durable once its directory was synced, or, in some weathers, its file.
//! - Replaying everything that was recorded gives the very files that are there.
//! - A process that ends changes nothing: what it wrote is still on its way to the disk.

use std::collections::{BTreeMap, HashMap};

use super::file::{Change, File};
use super::trace::Event;
use super::weather::Weather;

/// Files and (as none) directories by path.
pub(crate) type Image = BTreeMap<String, Option<Vec<u8>>>;

/// Number of the topmost directory.
const ROOT: usize = 0;

#[derive(Debug, Clone)]
enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Debug, Default, Clone)]
struct Directory {
    durable: BTreeMap<String, usize>,
    pending: Vec<Naming>,
    /// How many namings are durable.
    settled: u64,
}

/// Names that change together: what each leads to.
#[derive(Debug, Clone)]
struct Naming {
    entries: Vec<(String, Option<usize>)>,
    file_synced: bool,
}

/// A sync that has begun: the node and its changes by then.
#[derive(Debug, Clone, Copy)]
struct Sync {
    node: usize,
    changes: u64,
}

/// The disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    nodes: Vec<Node>,
    open: HashMap<i32, usize>,
    syncs: HashMap<u64, Sync>,
    /// Whether a sync does what it says.
    honest: bool,
}

impl Disk {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        let root = Node::Directory(Directory::default());
        Self { nodes: vec![root], open: HashMap::new(), syncs: HashMap::new(), honest: true }
    }

    /// One that says it has synced and has not.
    pub(crate) fn lying() -> Self {
        Self { honest: false, ..Self::new() }
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Start => {
                self.open.clear();
                self.syncs.clear();
            }
            Event::Open { fd, create, truncate, path } => self.open(*fd, *create, *truncate, path),
            Event::Close { fd } => drop(self.open.remove(fd)),
            Event::Write { fd, offset, bytes } => {
                self.file(*fd).change(Change::Write { offset: *offset, bytes: bytes.clone() });
            }
            Event::Truncate { fd, length } => self.file(*fd).change(Change::Truncate { length: *length }),
            Event::SyncBegin { fd, number } => {
                let node = self.open[fd];
                self.syncs.insert(*number, Sync { node, changes: self.nodes[node].changes() });
            }
            Event::SyncEnd { number } => self.end_sync(*number),
            Event::Unlink { path } => self.name(path, vec![(path.last().unwrap().clone(), None)]),
            Event::Mkdir { path } => {
                self.make(path, Node::Directory(Directory::default()));
            }
            Event::Rename { from, to } => self.rename(from, to),
            Event::Answer { .. } => {}
        }
    }

    fn open(&mut self, fd: i32, create: bool, truncate: bool, path: &[String]) {
        let node = match self.find(path) {
            Some(node) => node,
            None if create => self.make(path, Node::File(File::default())),
            None => panic!("{path:?} was opened and is not there"),
        };
        self.open.insert(fd, node);
        if truncate {
            self.file(fd).change(Change::Truncate { length: 0 });
        }
    }

    fn file(&mut self, fd: i32) -> &mut File {
        match &mut self.nodes[self.open[&fd]] {
            Node::File(file) => file,
            Node::Directory(_) => panic!("a directory was written to"),
        }
    }

    fn directory(&self, node: usize) -> &Directory {
        match &self.nodes[node] {
            Node::Directory(directory) => directory,
            Node::File(_) => panic!("a file was taken for a directory"),
        }
    }

    fn find(&self, path: &[String]) -> Option<usize> {
        path.iter().try_fold(ROOT, |node, name| self.directory(node).live(name))
    }

    fn make(&mut self, path: &[String], node: Node) -> usize {
        self.nodes.push(node);
        let made = self.nodes.len() - 1;
        self.name(path, vec![(path.last().unwrap().clone(), Some(made))]);
        made
    }

    /// Changes names in the directory of `path`.
    fn name(&mut self, path: &[String], entries: Vec<(String, Option<usize>)>) {
        let directory = self.find(&path[..path.len() - 1]).expect("its directory is there");
        match &mut self.nodes[directory] {
            Node::Directory(directory) => directory.pending.push(Naming { entries, file_synced: false }),
            Node::File(_) => panic!("{path:?} is below a file"),
        }
    }

    fn rename(&mut self, from: &[String], to: &[String]) {
        let (name, place) = from.split_last().unwrap();
        let (new_name, new_place) = to.split_last().unwrap();
        assert_eq!(place, new_place, "a move to another directory is not modelled");
        let node = self.find(from);
        self.name(to, vec![(name.clone(), None), (new_name.clone(), node)]);
    }

    fn end_sync(&mut self, number: u64) {
        let Sync { node, changes } = self.syncs.remove(&number).expect("a sync that ends has begun");
        if !self.honest {
            return;
        }
        match &mut self.nodes[node] {
            Node::File(file) => file.synced(changes),
            Node::Directory(directory) => directory.synced(changes),
        }
        let namings = self.nodes.iter_mut().filter_map(|node| match node {
            Node::Directory(directory) => Some(&mut directory.pending),
            Node::File(_) => None,
        });
        for naming in namings.flatten() {
            naming.file_synced |= naming.entries.iter().any(|(_, named)| *named == Some(node));
        }
    }

    /// Everything as programs see it while the power is on.
    pub(crate) fn live(&self) -> Image {
        self.image(&mut Weather::new(0), &|_| false)
    }

    /// What a cut leaves. Only what lies at a path for which `struck` holds loses anything.
    pub(crate) fn cut(&self, weather: &mut Weather, struck: &dyn Fn(&str) -> bool) -> Image {
        self.image(weather, struck)
    }

    fn image(&self, weather: &mut Weather, struck: &dyn Fn(&str) -> bool) -> Image {
        let mut image = Image::new();
        self.collect(ROOT, "", weather, struck, &mut image);
        image
    }

    fn collect(
        &self,
        node: usize,
        path: &str,
        weather: &mut Weather,
        struck: &dyn Fn(&str) -> bool,
        image: &mut Image,
    ) {
        let directory = self.directory(node);
        let live = directory.entries(|_| true);
        let synced: Vec<_> = directory.pending.iter().map(|naming| naming.file_synced).collect();
        let kept = weather.entries_kept(&synced);
        let mut entries = directory.entries(|index| kept[index]);
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        entries.retain(|name, _| struck(&below(name)));
        entries.extend(live.into_iter().filter(|(name, _)| !struck(&below(name))));
        for (name, node) in entries {
            let path = below(&name);
            match &self.nodes[node] {
                Node::Directory(_) => {
                    image.insert(path.clone(), None);
                    self.collect(node, &path, weather, struck, image);
                }
                Node::File(file) => {
                    let bytes = if struck(&path) { file.cut(weather) } else { file.live() };
                    image.insert(path, Some(bytes));
                }
            }
        }
    }
}

impl Node {
    fn changes(&self) -> u64 {
        match self {
            Self::File(file) => file.changes(),
            Self::Directory(directory) => directory.settled + directory.pending.len() as u64,
        }
    }
}

impl Directory {
    fn live(&self, name: &str) -> Option<usize> {
        let entries = self.pending.iter().rev().flat_map(|naming| naming.entries.iter().rev());
        let last = entries.into_iter().find(|(changed, _)| changed == name).map(|(_, node)| *node);
        last.unwrap_or_else(|| self.durable.get(name).copied())
    }

    fn synced(&mut self, changes: u64) {
        let settled = changes.saturating_sub(self.settled) as usize;
        for naming in self.pending.drain(..settled) {
            naming.apply(&mut self.durable);
        }
        self.settled += settled as u64;
    }

    fn entries(&self, kept: impl Fn(usize) -> bool) -> BTreeMap<String, usize> {
        let mut entries = self.durable.clone();
        for (_, naming) in self.pending.iter().enumerate().filter(|(index, _)| kept(*index)) {
            naming.apply(&mut entries);
        }
        entries
    }
}

impl Naming {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        for (name, node) in &self.entries {
            match node {
                Some(node) => drop(entries.insert(name.clone(), *node)),
                None => drop(entries.remove(name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    fn open(fd: i32, name: &str) -> Event {
        Event::Open { fd, create: name.contains('.'), truncate: false, path: path(name) }
    }

    fn write(fd: i32, bytes: &[u8]) -> Event {
        Event::Write { fd, offset: 0, bytes: bytes.into() }
    }

    fn sync(fd: i32) -> [Event; 2] {
        [Event::SyncBegin { fd, number: 7 }, Event::SyncEnd { number: 7 }]
    }

    fn disk(events: impl IntoIterator<Item = Event>) -> Disk {
        let mut disk = Disk::new();
        for event in events {
            disk.apply(&event);
        }
        disk
    }

    /// What many cuts leave.
    fn images(disk: &Disk) -> Vec<Image> {
        (0..300).map(|seed| disk.cut(&mut Weather::new(seed), &|_| true)).collect()
    }

    #[test]
    fn a_new_file_is_there_only_once_its_directory_is_synced() {
        let mut events = vec![Event::Mkdir { path: path("d") }, open(3, "d/a.db"), write(3, b"x")];
        events.extend(sync(3));
        let images_of = images(&disk(events.clone()));
        assert!(images_of.iter().any(|image| !image.contains_key("d")));
        assert!(images_of.iter().any(|image| image.contains_key("d") && !image.contains_key("d/a.db")));
        assert!(images_of.iter().any(|image| image.get("d/a.db") == Some(&Some(b"x".to_vec()))));

        events.push(open(4, "d"));
        events.extend(sync(4));
        // Its directory is, that directory's own name is not.
        let images_of = images(&disk(events.clone()));
        assert!(images_of.iter().any(|image| !image.contains_key("d")));
        assert!(images_of.iter().all(|image| !image.contains_key("d") || image.contains_key("d/a.db")));

        events.push(Event::Open { fd: 5, create: false, truncate: false, path: Vec::new() });
        events.extend(sync(5));
        assert!(images(&disk(events)).iter().all(|image| image.get("d/a.db") == Some(&Some(b"x".to_vec()))));
    }

    #[test]
    fn a_removed_file_may_come_back_and_its_successor_may_be_missing() {
        let root = Event::Open { fd: 9, create: false, truncate: false, path: Vec::new() };
        let mut events = vec![root, open(3, "a.db"), write(3, b"old")];
        events.extend(sync(3));
        events.extend(sync(9));
        events.extend([
            Event::Close { fd: 3 },
            Event::Unlink { path: path("a.db") },
            open(3, "a.db"),
            write(3, b"new"),
        ]);
        events.extend(sync(3));
        let images = images(&disk(events));
        let found =
            |wanted: Option<&[u8]>| images.iter().any(|image| image.get("a.db").and_then(Option::as_deref) == wanted);
        assert!(found(Some(b"old")) && found(Some(b"new")) && found(None));
    }

    #[test]
    fn a_move_happens_whole_or_not_at_all() {
        let root = Event::Open { fd: 9, create: false, truncate: false, path: Vec::new() };
        let mut events = vec![root, open(3, "a.db"), write(3, b"x")];
        events.extend(sync(3));
        events.extend(sync(9));
        events.push(Event::Rename { from: path("a.db"), to: path("b.db") });
        for image in images(&disk(events)) {
            assert_eq!(image.values().collect::<Vec<_>>(), [&Some(b"x".to_vec())]);
        }
    }

    #[test]
    fn a_sync_that_has_not_ended_and_a_process_that_died_promise_nothing() {
        let began = [open(3, "a.db"), write(3, b"x"), Event::SyncBegin { fd: 3, number: 1 }];
        let lost = |disk: &Disk| {
            images(disk).iter().any(|image| image.get("a.db").is_none_or(|a| a.as_ref().unwrap().is_empty()))
        };
        assert!(lost(&disk(began.clone())));
        let mut died = disk(began);
        died.apply(&Event::Start);
        assert!(lost(&died));
        assert_eq!(died.live()["a.db"], Some(b"x".to_vec()));
    }

    #[test]
    fn only_what_is_struck_loses_anything() {
        let events =
            [Event::Mkdir { path: path("d") }, open(3, "d/a.db"), write(3, b"x"), open(4, "b.db"), write(4, b"y")];
        let disk = disk(events);
        for seed in 0..100 {
            let image = disk.cut(&mut Weather::new(seed), &|path| path == "b.db");
            assert_eq!(image["d/a.db"], Some(b"x".to_vec()));
        }
    }
}
