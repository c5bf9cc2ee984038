//! Gate tokens: a token that opens only the URLs it names, and the links that put it into a browser.

pub mod duration;
mod id;
pub mod link;
pub mod mint;
mod path;
mod pattern;
mod presented;
mod token;

pub use id::GateTokenId;
pub use path::{BadPath, Path};
pub use pattern::{Host, Method, Origin, Pattern, Patterns, Scheme, Target, Verbs};
pub use presented::{BySession, Closed, Presented, Standing, standing};
pub use token::{Exchange, GateToken, Minter, Use};
