//! File descriptors for as many connections as may be: shells and systemd give 1024 to begin with, and a process that
//! has run out of them can neither accept an agent nor open its ledger again.

/// As many as most relays need, and what else runs in the process.
const PLENTY: u64 = 65_536;

/// For the ledger, the way in for phones in the same process, logs and the rest.
const OTHERS: u64 = 1_024;

/// Raises this process's limit as far as the system allows, and says so in the log if that is too few for `connections`.
pub(crate) fn provide(connections: usize) {
    let needed = connections as u64 + OTHERS;
    #[cfg(unix)]
    match raise(needed) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => {
            tracing::warn!(
                limit,
                needed,
                "too few file descriptors for max_connections, raise LimitNOFILE or ulimit -n"
            );
        }
        Err(error) => tracing::warn!(%error, needed, "cannot raise the limit of file descriptors"),
    }
    #[cfg(not(unix))]
    let _ = needed;
}

#[cfg(unix)]
fn raise(needed: u64) -> nix::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = raised(soft, hard, needed);
    if limit > soft {
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
    }
    Ok(limit)
}

/// Never lower than it is, never above what is allowed.
#[cfg(unix)]
fn raised(soft: u64, hard: u64, needed: u64) -> u64 {
    soft.max(needed.max(PLENTY).min(hard))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_is_allowed_and_of_use() {
        assert_eq!(raised(1_024, 524_288, 2_000), PLENTY);
        assert_eq!(raised(1_024, 524_288, 101_000), 101_000);
        assert_eq!(raised(1_024, 4_096, 2_000), 4_096);
        assert_eq!(raised(100_000, 524_288, 2_000), 100_000);
        assert!(raise(0).unwrap() > 0);
    }
}
