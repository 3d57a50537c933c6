//! The delay before the next try. Must not know what is tried.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// The longest delay that the daemon can ask for. A longer one is cut, because the daemon may have been
/// replaced meanwhile.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// Returns the delay after so many failures in a row, at least as long as the daemon asked for.
pub(crate) fn delay(failures: u32, asked: Option<Duration>) -> Duration {
    let step = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST);
    // Half of it is random, so that the clients of a restarted daemon do not all come back at once.
    let jittered = step.mul_f64(0.5 + fastrand::f64() / 2.0);
    asked.map_or(jittered, |asked| asked.min(LONGEST_ASKED) + jittered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_stays_bounded() {
        for _ in 0..100 {
            assert!((FIRST / 2..=FIRST).contains(&delay(1, None)));
            assert!((FIRST..=FIRST * 2).contains(&delay(2, None)));
            assert!((LONGEST / 2..=LONGEST).contains(&delay(u32::MAX, None)));
        }
    }

    #[test]
    fn is_never_shorter_than_asked_for_nor_forever() {
        assert!(delay(1, Some(Duration::from_secs(5))) >= Duration::from_secs(5));
        assert!(delay(1, Some(Duration::from_hours(24))) <= LONGEST_ASKED + FIRST);
    }
}
