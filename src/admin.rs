//! In the making.

mod audit;
mod desk;
mod keys;
mod order;
mod page;
mod refusal;
mod role;

pub use audit::AuditEntry;
pub use desk::{Desk, JobOnDesk, Ordered, Purged, Toggled};
pub use keys::{ApiKeys, InvalidKeyId, KeyError, KeyId, KeyRecord};
pub use order::{Order, OrderError};
pub use page::{Ask, InvalidLimit, InvalidPlace, Limit, Paged, Place};
pub use refusal::{Refusal, Sort};
pub use role::{Actor, Admin, AtLeast, InvalidRole, May, Operator, Rank, Role, Viewer};
