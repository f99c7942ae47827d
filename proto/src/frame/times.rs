//! Times of a block: differences from an even pace, in the coarsest unit that loses nothing.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::wire::WireError;

/// `time[0] = first << shift`, `time[i] = time[i-1] + ((step + residual[i-1]) << shift)`, all wrapping.
#[derive(Serialize, Deserialize)]
pub(super) struct WireTimes {
    shift: u8,
    first: i64,
    step: i64,
    /// Zigzag LEB128.
    residuals: ByteBuf,
}

impl WireTimes {
    /// `times` holds at least one.
    pub(super) fn encode(times: &[i64]) -> Self {
        // The app prints times from a double, so all of them end in the same zero bits.
        let bits = times.iter().fold(0, |bits, t| bits | t);
        let shift = if bits == 0 { 0 } else { bits.trailing_zeros() };
        let unit = |i: usize| times[i] >> shift;
        let last = times.len() - 1;
        let step = if last == 0 { 0 } else { unit(last).wrapping_sub(unit(0)) / last as i64 };
        let mut residuals = Vec::with_capacity(2 * times.len());
        for i in 1..times.len() {
            push_varint(&mut residuals, unit(i).wrapping_sub(unit(i - 1)).wrapping_sub(step));
        }
        Self { shift: shift as u8, first: unit(0), step, residuals: ByteBuf::from(residuals) }
    }

    /// How many there are.
    pub(super) fn rows(&self) -> usize {
        1 + count_varints(&self.residuals)
    }

    pub(super) fn decode(&self) -> Result<Vec<i64>, WireError> {
        let residuals = read_varints(&self.residuals)?;
        if self.shift >= 64 {
            return Err(WireError::Malformed("times column"));
        }
        let mut unit = self.first;
        let mut times = Vec::with_capacity(residuals.len() + 1);
        times.push(unit << self.shift);
        for residual in residuals {
            unit = unit.wrapping_add(self.step).wrapping_add(residual);
            times.push(unit << self.shift);
        }
        Ok(times)
    }
}

/// Appends `v` as zigzag LEB128.
pub(super) fn push_varint(out: &mut Vec<u8>, v: i64) {
    let mut rest = ((v << 1) ^ (v >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many numbers [`read_varints`] finds in `bytes`.
pub(super) fn count_varints(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0x80 == 0).count()
}

/// All zigzag LEB128 numbers in `bytes`.
pub(super) fn read_varints(bytes: &[u8]) -> Result<Vec<i64>, WireError> {
    let mut out = Vec::with_capacity(count_varints(bytes));
    let (mut value, mut shift) = (0_u64, 0_u32);
    for &byte in bytes {
        let part = u64::from(byte & 0x7f);
        if shift >= 64 || (shift == 63 && part > 1) {
            return Err(WireError::Malformed("varint"));
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            out.push((value >> 1) as i64 ^ -((value & 1) as i64));
            (value, shift) = (0, 0);
        } else {
            shift += 7;
        }
    }
    if shift == 0 { Ok(out) } else { Err(WireError::Malformed("varint")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_times_survive(times in prop::collection::vec(any::<i64>(), 1..50), shift in 0..10) {
            let times: Vec<i64> = times.into_iter().map(|t| t << shift).collect();
            let wire = WireTimes::encode(&times);
            prop_assert_eq!(wire.rows(), times.len());
            prop_assert_eq!(wire.decode().unwrap(), times);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = read_varints(&bytes);
        }
    }

    #[test]
    fn a_steady_clock_costs_a_byte_a_reading() {
        let times: Vec<i64> = (0..100).map(|i| 1_760_000_000_000_000_000 + i * 10_000_128).collect();
        assert!(WireTimes::encode(&times).residuals.len() <= 100);
    }
}
