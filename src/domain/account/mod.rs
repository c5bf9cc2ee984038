//! People's accounts: what is kept of one, how her password is judged, and how guessing it is slowed down.

mod account;
pub mod attempt;
mod hashing;
pub mod manage;
mod password;
pub mod throttle;

pub use account::{Account, AccountName, NamespaceOwner};
pub use hashing::{Comer, Hashing, HashingQueueFull, QueuePlace};
pub use password::{PasswordHash, PasswordPolicy};
