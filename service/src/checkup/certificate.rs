//! When a certificate ends.

use rustls::pki_types::CertificateDer;

use super::Checkup;
use crate::clock;
use crate::tls::{Pair, certificates};

const DAY: i64 = 24 * 3600;

/// Whoever renews certificates does so when a third of their life is left (this program, and clients of ACME); some days later it has
/// failed. Of long lives a month is enough.
const LATE: (i64, i64) = (4, 30 * DAY);

/// From when to when it is good, seconds of the Unix epoch; none if it cannot be read.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// Says how long a certificate is good that is good from and until these seconds of the Unix epoch. `shown` is what is said of it before,
/// `renew` what to do.
pub fn expiry(subject: &str, shown: &str, (from, until): (i64, i64), renew: &str, checkup: &mut Checkup) {
    let now = clock::now_micros().div_euclid(1_000_000);
    let (life, left) = (until.saturating_sub(from), until.saturating_sub(now));
    let days = |seconds: i64| match seconds / DAY {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    if left < 0 {
        checkup.fail(subject, format!("{shown}ended {} ago, by this machine's clock: {renew}", days(-left)));
    } else if from > now {
        let said =
            format!("{shown}begins in {}, by this machine's clock: set the clock if it is wrong", days(from - now));
        checkup.fail(subject, said);
    } else if left < (life / LATE.0).min(LATE.1) {
        checkup.warn(subject, format!("{shown}ends in {}, and should have been renewed by now: {renew}", days(left)));
    } else {
        checkup.ok(subject, format!("{shown}good for {} more", days(left)));
    }
}

/// Looks at the certificates in the files of a listener, which can be loaded.
pub fn of_pair(subject: &str, pair: &Pair, checkup: &mut Checkup) {
    match certificates(&pair.certificate) {
        Ok(chain) => {
            let renew = format!("renew {}, which is then taken up without a restart", pair.certificate.display());
            let good = chain.iter().filter_map(validity).min_by_key(|(_, until)| *until);
            match good {
                Some(good) => expiry(subject, "", good, &renew, checkup),
                None => checkup.warn(subject, format!("when {} ends cannot be read", pair.certificate.display())),
            }
        }
        Err(error) => checkup.fail(subject, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::super::Grade;
    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_or_has_ended_says_what_to_do() {
        let now = clock::now_micros() / 1_000_000;
        let of = |from: i64, until: i64| {
            let mut checkup = Checkup::new();
            expiry("certificate", "", (now + from * DAY, now + until * DAY + 60), "renew it", &mut checkup);
            (checkup.worst().unwrap(), checkup.to_string())
        };
        for (from, until, grade, says) in [
            (-10, 80, Grade::Ok, "good for 80 days more"),
            (-59, 31, Grade::Ok, "good for 31 days"),
            (-69, 21, Grade::Warn, "ends in 21 days, and should have been renewed by now: renew it"),
            (-3650, 40, Grade::Ok, "40 days"),
            (-3650, 29, Grade::Warn, "29 days"),
            (-90, -2, Grade::Fail, "ended 1 day ago"),
            (2, 90, Grade::Fail, "set the clock"),
        ] {
            let (found, said) = of(from, until);
            assert!(found == grade && said.contains(says), "{from} {until}: {said}");
        }
    }

    #[test]
    fn validity_is_read_from_the_certificate() {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 12, 31));
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(validity(made.der()), Some((1_767_225_600, 1_798_675_200)));
        assert_eq!(validity(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
