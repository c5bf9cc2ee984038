//! OAuth clients: what a program may do here, and how it shows who it is (RFC 6749 §2).

mod client;
pub mod manage;

pub use client::{Client, ClientName, ClientSecretHash, GrantType, Presented};
