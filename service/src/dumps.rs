//! What a crash leaves behind.

/// Set to anything, core dumps are as this system makes them: for who looks for the reason of a crash.
const VARIABLE: &str = "GAITWAY_CORE_DUMPS";

/// Has this process leave no core dump: it would hold keys, tokens and readings. Nor may programs of the same user look into its
/// memory. What cannot be had is not worth an end.
#[cfg(target_os = "linux")]
pub fn forbid() {
    if std::env::var_os(VARIABLE).is_none() {
        let _ = nix::sys::prctl::set_dumpable(false);
    }
}

/// Has this process leave no core dump, where the system knows how.
#[cfg(not(target_os = "linux"))]
pub fn forbid() {}
