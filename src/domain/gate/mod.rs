//! Gate tokens: a token that opens only the URLs it names, and the links that put it into a browser.

mod duration;
pub mod link;
pub mod mint;
mod origin;
mod path;
mod pattern;
mod presented;
mod token;
mod verbs;

pub use duration::parse_duration;
pub use origin::{BadOrigin, Host, Origin, Scheme};
pub use path::{BadPath, Path};
pub use pattern::{Pattern, Patterns, Target};
pub use presented::{Closed, Presented, Standing, Through, standing};
pub use token::{ByServiceAccount, Exchange, GateToken, Minter, Use};
pub use verbs::{Method, Verbs};
