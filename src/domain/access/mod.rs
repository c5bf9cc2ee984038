//! May this request pass? Who holds a token, and whether its record still stands; which resource a host is, and who may do
//! what with it.

pub mod permission;
mod principal;
mod resource;
pub mod site;
mod standing;
mod subject;
mod template;
mod verify;

pub use permission::{Action, Permission, Question};
pub use principal::Principal;
pub use resource::{MAX_DEPTH, MAX_RESOURCE, Resource};
pub use site::{Mapping, Site, Sites};
pub use standing::{AccountRecord, Caller, Holder, Identity, Presented, Standing, caller, identity, standing};
pub use subject::Subject;
pub use template::{HostTemplate, ResourceTemplate};
pub use verify::{Asked, Passer, verify};
