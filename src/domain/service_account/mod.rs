//! Service accounts: accounts for programs, with long-lived tokens that are shown once, and short-lived tokens that are
//! requested with them.

mod account;
mod manage;
mod presented;
mod short_lived;
pub mod token_request;
pub mod token_review;
mod used;

pub use account::{Defaults, IssuedBy, LongLived, Owner, ServiceAccount};
pub use manage::{
    Issued, LONGEST_OVERLAP, Listed, MOST_TOKENS, NewServiceAccount, TokenPage, create, delete, end_long_lived,
    end_short_lived, get, issue, list, long_lived_of, rotate, set_may_request_role, short_lived_of, tokens,
};
pub use presented::{Holder, PresentedLongLived, PresentedShortLived};
pub use short_lived::ShortLived;
pub use token_request::TokenRequest;
pub use used::{Use, Used, mark};
