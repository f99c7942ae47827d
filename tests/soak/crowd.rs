//! Phones that push at a steady pace, each from a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::harness::Random;
use super::harness::phone::{Phone, Url};

/// See the module.
pub(crate) struct Crowd {
    url: Url,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(Phone, Vec<u64>)>>,
}

impl Crowd {
    /// `phones` phones, each with a push every `pace`.
    pub(crate) fn push(phones: u64, seed: u64, pace: Duration) -> Self {
        let url: Url = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..phones).map(|number| {
            let (url, stop) = (Arc::clone(&url), Arc::clone(&stop));
            let phone = Phone::new(number, seed);
            let first = pace.mul_f64(Random::new(seed ^ !number).share());
            let run = move || {
                let begun = Instant::now() + first;
                let mut answered = Vec::new();
                for id in 0_u64.. {
                    let due = begun + pace * id as u32;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // A message that was begun is pushed until it is answered: only then is it known what must be there.
                    assert!(phone.push(&url, id, &AtomicBool::new(false)), "never stops");
                    answered.push(id);
                }
                (phone, answered)
            };
            std::thread::Builder::new().name(format!("phone-{number}")).spawn(run).unwrap()
        });
        let threads = threads.collect();
        Self { url, stop, threads }
    }

    /// Where they push to; nowhere, where there is no agent.
    pub(crate) fn point(&self, url: Option<String>) {
        *self.url.lock().unwrap() = url;
    }

    /// Lets every phone finish what it began; gives the messages that each was answered for.
    pub(crate) fn finish(self) -> Vec<(Phone, Vec<u64>)> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}
