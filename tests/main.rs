//! The tests, a module per capability that a user sees, in one binary: `tests/run` runs them set by set.

mod house;
