//! What is told of the agent: its addresses, and its page as a service of DNS-SD (RFC 6762, RFC 6763). Pure.

use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, NSEC, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, CharacterString, Label, Name, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// How long others may keep what names a machine, and what does not: RFC 6762, section 10. Seconds.
const TTL_HOST: u32 = 120;
const TTL_OTHER: u32 = 4500;

/// What is announced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    /// The listener's port.
    pub(super) port: u16,
    /// It speaks HTTPS.
    pub(super) is_https: bool,
}

impl Service {
    /// The text of its record: where the page is, by the convention for `_http._tcp`, and where phones push to.
    pub(super) fn text() -> [&'static str; 2] {
        ["path=/", "push=/data"]
    }
}

/// A set of kinds of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    /// The host's addresses.
    pub(super) const V4: Self = Self(1);
    pub(super) const V6: Self = Self(1 << 1);
    /// What else the host has not.
    pub(super) const NOTHING_ELSE: Self = Self(1 << 2);
    /// Where the service is, and its text.
    pub(super) const PLACE: Self = Self(1 << 3);
    pub(super) const TEXT: Self = Self(1 << 4);
    /// That there is one of its type, and that there is its type. Others say the same of theirs.
    pub(super) const INSTANCE: Self = Self(1 << 5);
    pub(super) const TYPE: Self = Self(1 << 6);

    /// What an announcement tells.
    pub(super) const ALL: Self = Self(0b111_1111);
    /// What is the agent's alone.
    pub(super) const UNIQUE: Self = Self(Self::V4.0 | Self::V6.0 | Self::PLACE.0 | Self::TEXT.0);
    /// So many kinds there are.
    pub(super) const COUNT: usize = 7;

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each, with its place.
    pub(super) fn each(self) -> impl Iterator<Item = (usize, Self)> {
        (0..Self::COUNT).map(|place| (place, Self(1 << place))).filter(move |(_, kind)| self.has(*kind))
    }
}

/// The records of an agent under one name.
#[derive(Debug, Clone)]
pub(super) struct Records {
    pub(super) host: Name<'static>,
    pub(super) instance: Name<'static>,
    service_type: Name<'static>,
    types: Name<'static>,
    port: u16,
}

impl Records {
    /// Of `service` on the machine `name`.local; `name` is one.
    pub(super) fn new(name: &str, service: Service) -> Self {
        let protocol = if service.is_https { "_https" } else { "_http" };
        let under = |first: &[&str]| {
            let labels: Vec<_> =
                first.iter().chain(&["local"]).map(|label| Label::new_unchecked(label.as_bytes().to_vec())).collect();
            Name::new_with_labels(&labels)
        };
        Self {
            host: under(&[name]),
            instance: under(&[&format!("gaitway {name}"), protocol, "_tcp"]),
            service_type: under(&[protocol, "_tcp"]),
            types: under(&["_services", "_dns-sd", "_udp"]),
            port: service.port,
        }
    }

    /// What is asked for.
    pub(super) fn asked(&self, question: &Question<'_>, told: &[IpAddr]) -> Kinds {
        if !matches!(question.qclass, QCLASS::ANY | QCLASS::CLASS(CLASS::IN)) {
            return Kinds::NONE;
        }
        let wants = |kind| matches!(question.qtype, QTYPE::ANY) || question.qtype == QTYPE::TYPE(kind);
        let of = |kind, kinds| if wants(kind) { kinds } else { Kinds::NONE };
        if question.qname == self.host {
            let has = told.iter().fold(Kinds::NONE, |has, ip| has.and(address_kind(*ip)));
            let asked = match question.qtype {
                QTYPE::TYPE(TYPE::A) => Kinds::V4,
                QTYPE::TYPE(TYPE::AAAA) => Kinds::V6,
                QTYPE::ANY => has,
                _ => Kinds::NONE,
            };
            if has.has(asked) { asked } else { Kinds::NOTHING_ELSE }
        } else if question.qname == self.instance {
            of(TYPE::SRV, Kinds::PLACE).and(of(TYPE::TXT, Kinds::TEXT))
        } else if question.qname == self.service_type {
            of(TYPE::PTR, Kinds::INSTANCE)
        } else if question.qname == self.types {
            of(TYPE::PTR, Kinds::TYPE)
        } else {
            Kinds::NONE
        }
    }

    /// What goes beside `kinds`, so that nobody need ask again.
    pub(super) fn beside(kinds: Kinds) -> Kinds {
        let mut beside = Kinds::NONE;
        if kinds.has(Kinds::INSTANCE) {
            beside = beside.and(Kinds::UNIQUE);
        }
        if kinds.has(Kinds::PLACE.and(Kinds::V4).and(Kinds::V6)) {
            beside = beside.and(Kinds::V4).and(Kinds::V6).and(Kinds::NOTHING_ELSE);
        }
        beside.without(kinds)
    }

    /// The records of `kinds` on a link with the addresses `told`.
    pub(super) fn of(&self, kinds: Kinds, told: &[IpAddr]) -> Vec<ResourceRecord<'static>> {
        kinds.each().flat_map(|(_, kind)| self.of_kind(kind, told)).collect()
    }

    fn of_kind(&self, kind: Kinds, told: &[IpAddr]) -> Vec<ResourceRecord<'static>> {
        let unique = |name: &Name<'static>, ttl, rdata| {
            ResourceRecord::new(name.clone(), CLASS::IN, ttl, rdata).with_cache_flush(true)
        };
        let shared = |name: &Name<'static>, to: &Name<'static>| {
            ResourceRecord::new(name.clone(), CLASS::IN, TTL_OTHER, RData::PTR(PTR(to.clone())))
        };
        match kind {
            Kinds::V4 | Kinds::V6 => told
                .iter()
                .filter(|ip| address_kind(**ip) == kind)
                .map(|ip| unique(&self.host, TTL_HOST, address(*ip)))
                .collect(),
            Kinds::NOTHING_ELSE => {
                let types: Vec<_> = [(Kinds::V4, TYPE::A), (Kinds::V6, TYPE::AAAA)]
                    .into_iter()
                    .filter(|(kind, _)| told.iter().any(|ip| address_kind(*ip) == *kind))
                    .map(|(_, code)| code)
                    .collect();
                vec![unique(&self.host, TTL_HOST, RData::NSEC(NSEC::from_types(self.host.clone(), &types)))]
            }
            Kinds::PLACE => vec![unique(&self.instance, TTL_HOST, RData::SRV(self.place()))],
            Kinds::TEXT => vec![unique(&self.instance, TTL_OTHER, RData::TXT(text()))],
            Kinds::INSTANCE => vec![shared(&self.service_type, &self.instance)],
            Kinds::TYPE => vec![shared(&self.types, &self.service_type)],
            _ => Vec::new(),
        }
    }

    fn place(&self) -> SRV<'static> {
        SRV { priority: 0, weight: 0, port: self.port, target: self.host.clone() }
    }

    /// Whether `record` says something else of what is the agent's alone. `own` are all addresses of this machine.
    pub(super) fn are_contradicted_by(&self, record: &ResourceRecord<'_>, own: &[IpAddr]) -> bool {
        if record.class != CLASS::IN || record.ttl == 0 {
            return false;
        }
        match &record.rdata {
            RData::A(_) | RData::AAAA(_) => {
                record.name == self.host && ip_of(&record.rdata).is_some_and(|ip| !own.contains(&ip))
            }
            RData::SRV(place) => record.name == self.instance && *place != self.place(),
            RData::TXT(other) => record.name == self.instance && *other != text(),
            _ => false,
        }
    }
}

fn text() -> TXT<'static> {
    let mut text = TXT::new();
    for pair in Service::text() {
        text.add_char_string(CharacterString::try_from(pair).expect("a pair is shorter than 255 bytes"));
    }
    text
}

pub(super) fn address_kind(ip: IpAddr) -> Kinds {
    if ip.is_ipv4() { Kinds::V4 } else { Kinds::V6 }
}

fn address(ip: IpAddr) -> RData<'static> {
    match ip {
        IpAddr::V4(ip) => RData::A(A::from(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA::from(ip)),
    }
}

/// The address in `rdata`, if there is one.
pub(super) fn ip_of(rdata: &RData<'_>) -> Option<IpAddr> {
    match rdata {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Records {
        Records::new("attic", Service { port: 8000, is_https: false })
    }

    fn ips(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn asked(name: &str, qtype: QTYPE, told: &[&str]) -> Kinds {
        let question = Question::new(Name::new_unchecked(name), qtype, QCLASS::CLASS(CLASS::IN), false);
        records().asked(&question, &ips(told))
    }

    #[test]
    fn every_question_about_the_agent_has_its_answer() {
        let both = ["192.168.1.9", "fd00::9"];
        for (name, qtype, told, kinds) in [
            ("attic.local", QTYPE::TYPE(TYPE::A), &both[..], Kinds::V4),
            ("ATTIC.Local", QTYPE::TYPE(TYPE::AAAA), &both, Kinds::V6),
            ("attic.local", QTYPE::ANY, &both, Kinds::V4.and(Kinds::V6)),
            ("attic.local", QTYPE::TYPE(TYPE::AAAA), &both[..1], Kinds::NOTHING_ELSE),
            ("attic.local", QTYPE::TYPE(TYPE::HTTPS), &both, Kinds::NOTHING_ELSE),
            ("gaitway attic._http._tcp.local", QTYPE::TYPE(TYPE::SRV), &both, Kinds::PLACE),
            ("gaitway attic._http._tcp.local", QTYPE::ANY, &both, Kinds::PLACE.and(Kinds::TEXT)),
            ("_http._tcp.local", QTYPE::TYPE(TYPE::PTR), &both, Kinds::INSTANCE),
            ("_services._dns-sd._udp.local", QTYPE::TYPE(TYPE::PTR), &both, Kinds::TYPE),
            ("_http._tcp.local", QTYPE::TYPE(TYPE::A), &both, Kinds::NONE),
            ("pi.local", QTYPE::ANY, &both, Kinds::NONE),
            ("attic.example", QTYPE::ANY, &both, Kinds::NONE),
        ] {
            assert_eq!(asked(name, qtype, told), kinds, "{name} {qtype:?}");
        }
    }

    #[test]
    fn the_records_say_name_port_and_paths() {
        let all = records().of(Kinds::ALL, &ips(&["192.168.1.9"]));
        let shown: Vec<_> = all.iter().map(|record| (record.name.to_string(), record.rdata.type_code())).collect();
        let instance = records().instance.to_string();
        assert_eq!(
            shown,
            [
                ("attic.local".to_owned(), TYPE::A),
                ("attic.local".to_owned(), TYPE::NSEC),
                (instance.clone(), TYPE::SRV),
                (instance, TYPE::TXT),
                ("_http._tcp.local".to_owned(), TYPE::PTR),
                ("_services._dns-sd._udp.local".to_owned(), TYPE::PTR),
            ]
        );
        let RData::SRV(place) = &all[2].rdata else { panic!("{:?}", all[2]) };
        assert_eq!((place.port, place.target.to_string().as_str()), (8000, "attic.local"));
        let RData::TXT(text) = &all[3].rdata else { panic!("{:?}", all[3]) };
        let pairs: Vec<_> = text.iter_raw().collect();
        assert_eq!(pairs, [(&b"path"[..], Some(&b"/"[..])), (&b"push"[..], Some(&b"/data"[..]))]);
        let secure = Records::new("attic", Service { port: 8443, is_https: true });
        assert!(secure.instance.to_string().ends_with("_https._tcp.local"), "{}", secure.instance);
    }

    #[test]
    fn only_another_s_word_about_the_agent_s_own_names_contradicts() {
        let (own, records) = (ips(&["192.168.1.9", "10.0.0.2"]), records());
        let said = |name: &str, rdata: RData<'static>, ttl| {
            let record = ResourceRecord::new(Name::new_unchecked(name).into_owned(), CLASS::IN, ttl, rdata);
            records.are_contradicted_by(&record, &own)
        };
        let a = |ip: &str| address(ip.parse().unwrap());
        assert!(said("attic.local", a("192.168.1.10"), 120) && said("Attic.local", a("fe80::1"), 120));
        assert!(!said("attic.local", a("10.0.0.2"), 120), "the other link of this machine");
        assert!(!said("attic.local", a("192.168.1.10"), 0), "a goodbye");
        assert!(!said("pi.local", a("192.168.1.10"), 120));
        for record in records.of(Kinds::ALL, &own) {
            assert!(!records.are_contradicted_by(&record, &own), "{record:?}");
        }
        let elsewhere = Records::new("attic", Service { port: 8001, is_https: false });
        for record in elsewhere.of(Kinds::PLACE, &own) {
            assert!(records.are_contradicted_by(&record, &own));
        }
    }
}
