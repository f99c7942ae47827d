//! How much of the ledger an agent may take up.

use super::*;
use crate::commit::credit::BURST;

/// New ancestors, as many as a hello may name.
fn strangers(round: u64) -> Vec<u64> {
    (0..MAX_ANCESTORS as u64).map(|at| 1_000_000 + round * 1_000 + at).collect()
}

fn says_hello(bench: &mut Bench, round: u64) -> Vec<Down> {
    let link = bench.links.next();
    bench.hello(link, hello(round, 500_000 + round, &strangers(round), 1))
}

/// Says hello until it is asked to wait, which comes soon.
fn exhaust(bench: &mut Bench) -> u64 {
    bench.machine.credit.owe(bench.now, &bench.agent, BURST - 2 * MAX_ANCESTORS as u32);
    for round in 1..10 {
        let told = says_hello(bench, round);
        if let [Down::Refused { reason, .. }] = &told[..] {
            assert!(reason.contains("wait "), "{reason}");
            return round;
        }
        assert!(matches!(&told[..], [Down::Welcome(_)]), "{told:?}");
    }
    panic!("the ledger grows without end");
}

#[test]
fn an_agent_that_names_new_ancestors_without_end_is_asked_to_wait_and_served_after_it() {
    let mut bench = Bench::new(WIDE);
    let refused = exhaust(&mut bench);
    let commits = bench.commits.len();
    assert!(matches!(&says_hello(&mut bench, refused)[..], [Down::Refused { .. }]));
    assert_eq!(bench.commits.len(), commits, "nothing was registered");
    let link = bench.links.next();
    let known = hello(1, 500_001, &strangers(1), 1);
    assert!(matches!(&bench.hello(link, known)[..], [Down::Welcome(_)]), "what it brought before is served");
    bench.now += Duration::from_secs(60 * MAX_ANCESTORS as u64);
    assert!(matches!(&says_hello(&mut bench, refused)[..], [Down::Welcome(_)]));
}

#[test]
fn an_agent_that_has_to_wait_brings_no_new_streams_either() {
    let mut bench = Bench::new(WIDE);
    exhaust(&mut bench);
    let link = bench.links.next();
    assert!(matches!(&bench.hello(link, hello(7, 1, &[], 1))[..], [Down::Welcome(_)]), "nothing is stored by that");
    let told = bench.batch(link, 7, 1, 1);
    assert!(matches!(&told[..], [Down::Refused { session: 7, reason }] if reason.contains("wait ")), "{told:?}");
    // Nor by a gap that a welcome would note.
    let link = bench.links.next();
    let told = bench.hello(link, hello(8, 2, &[], 5));
    assert!(matches!(&told[..], [Down::Refused { session: 8, reason }] if reason.contains("wait ")), "{told:?}");
}

#[test]
fn a_restart_in_a_loop_is_served_for_a_thousand_starts() {
    let mut bench = Bench::new(WIDE);
    for start in 1..=1_000 {
        let before = start - 1;
        assert_eq!(greet(&mut bench, start, if before == 0 { &[] } else { std::slice::from_ref(&before) }), None);
    }
}
