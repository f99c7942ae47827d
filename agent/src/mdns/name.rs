//! What the agent may be called below `.local`. Pure.
//!
//! - Never the machine's own name: that is the system's, whose Avahi answers for it now or later.
//! - Every name can be followed by another, and `gaitway NAME` fits into one label of 63 bytes.

/// The longest name.
pub(crate) const LONGEST: usize = 55;

/// Whether `text` can be a name: letters, digits and inner dashes.
pub(crate) fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The names of one agent, in the order in which they are tried.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    base: String,
    /// The machine's own name.
    host: String,
}

impl Candidates {
    /// Of an agent called `wanted`, on the machine called `host`.
    pub(super) fn new(wanted: &str, host: &str) -> Self {
        let base = cut(&wanted.to_ascii_lowercase(), LONGEST);
        let base = if is_name(&base) { base } else { "gaitway".to_owned() };
        let host = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
        Self { base, host }
    }

    /// What is wanted.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The name to take when so many were another's.
    pub(super) fn nth(&self, taken: u32) -> String {
        let plain = numbered(&self.base, taken);
        if plain == self.host {
            with(&plain, if plain.ends_with("-gaitway") { "-agent" } else { "-gaitway" })
        } else {
            plain
        }
    }

    /// The place of `name` among the names.
    pub(super) fn place_of(&self, name: &str) -> Option<u32> {
        // Where it is not the machine's own with an end, its number is that one's.
        let places = [Some(0), place_in(name), place_in(&self.host)];
        places.into_iter().flatten().find(|taken| self.nth(*taken) == name)
    }
}

/// The second is `-2`.
fn numbered(base: &str, taken: u32) -> String {
    if taken == 0 { base.to_owned() } else { with(base, &format!("-{}", u64::from(taken) + 1)) }
}

/// The place that the number at the end of `name` tells.
fn place_in(name: &str) -> Option<u32> {
    let number: u64 = name.rsplit_once('-')?.1.parse().ok()?;
    number.checked_sub(1)?.try_into().ok()
}

fn with(base: &str, end: &str) -> String {
    format!("{}{end}", cut(base, LONGEST - end.len()))
}

/// The beginning that is at most so long, without dashes at its ends.
fn cut(text: &str, longest: usize) -> String {
    text.trim_start_matches('-').chars().take(longest).collect::<String>().trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_second_agent_of_a_name_is_its_second() {
        let names = Candidates::new("Attic", "pi.example.org");
        assert_eq!([0, 1, 2].map(|taken| names.nth(taken)), ["attic", "attic-2", "attic-3"]);
        assert_eq!((names.base(), names.place_of("attic-3"), names.place_of("cellar")), ("attic", Some(2), None));
        assert_eq!(names.place_of("attic-144"), Some(143));
        for never in ["attic-1", "attic-0", "attic-02", "attic-+2", "attic-99999999999", "attics-2"] {
            assert_eq!(names.place_of(never), None, "{never}");
        }
    }

    #[test]
    fn the_machine_s_own_name_is_never_taken() {
        assert_eq!(Candidates::new("attic", "Attic.lan").nth(0), "attic-gaitway");
        let second = Candidates::new("attic", "attic-2");
        assert_eq!([0, 1, 2].map(|taken| second.nth(taken)), ["attic", "attic-2-gaitway", "attic-3"]);
    }

    #[test]
    fn what_makes_no_label_is_no_name() {
        assert!(["a", "attic-2", "7", "Attic"].iter().all(|text| is_name(text)));
        assert!(!["", "-a", "a-", "a.b", "a_b", "ä", &"a".repeat(56)].iter().any(|text| is_name(text)));
        assert_eq!(Candidates::new("---", "pi").nth(0), "gaitway");
    }

    proptest! {
        #[test]
        fn every_candidate_is_a_name_and_not_the_machine_s(wanted in "[a-z0-9-]{1,63}", taken in any::<u32>()) {
            let plain = Candidates::new(&wanted, "").nth(taken);
            let long = format!("{}-gaitway", &wanted[..wanted.len().min(LONGEST - 8)]);
            for (wanted, host) in [(&wanted, "pi"), (&wanted, plain.as_str()), (&long, long.as_str())] {
                let names = Candidates::new(wanted, host);
                let name = names.nth(taken);
                prop_assert!(is_name(&name) && name != host, "{}", name);
                let place = names.place_of(&name);
                prop_assert!(place.is_some_and(|place| names.nth(place) == name), "{} is at {:?}", name, place);
            }
        }
    }
}
