//! Tokens that open only the URLs they name: what they name, and what a request wants.

mod duration;
mod origin;
mod path;
mod pattern;
mod verbs;

pub use duration::parse_duration;
pub use origin::{BadOrigin, Host, Origin, Scheme};
pub use path::{BadPath, Path};
pub use pattern::{Pattern, Patterns, Target};
pub use verbs::{Method, Verbs};
