//! How much of a trial a program gets.

use std::time::Duration;

/// How much a program is tried before it is published; see the [module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Not at all.
    Off,
    /// For so many hundredths of the processor time that its compilation took, but for `least` at least.
    Share {
        /// Hundredths of the time of the compilation; 100 is as long again.
        percent: u32,
        /// Processor time that it gets in any case.
        least: Duration,
    },
}

impl Default for Budget {
    /// Half of the compilation's time, and at least a millisecond.
    fn default() -> Self {
        Self::Share {
            percent: 50,
            least: Duration::from_millis(1),
        }
    }
}

impl Budget {
    /// Whether programs are tried.
    pub fn is_on(self) -> bool {
        self != Self::Off
    }

    /// Processor time for the trial of a program whose compilation took `compiled`; `None` for no trial.
    pub fn time(self, compiled: Duration) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Share { percent, least } => {
                let share = compiled.saturating_mul(percent) / 100;
                Some(share.max(least))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_a_least() {
        let budget = Budget::Share {
            percent: 150,
            least: Duration::from_millis(2),
        };
        let time = |ms| budget.time(Duration::from_millis(ms)).unwrap().as_micros();
        assert_eq!([time(0), time(1), time(10)], [2000, 2000, 15_000]);
        assert_eq!(Budget::Off.time(Duration::MAX), None);
        assert!(budget.time(Duration::MAX).is_some() && budget.is_on());
        assert!(!Budget::Off.is_on());
    }
}
