//! gatemint: a token service for people with `curl` and programs that loop for months.
//!
//! A username and password, or a refresh token, become a short-lived JWT. The same service runs as AWS Lambda functions
//! and, unchanged, as `gatemint serve` on one machine.
//!
//! # Three sentences that decide most questions
//! 1. Every token has a record; to revoke is to delete the record, or to outdate it (see [`domain::ids::Epoch`]).
//! 2. Nothing replayable is at rest outside the vault: passwords as Argon2id, refresh tokens as a generation number,
//!    client secrets and service accounts' tokens as SHA-256; a token that is always fresh is signed when it is read.
//! 3. A race has one winner: each change of state is one conditional write, and the loser learns what won from it.
//!
//! # Map
//! ```text
//! main, bin ─► cli, lambda ─► http ─► domain ─► store and vault (ports), clock, entropy, metric
//!                    └─ wiring: settings become a store, a vault and a service ─┘
//! ```
//! [`domain`] is what the service does; it never sees a framework, a wire type or the environment. [`store`] and
//! [`vault`] are ports with their backends; a backend never sees the domain. `http` has a folder per dialect: OAuth 2.0,
//! our own resources, Kubernetes, kube-gateway, Apolo, and what proxies ask. `cli` and `lambda` are the two rims; `client` speaks HTTP to a gatemint and to
//! others' JWKS, for `cli` alone; `aws` makes what the two backends of the cloud are built on, whose credentials and which trust, for
//! `wiring`. `cargo check --no-default-features` builds the domain and the memory backends alone.
//!
//! # A refresh's way
//! ```text
//! 1 http/oauth         form → Grant                            parsed once, no I/O
//! 2 grant::exchange    the token's own MAC: a forged one is refused before anything is read
//! 3 store.get          client, session and account together    1 round trip
//! 4                    client authentic? may it? its token? account enabled, same uid, same epoch?
//! 5 refresh::decide    (session, presented, now, window) → Rotate | Repeat | Late | Replay | Expired     pure
//! 6 store.commit       one conditional write                   1 round trip
//! 7 key::jwt           signs with a key pair that was parsed once
//! 8 http/oauth         200, JSON, Cache-Control: no-store
//! ```
//!
//! # A key's way
//! ```text
//! key::rotate   create: the next document is staged in the vault   publish: keys#jwks lists its keys, too
//!               test: what it signs is judged by that row          finish: it becomes the current one, by compare-and-swap
//! a day later   its newest key signs; the one before it judges for 31 days and 2 hours more, and is then dropped
//! ```
//! At every moment the row covers what the vault holds, so a signer never uses a key that a verifier does not know.
//!
//! # A gate token's way
//! ```text
//! gate::mint           may you? what does it name? one record, kept; the token is signed from it at each read
//! gate::link           a browser trades it for a cookie; a one-time link once, by a conditional write
//! http/forward_auth    what a proxy asks about: one family of headers, one canonical path, at most 8 tokens
//! access::verify       signature and kind; then one get: the record, who minted it, the sites   (accounts: 2)
//! ```
//! A path alone never opens a host that a site maps to a resource: there, permissions decide.
//!
//! # A service account's way
//! ```text
//! http/apolo, http/kubernetes   two doors to one object: domain::service_account
//! service_account::manage       made, rotated, ended: its row lists the long-lived tokens, as SHA-256
//! access::permission            may it? the resource's ancestors, for itself and for its roles, in one batch; a deny refuses
//! token_request                 the long-lived token becomes a short-lived one, for an audience, with a record of its own
//! access::verify, token_review  signature and kind, or the digest; then its rows: the account, its owner, the record
//! ```
//! To delete its row ends everything of it; a rotation without overlap ends its tokens of before, the short-lived ones by
//! another epoch.
//!
//! # A fresh token's way
//! ```text
//! grant::password        the sign-in's commit begins the record, if none stands          fresh_token::Beginning
//! http/kubernetes        GET …/secrets/access-token: the owner, an admin, or `read` granted
//! fresh_token::read      the account as it is now; signed for this answer, half an hour to live; nothing is written
//! access::standing       whoever is shown it reads account and record: the session's end is not the token's
//! fresh_token::mirror    for those who ask for it: the same in the vault, written again before 19 minutes are left
//! ```
//! A new password, disabling, deletion or a hand ends the record; the next sign-in begins another. `gatemint agent` keeps
//! files the same way, from the outside.
//!
//! # Glossary
//! *Grant*: what is exchanged for tokens (RFC 6749 §1.3). *Session*: what a sign-in opens; its refresh tokens are
//! numbered by *generation*. *Epoch*: counts how often everything of an account, a service account or a client was ended at once. *Pepper*:
//! the key of refresh tokens' MACs. *Resource*: what a permission is about, `scheme://cluster/namespace[/…]`. *Permission*: what
//! a principal may do with a resource and all below it. *Principal*: who can hold one: a user, a service account, a role.
//! *Role*: a name with a `/` that accounts list; what it was granted, they have. (Roles without a `/` are for others to
//! read in tokens; `admin` is ours.) *Service account*: a program's account in a user's namespace. *Long-lived token*: its
//! own, judged by its record. *Short-lived token*: what it requests with that, for an audience. *Fresh token*: an account's access
//! token that never is old where it is read. *Mirror*: the same, kept in the vault. *Site*: which hosts are which resources. *Gate token*: opens the URLs that it names, and nothing else. *Function*: a Lambda entry, or its
//! routes. *Dialect*: one family of wire formats.

#[cfg(all(feature = "aws", any(feature = "cli", feature = "lambda")))]
pub mod aws;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod client;
pub mod clock;
pub mod domain;
pub mod entropy;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod metric;
#[cfg(any(feature = "cli", feature = "lambda"))]
pub mod settings;
pub mod store;
pub mod vault;
#[cfg(all(feature = "sqlite", any(feature = "cli", feature = "lambda")))]
pub mod wiring;
#[cfg(any(feature = "aws", feature = "cli"))]
mod words;
