//! Whether this machine's clock is right.
//!
//! - Nothing here decides by it: it stamps what people read, and certificates are judged by it.

use super::Checkup;
use super::ntp::{self, NtpServer};
use crate::clock;

const SUBJECT: &str = "clock";

/// Synchronised clocks are nearer than this to each other, microseconds: who reads `receivedAt` need not know of less.
const NOTICED: i64 = 1_000_000;

/// From here on certificates may look as if they had ended or not begun, microseconds: as long as TLS peers allow each other.
const WRONG: i64 = 60_000_000;

/// What it means that nobody vouches for the clock.
const UNVOUCHED: &str =
    "times in readings are the phones' own, but receivedAt is the agent's, and is marked as unsynchronised";

/// Asks this machine's time service, and `server`.
pub async fn examine(server: &NtpServer, checkup: &mut Checkup) {
    if server.is_none() {
        return judge_unasked(synchronised().await, checkup);
    }
    let (synchronised, offset) = tokio::join!(synchronised(), ntp::offset(server));
    judge(synchronised, server, offset, checkup);
}

/// Chrony may take some seconds to say so.
async fn synchronised() -> bool {
    tokio::task::spawn_blocking(clock::ask).await.unwrap_or(false)
}

fn judge_unasked(synchronised: bool, checkup: &mut Checkup) {
    if synchronised {
        checkup.ok(SUBJECT, "synchronised, says this machine's time service; no time server was asked");
    } else {
        let said = format!(
            "nobody vouches for it: no time service that is known here has set it since boot; {UNVOUCHED}. Have a time service keep it \
             (timedatectl set-ntp true)"
        );
        checkup.warn(SUBJECT, said);
    }
}

fn judge(synchronised: bool, server: &NtpServer, offset: Result<i64, String>, checkup: &mut Checkup) {
    match offset {
        Ok(offset) if offset.abs() >= WRONG => checkup.fail(
            SUBJECT,
            format!(
                "is {} by {server}: receivedAt is as wrong, and certificates may look as if they had ended or not begun; set the \
                 clock, and have a time service keep it (timedatectl set-ntp true)",
                away(offset)
            ),
        ),
        Ok(offset) if offset.abs() >= NOTICED => checkup.warn(
            SUBJECT,
            format!(
                "is {} by {server}, and receivedAt is as wrong: have a time service keep it (timedatectl set-ntp true)",
                away(offset)
            ),
        ),
        Ok(offset) if synchronised => {
            checkup.ok(SUBJECT, format!("synchronised; {} by {server}", away(offset)));
        }
        Ok(offset) => checkup.warn(
            SUBJECT,
            format!(
                "is {} by {server}, but no time service that is known here (systemd-timesyncd, chrony) keeps it, and after a boot it may \
                 be wrong; {UNVOUCHED}. Have one keep it (timedatectl set-ntp true)",
                away(offset)
            ),
        ),
        Err(why) if synchronised => checkup.warn(
            SUBJECT,
            format!(
                "synchronised, says this machine's time service; by how much it is off is not known: {server} could not be asked ({why}). \
                 Allow UDP to port 123, or name another server with --ntp"
            ),
        ),
        Err(why) => checkup.warn(
            SUBJECT,
            format!(
                "nobody vouches for it: no time service that is known here has set it since boot, and {server} could not be asked ({why}); \
                 {UNVOUCHED}. Have a time service keep it (timedatectl set-ntp true), or name a server in reach with --ntp"
            ),
        ),
    }
}

/// `3.2 s slow`
fn away(offset: i64) -> String {
    let size = offset.unsigned_abs();
    let whole = |unit: u64| (size + unit / 2) / unit;
    let size = match size {
        0..1_000_000 => format!("{} ms", whole(1_000)),
        1_000_000..120_000_000 => format!("{}.{} s", whole(100_000) / 10, whole(100_000) % 10),
        120_000_000..7_200_000_000 => format!("{} min", whole(60_000_000)),
        7_200_000_000..172_800_000_000 => format!("{} h", whole(3_600_000_000)),
        _ => format!("{} days", whole(86_400_000_000)),
    };
    // What must be added is what it lacks.
    format!("{size} {}", if offset < 0 { "fast" } else { "slow" })
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    fn judged(synchronised: bool, offset: Result<i64, &str>) -> (Option<Grade>, String) {
        let mut checkup = Checkup::new();
        judge(synchronised, &NtpServer::default(), offset.map_err(str::to_owned), &mut checkup);
        (checkup.worst(), checkup.to_string())
    }

    #[test]
    fn a_clock_that_is_off_says_by_how_much_and_what_to_do() {
        for (offset, grade, says) in [
            (3_599_900_000, Grade::Fail, "is 60 min slow by pool.ntp.org"),
            (-172_800_000_000, Grade::Fail, "is 2 days fast"),
            (1_500_000, Grade::Warn, "is 1.5 s slow"),
            (-12_000, Grade::Ok, "synchronised; 12 ms fast"),
        ] {
            let (worst, said) = judged(true, Ok(offset));
            assert!(worst == Some(grade) && said.contains(says), "{said}");
            assert!(grade == Grade::Ok || said.contains("timedatectl set-ntp true"), "{said}");
        }
    }

    #[test]
    fn a_server_that_is_away_is_no_fault_of_the_clock() {
        for synchronised in [true, false] {
            let (worst, said) = judged(synchronised, Err("no answer within 3 s"));
            assert!(worst == Some(Grade::Warn) && said.contains("--ntp"), "{said}");
            assert_eq!(said.contains("marked as unsynchronised"), !synchronised, "{said}");
        }
        assert!(judged(false, Ok(0)).1.contains("timedatectl set-ntp true"));
        for (synchronised, grade) in [(true, Grade::Ok), (false, Grade::Warn)] {
            let mut checkup = Checkup::new();
            judge_unasked(synchronised, &mut checkup);
            assert!(checkup.worst() == Some(grade) && !checkup.to_string().contains("pool.ntp.org"), "{checkup}");
        }
    }
}
