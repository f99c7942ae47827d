//! A code that was made and may be used. Pure: time is an argument.
//!
//! - A code makes one certificate, within [`CODE_LIFE`].
//! - After [`TRIES`] wrong tries it makes none.
//! - Who does not know all of the secret hears nothing of a code but how many tries are left.

use gaitway_proto::enrolment::{CODE_LIFE, CodeSecret, Refusal};
use gaitway_proto::topic::AgentId;
use subtle::ConstantTimeEq as _;

/// Wrong tries of a code.
pub(crate) const TRIES: u8 = 5;

/// See the module. Times are seconds of the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Whom it lets in.
    pub agent: AgentId,
    /// Of its secret.
    pub digest: [u8; 32],
    /// When it was made.
    pub made_at: i64,
    /// Wrong tries that are left.
    pub tries_left: u8,
    /// When it made a certificate.
    pub used_at: Option<i64>,
}

impl Pending {
    /// A new one.
    pub(crate) fn new(now: i64, agent: AgentId, secret: &CodeSecret) -> Self {
        Self { agent, digest: secret.digest(), made_at: now, tries_left: TRIES, used_at: None }
    }

    /// Somebody brings `secret`, which begins like this code's. If it is this code's and the code is good, it is used.
    pub(crate) fn handle_try(&mut self, now: i64, secret: &CodeSecret) -> Result<(), Refusal> {
        if self.tries_left == 0 {
            return Err(Refusal::Exhausted);
        }
        if !bool::from(self.digest.ct_eq(&secret.digest())) {
            self.tries_left -= 1;
            return Err(Refusal::WrongCode { tries_left: Some(self.tries_left) });
        }
        if self.used_at.is_some() {
            return Err(Refusal::Used);
        }
        if self.is_over(now) {
            return Err(Refusal::Expired);
        }
        self.used_at = Some(now);
        Ok(())
    }

    /// Whether it is too old; also one from the future, which a clock that was set back leaves.
    pub(crate) fn is_over(&self, now: i64) -> bool {
        now.abs_diff(self.made_at) >= CODE_LIFE.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIFE: i64 = CODE_LIFE.as_secs() as i64;

    fn secret(bits: u64) -> CodeSecret {
        CodeSecret::from_random(bits)
    }

    fn pending(now: i64) -> Pending {
        Pending::new(now, "attic".parse().unwrap(), &secret(7))
    }

    #[test]
    fn a_code_is_good_once() {
        let mut code = pending(0);
        assert_eq!(code.handle_try(1, &secret(7)), Ok(()));
        assert_eq!(code.handle_try(2, &secret(7)), Err(Refusal::Used));
        assert_eq!(code.handle_try(LIFE, &secret(7)), Err(Refusal::Used));
    }

    #[test]
    fn a_code_is_good_for_fifteen_minutes() {
        assert_eq!(pending(0).handle_try(LIFE - 1, &secret(7)), Ok(()));
        assert_eq!(pending(0).handle_try(LIFE, &secret(7)), Err(Refusal::Expired));
        assert_eq!(pending(LIFE).handle_try(0, &secret(7)), Err(Refusal::Expired), "the clock was set back");
    }

    #[test]
    fn after_five_wrong_tries_the_right_one_is_refused_too() {
        let mut code = pending(0);
        for left in (0..TRIES).rev() {
            assert_eq!(code.handle_try(0, &secret(8)), Err(Refusal::WrongCode { tries_left: Some(left) }));
        }
        assert_eq!(code.handle_try(0, &secret(7)), Err(Refusal::Exhausted));
    }

    proptest! {
        /// Against the plain statement of the rule.
        #[test]
        fn a_code_lets_in_once_in_time_and_before_the_fifth_wrong_try(
            tries in prop::collection::vec((0..2 * LIFE, 6_u64..9), 0..20)
        ) {
            let mut code = pending(0);
            let (mut wrong, mut let_in) = (0, 0);
            for (now, bits) in tries {
                let right = bits == 7;
                let expected = right && wrong < TRIES && let_in == 0 && now < LIFE;
                wrong += u8::from(!right && wrong < TRIES);
                let outcome = code.handle_try(now, &secret(bits));
                prop_assert_eq!(outcome.is_ok(), expected);
                let_in += u8::from(outcome.is_ok());
            }
        }
    }
}
