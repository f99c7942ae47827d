//! What a cut of the power does, drawn from a seed.

use crate::harness::Random;

/// How much of what was not synced survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Nothing.
    Forgets,
    /// Everything.
    Keeps,
    /// All up to a moment; the change under way may be torn.
    Tears,
    /// Each change, each of its sectors or each sector after any change: by chance.
    Scatters,
}

impl Mood {
    fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Forgets,
            1 => Self::Keeps,
            2..=4 => Self::Tears,
            _ => Self::Scatters,
        }
    }
}

/// One cut.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    random: Random,
    /// None if every file and directory fares in its own way.
    mood: Option<Mood>,
    sector: usize,
    garbage: bool,
    /// A synced file has its name, as on file systems with one journal for all.
    names_go_along: bool,
    destroys: bool,
}

/// What happens to one file.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    mood: Mood,
    /// The first change that is not whole, where they come in order.
    pub(crate) under_way: usize,
    /// The length is as after so many changes.
    pub(crate) length_after: usize,
    /// For each change how it fares, where they do not come in order.
    fates: Vec<Fate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Torn,
    Whole,
}

impl Weather {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mood = (random.below(2) == 0).then(|| Mood::draw(&mut random));
        let sector = if random.below(3) == 0 { 4096 } else { 512 };
        let (garbage, names_go_along) = (random.below(2) == 0, random.below(2) == 0);
        Self { random, mood, sector, garbage, names_go_along, destroys: false }
    }

    /// A cut that destroys what the 4 KiB block that is being written held before.
    pub(crate) fn destroying(seed: u64) -> Self {
        Self { mood: Some(Mood::Tears), sector: 4096, destroys: true, ..Self::new(seed) }
    }

    fn mood(&mut self) -> Mood {
        self.mood.unwrap_or_else(|| Mood::draw(&mut self.random))
    }

    /// The unit in which the disk writes, bytes.
    pub(crate) fn sector(&self) -> usize {
        self.sector
    }

    /// What it does to a file with so many changes since its last sync.
    pub(crate) fn damage(&mut self, changes: usize) -> Damage {
        let mood = self.mood();
        let (mut under_way, mut fates) = (changes, Vec::new());
        let mut length_after = changes;
        match mood {
            Mood::Keeps => {}
            Mood::Forgets => (under_way, length_after) = (0, 0),
            Mood::Tears => {
                under_way = self.random.below(changes as u64 + 1) as usize;
                length_after = (under_way + self.random.below(2) as usize).min(changes);
            }
            Mood::Scatters => {
                fates = (0..changes).map(|_| self.fate()).collect();
                length_after = self.random.below(changes as u64 + 1) as usize;
                if self.random.below(2) == 0 {
                    length_after = changes;
                }
            }
        }
        Damage { mood, under_way, length_after, fates }
    }

    fn fate(&mut self) -> Fate {
        match self.random.below(4) {
            0 => Fate::Torn,
            1 => Fate::Lost,
            _ => Fate::Whole,
        }
    }

    /// Changes before this one have reached a sector that `touching` ones touch.
    pub(crate) fn bound(&mut self, damage: &Damage, touching: impl Iterator<Item = usize>) -> usize {
        if damage.mood != Mood::Scatters {
            let torn = damage.mood == Mood::Tears && self.random.below(2) == 0;
            return damage.under_way + usize::from(torn);
        }
        let mut bound = 0;
        for index in touching {
            let reached = match damage.fates[index] {
                Fate::Lost => false,
                Fate::Torn => self.random.below(2) == 0,
                Fate::Whole => true,
            };
            if reached {
                bound = index + 1;
            }
        }
        bound
    }

    /// Of these sectors of a file, which the change under way hits, those that nobody can read any more. A cut finds the
    /// disk at work on one file.
    pub(crate) fn destroyed(&mut self, hit: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut hit: Vec<_> = hit.collect();
        if !self.destroys || hit.is_empty() || self.one_in(2) {
            return Vec::new();
        }
        self.destroys = false;
        hit.sort_unstable();
        hit.retain(|_| self.one_in(2));
        hit
    }

    /// Lengthens `bytes` with what lies there.
    pub(crate) fn fill(&mut self, bytes: &mut Vec<u8>, length: usize) {
        let from = bytes.len();
        if from < length {
            bytes.resize(length, 0);
            if self.garbage {
                self.garbage(&mut bytes[from..]);
            }
        }
    }

    /// Writes garbage.
    pub(crate) fn garbage(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.random.bits().to_le_bytes()[..piece.len()]);
        }
    }

    /// Which of the changes to a directory survive, in their order; `synced`: the file that is named was synced since.
    pub(crate) fn entries_kept(&mut self, synced: &[bool]) -> Vec<bool> {
        let mood = self.mood();
        let until = self.random.below(synced.len() as u64 + 1) as usize;
        let mut kept: Vec<_> = (0..synced.len())
            .map(|index| match mood {
                Mood::Forgets => false,
                Mood::Keeps => true,
                Mood::Tears => index < until,
                Mood::Scatters => self.one_in(2),
            })
            .collect();
        if self.names_go_along
            && let Some(last) = synced.iter().rposition(|synced| *synced)
        {
            // One journal: what came before it is there too.
            kept[..=last].fill(true);
        }
        kept
    }

    /// Whether something that one cut in `n` has is there.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }
}
