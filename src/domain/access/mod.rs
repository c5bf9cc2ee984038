//! May this request pass? Who holds a token, and whether its record still stands.

mod standing;

pub use standing::{Caller, Holder, Standing, caller, standing};
