//! May this request pass? Who holds a token, whether its record still stands, and what was granted on which resource.

mod standing;
mod verify;

pub use standing::{Caller, Holder, Presented, Standing, caller, standing};
pub use verify::{Asked, Credential, Passer, Place, verify};
