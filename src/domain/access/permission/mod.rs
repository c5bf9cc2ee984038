//! Who may do what with a resource: what was granted and denied, and what owners and admins have without it.
//!
//! Resources are a tree by segment. What counts for a principal on a resource is what it, and the roles that its account
//! lists now, hold on the resource and on its ancestors: any `deny` refuses, else the highest action counts. A decision reads
//! exactly those rows in one batch, so it does not matter how much else a principal was granted.
//!
//! The members of a role are who has `read` on `role://CLUSTER/` and the role: granting it puts the role into the account's
//! row, where it counts, and revoking takes it out.
//!
//! A row holds the uid of its principal, and of whoever owned the resource's namespace at the time: neither a name that is
//! made again, nor a namespace that somebody else has since, inherits anything. One that was granted while nobody owned
//! the namespace stands whoever comes to own it.

mod action;
mod grants;
mod holdings;
mod question;
mod row;

pub use action::{Action, Permission};
pub(in crate::domain) use grants::sweep;
pub use grants::{MOST_AT_ONCE, grant, replace, revoke};
pub use holdings::{held, missing, shared};
pub use question::{Question, level, may, require};
