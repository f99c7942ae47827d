//! Phones that push all at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::phone::{Phone, Pushed, Url};

/// Phones that push from threads of their own.
pub(crate) struct Crowd {
    url: Url,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<(Phone, Pushed)>>,
}

impl Crowd {
    pub(crate) fn push(phones: u64, seed: u64) -> Self {
        let url: Url = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..phones).map(|number| {
            let (url, stop) = (Arc::clone(&url), Arc::clone(&stop));
            let run = move || Phone::new(number, seed).run(&url, &stop);
            std::thread::Builder::new().name(format!("phone-{number}")).spawn(run).unwrap()
        });
        let threads = threads.collect();
        Self { url, stop, threads }
    }

    pub(crate) fn point(&self, url: Option<String>) {
        *self.url.lock().unwrap() = url;
    }

    /// Lets every phone finish what it began; gives what they were answered for.
    pub(crate) fn finish(self) -> Vec<(Phone, Pushed)> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}
