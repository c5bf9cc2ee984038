//! May this request pass? Who holds a token, and whether its record still stands.

mod standing;
mod verify;

pub use standing::{Caller, Holder, Standing, caller, standing};
pub use verify::{Passer, verify};
