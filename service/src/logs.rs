//! Logs: text on a terminal, JSON lines otherwise, filtered by `GAITWAY_LOG`.

use std::io::{IsTerminal as _, Write as _};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

/// What is logged, as in `info,gaitway_relay=debug`: levels, of all or of what a module's name begins with.
const VARIABLE: &str = "GAITWAY_LOG";

/// What is logged where the variable is not set. What PostgreSQL says beside its answers names no database; whoever
/// asked tells what came of it.
const DEFAULT: &str = "info,tokio_postgres=warn";

/// Logs to stdout. Only the first call of a process has an effect.
pub fn init() {
    start(std::io::stdout, std::io::stdout().is_terminal(), DEFAULT);
}

/// Logs to stderr, for commands whose stdout is for people. Only the first call of a process has an effect.
pub fn init_to_stderr() {
    start(std::io::stderr, std::io::stderr().is_terminal(), DEFAULT);
}

/// Logs to stderr beside a line that is drawn anew on a terminal again and again: each event takes that line's place,
/// and without a wish only warnings do. Only the first call of a process has an effect.
pub fn init_beside_live_line() {
    let writer = || {
        let mut out = std::io::stderr();
        // A terminal that cannot be written to shows nothing anyway.
        let _ = out.write_all(b"\r\x1b[2K");
        out
    };
    start(writer, std::io::stderr().is_terminal(), "warn");
}

fn start<W>(writer: W, terminal: bool, default: &str)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let (filter, refused) = filter(&wanted, default);
    // A second call finds the first one's subscriber in place, which is what its caller wants.
    let first = tracing_subscriber::registry().with(lines(writer, terminal).with_filter(filter)).try_init().is_ok();
    if let (true, Some(reason)) = (first, refused) {
        tracing::warn!(variable = VARIABLE, value = wanted, reason, "log filter not understood, using the default");
    }
}

/// The filter to use, and what is wrong with the wanted one.
fn filter(wanted: &str, default: &str) -> (Targets, Option<String>) {
    let wanted = wanted.trim();
    let default = || default.parse::<Targets>().expect("the defaults are filters");
    if wanted.is_empty() {
        return (default(), None);
    }
    match wanted.parse::<Targets>() {
        Ok(filter) => (filter, None),
        Err(error) => (default(), Some(error.to_string())),
    }
}

fn lines<W>(writer: W, terminal: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(terminal);
    if terminal { layer.boxed() } else { layer.json().flatten_event(true).boxed() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(terminal: bool) -> String {
        let written = Lines::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(lines(move || writer.clone(), terminal));
        tracing::subscriber::with_default(subscriber, || tracing::info!(frames = 3, "acknowledged"));
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_on_a_terminal_json_otherwise() {
        let line: serde_json::Value = serde_json::from_str(&logged(false)).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["frames"]),
            (&"INFO".into(), &"acknowledged".into(), &3.into())
        );
        assert!(logged(true).contains("acknowledged"));
        assert!(serde_json::from_str::<serde_json::Value>(&logged(true)).is_err());
    }

    #[test]
    fn a_filter_that_is_not_understood_falls_back_and_says_so() {
        assert!(filter("", DEFAULT).1.is_none());
        assert_eq!(filter("", "info").0.to_string(), "info");
        assert_eq!(filter("warn,gaitway_relay=debug", DEFAULT).0.to_string(), "gaitway_relay=debug,warn");
        let (used, refused) = filter("gaitway=loud", "info");
        assert_eq!(used.to_string(), "info");
        assert!(refused.is_some());
    }

    #[test]
    fn a_second_call_changes_nothing() {
        init_to_stderr();
        init_to_stderr();
    }
}
