//! What of a phone's history is asked: the query of a path. Pure.
//!
//! - What cannot be read is refused by its name; nothing is guessed, and nothing is left out.
//! - Times beyond those that nanoseconds of 64 bits hold stand for the first and the last of these.

use super::problem::Problem;

/// Windows of an answer, where it is not told.
pub(super) const LIMIT: usize = 500;

/// The most windows that may be asked for.
pub(super) const MOST: usize = 5_000;

/// What a query asks for. Nanoseconds since the Unix epoch, phone's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    pub(super) limit: Option<usize>,
}

impl Asked {
    /// Of the query of a URL; `limited` says whether it may tell a limit.
    pub(super) fn read(query: Option<&str>, limited: bool) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let is_new = match &*name {
                "from" => asked.from.replace(time("from", &value)?).is_none(),
                "to" => asked.to.replace(time("to", &value)?).is_none(),
                "limit" if limited => asked.limit.replace(number(&value)?).is_none(),
                other => return Err(Problem::query(unknown(other, limited))),
            };
            if !is_new {
                return Err(Problem::query(format!("The query has {name} more than once.")));
            }
        }
        Ok(asked)
    }

    /// `from` and `to`: `newest` where the latter is not told, and `length` before that where the former is not.
    pub(super) fn span(&self, newest: i64, length: i64) -> (i64, i64) {
        let to = self.to.unwrap_or(newest);
        (self.from.unwrap_or_else(|| to.saturating_sub(length)), to)
    }
}

fn unknown(name: &str, limited: bool) -> String {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
    let known = if limited { "from, to and limit" } else { "from and to" };
    format!("The query has {shown:?}, which is not known here: there are {known}.")
}

fn number(text: &str) -> Result<usize, Problem> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|limit| plain && (1..=MOST).contains(limit));
    number.ok_or_else(|| Problem::query(format!("In the query limit must be a whole number from 1 to {MOST}.")))
}

fn time(name: &str, text: &str) -> Result<i64, Problem> {
    // An unencoded plus sign of an offset arrives as a space.
    instant(&text.replace(' ', "+")).ok_or_else(|| {
        Problem::query(format!("In the query {name} must be a time as in RFC 3339, such as 2026-05-01T12:00:00Z."))
    })
}

/// Nanoseconds of RFC 3339.
fn instant(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(19)?;
    let form = b"0000-00-00T00:00:00";
    let fits = date.bytes().zip(form).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(form),
    });
    let (fraction, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);
    let digits = fraction.strip_prefix('.').unwrap_or("0");
    let is_fraction = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !fits || !is_fraction || fraction.is_empty() == fraction.starts_with('.') {
        return None;
    }
    let date: jiff::civil::DateTime = date.to_ascii_uppercase().parse().ok()?;
    let ahead = offset(zone)?;
    let Ok(at) = jiff::tz::Offset::UTC.to_timestamp(date) else { return Some(i64::MAX) };
    let seconds = i128::from(at.as_second() - ahead);
    let nanoseconds: i128 =
        digits.bytes().chain(*b"000000000").take(9).fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    let at = seconds * 1_000_000_000 + nanoseconds;
    Some(i64::try_from(at).unwrap_or(if at < 0 { i64::MIN } else { i64::MAX }))
}

/// Seconds that clocks of this zone are ahead.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("Z") {
        return Some(0);
    }
    let (sign, [a, b, b':', c, d]) =
        zone.as_bytes().split_first().and_then(|(sign, rest)| Some((sign, rest.first_chunk()?)))?
    else {
        return None;
    };
    if zone.len() != 6 || [a, b, c, d].iter().any(|digit| !digit.is_ascii_digit()) {
        return None;
    }
    let two = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    let (hours, minutes) = (two(a, b), two(c, d));
    let ahead = hours * 3600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -ahead } else { ahead })
}

#[cfg(test)]
mod tests {
    use gaitway_proto::schema::rfc3339;
    use proptest::prelude::*;

    use super::*;

    fn windows(query: &str) -> Result<Asked, Problem> {
        Asked::read(Some(query), true)
    }

    #[test]
    fn what_is_asked_is_read() {
        assert_eq!(Asked::read(None, true), Ok(Asked::default()));
        assert_eq!(windows(""), Ok(Asked::default()));
        let asked = windows("from=2023-11-14T22:13:22.5Z&to=2023-11-15T00:13:23%2B02:00&limit=7").unwrap();
        let second = 1_700_000_002_000_000_000;
        let to = second + 1_000_000_000;
        assert_eq!(asked, Asked { from: Some(second + 500_000_000), to: Some(to), limit: Some(7) });
        assert_eq!(windows("to=2023-11-15T00:13:23+02:00").unwrap().to, Some(to), "a plus sign that was not encoded");
        assert_eq!(windows("from=2023-11-14t22:13:22z").unwrap().from, Some(second));
        assert_eq!(
            windows("from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:60-12:00"),
            Ok(Asked { from: Some(i64::MIN), to: Some(i64::MAX), limit: None })
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_its_name() {
        for (query, told) in [
            ("from=", "from must be a time"),
            ("to=yesterday", "to must be a time"),
            ("from=2023-11-14", "from must be"),
            ("from=2023-11-14T22:13:22", "from must be"),
            ("from=2023-11-14T22:13:22.Z", "from must be"),
            ("from=2023-13-14T22:13:22Z", "from must be"),
            ("from=2023-11-14T22:13:22%2B24:00", "from must be"),
            ("from=2023-11-14T22:13:22%2B1:00", "from must be"),
            ("from=2023-11-14T22:13:22Zx", "from must be"),
            ("from=2023-11-14T22:13:2%C3%A4", "from must be"),
            ("limit=0", "from 1 to 5000"),
            ("limit=5001", "from 1 to 5000"),
            ("limit=%2B5", "from 1 to 5000"),
            ("limit=99999999999999999999", "from 1 to 5000"),
            ("limit=5&limit=5", "limit more than once"),
            ("sort=up", "\"sort\", which is not known"),
        ] {
            let refused = format!("{:?}", windows(query));
            assert!(refused.contains(told) || refused.replace("\\\"", "\"").contains(told), "{query}: {refused}");
        }
        assert!(Asked::read(Some("limit=5"), false).is_err());
    }

    #[test]
    fn what_is_not_told_is_the_newest() {
        let span = |from, to| Asked { from, to, limit: None }.span(1_000, 300);
        assert_eq!(span(None, None), (700, 1_000));
        assert_eq!(span(Some(5), None), (5, 1_000));
        assert_eq!(span(None, Some(500)), (200, 500));
        assert_eq!(span(Some(1), Some(2)), (1, 2));
        assert_eq!(span(None, Some(i64::MIN)), (i64::MIN, i64::MIN));
    }

    proptest! {
        #[test]
        fn every_time_that_is_told_can_be_asked_for(at in any::<i64>()) {
            prop_assert_eq!(instant(&rfc3339(at)), Some(at));
        }

        #[test]
        fn no_query_panics(query in "[ -~ä]{0,60}", time in "[0-9TtZz:.+-]{0,40}") {
            let _ = windows(&query);
            let _ = windows(&format!("from={time}&to={query}"));
            let _ = instant(&query);
            let _ = instant(&time);
        }
    }
}
