//! In the making.

mod audit;
mod keys;
mod role;

pub use audit::AuditEntry;
pub use keys::{ApiKeys, InvalidKeyId, KeyError, KeyId, KeyRecord};
pub use role::{Actor, Admin, AtLeast, InvalidRole, May, Operator, Rank, Role, Viewer};
