//! Random numbers for jitter: no more than that, and never for a decision.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of numbers in `[0, 1)`.
pub type Jitter = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Seeded by the system.
#[must_use]
pub fn from_entropy() -> Jitter {
    from_seed(RandomState::new().hash_one(std::process::id()))
}

/// The same numbers for the same seed (`SplitMix64`).
#[must_use]
pub fn from_seed(seed: u64) -> Jitter {
    let state = AtomicU64::new(seed);
    Arc::new(move || {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 53 bits: all that a double holds.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit into the mantissa")]
        let unit = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_its_range_and_repeats_by_seed() {
        let (a, b) = (from_seed(7), from_seed(7));
        let mut sum = 0.0;
        for _ in 0..1_000 {
            let number = a();
            assert!((0.0..1.0).contains(&number));
            assert!((number - b()).abs() < f64::EPSILON);
            sum += number;
        }
        assert!((400.0..600.0).contains(&sum), "{sum}");
    }
}
