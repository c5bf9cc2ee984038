//! Two sides in turns. A machine that others share gets faster and slower by the second, so neither side's own time
//! says much; what both did within the same tenth of a second can be compared.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// One side: does one operation and says how long it took, without what had to be prepared for it.
pub(crate) type Side<'a> = &'a mut dyn FnMut() -> Duration;

/// What one pass found, in microseconds per operation.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) floor: f64,
    pub(crate) ours: f64,
}

/// So many passes; in each, first one side for about `slice` (at least one operation), then the other. Who begins
/// changes with every pass.
pub(crate) fn passes(count: usize, slice: Duration, floor: Side<'_>, ours: Side<'_>) -> Vec<Pass> {
    for _ in 0..3 {
        floor();
        ours();
    }
    (0..count)
        .map(|n| {
            if n % 2 == 0 {
                let floor = side(slice, floor);
                Pass { floor, ours: side(slice, ours) }
            } else {
                let ours = side(slice, ours);
                Pass { floor: side(slice, floor), ours }
            }
        })
        .collect()
}

fn side(slice: Duration, operation: Side<'_>) -> f64 {
    let begun = Instant::now();
    let (mut took, mut operations) = (Duration::ZERO, 0.0);
    loop {
        took += operation();
        operations += 1.0;
        if begun.elapsed() >= slice {
            return took.as_secs_f64() * 1e6 / operations;
        }
    }
}

/// The middle of some figures, and between what the middle half of them lies.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    low: f64,
    pub(crate) median: f64,
    high: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        assert!(!figures.is_empty(), "something was measured");
        figures.sort_by(f64::total_cmp);
        let at = |quarters: usize| figures[(figures.len() - 1) * quarters / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(2);
        write!(f, "{:.places$} ({:.places$} to {:.places$})", self.median, self.low, self.high)
    }
}
