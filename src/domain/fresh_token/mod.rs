//! The token that is always fresh: an access token of an account, signed for whoever reads it, good for half an hour.
//!
//! Its record begins with a sign-in and outlives the session; it ends with a new password, when the account is disabled
//! or deleted, or by hand, and then the next sign-in begins another. What is at rest is the record, never a token; the
//! one exception is asked for, account by account: see [`mirror`].

pub mod mirror;
mod read;
mod record;

pub use read::{LIFE, Shown, find, read};
pub use record::FreshToken;
pub(in crate::domain) use record::{Beginning, end};

/// What the secret is called that the token is read from.
pub const NAME: &str = "access-token";

/// What the token is called in that secret's data.
pub const FIELD: &str = "AUTH_TOKEN";

/// The directory where programs look for the token, and its file there.
pub const DIRECTORY: &str = "/etc/secrets/ezua";
/// The file in [`DIRECTORY`].
pub const FILE: &str = ".auth_token";
