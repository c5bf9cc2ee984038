//! May this request pass? Who holds a token, and whether its record still stands; which resource a host is, and who may do
//! what with it.

pub mod permission;
mod resource;
pub mod site;
mod standing;
mod template;
mod verify;

pub use permission::{Action, Permission, allows};
pub use resource::{MAX_RESOURCE, Resource};
pub use site::{Mapping, Site, Sites};
pub use standing::{Caller, Holder, Presented, Standing, caller, standing};
pub use template::{HostTemplate, ResourceTemplate};
pub use verify::{Asked, Passer, verify};
