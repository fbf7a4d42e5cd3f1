//! Who may do what, as types: a [`May<R>`] is the proof that somebody was asked for the role `R` and has it.
//!
//! Every function of the [`Desk`](super::Desk) that shows or changes something wants such a proof, so that a handler
//! which changes things can't be written without asking for the role. Only the gate (for a request with a key) and
//! [`May::local`] (for whoever can open the store's files anyway) make one.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::audit::Actor;

/// What a key allows; each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks: lists, counts, reasons, but neither payloads nor results.
    Viewer,
    /// Runs the house: pauses, retries, cancels, enqueues; sees payloads and results.
    Operator,
    /// Destroys and lets in: purges, deletes, keys, endpoints, the audit log.
    Admin,
}

impl Role {
    /// All roles, the weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The role's one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; allowed: viewer, operator, admin")]
pub struct InvalidRole(String);

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let found = Self::ALL.into_iter().find(|r| r.as_str() == text);
        found.ok_or_else(|| InvalidRole(text.chars().take(80).collect()))
    }
}

/// A role as a type.
pub trait Rank: fmt::Debug + Send + Sync + 'static {
    /// The same as a value.
    const ROLE: Role;
}

/// [`Role::Viewer`] as a type.
#[derive(Debug)]
pub enum Viewer {}
/// [`Role::Operator`] as a type.
#[derive(Debug)]
pub enum Operator {}
/// [`Role::Admin`] as a type.
#[derive(Debug)]
pub enum Admin {}

impl Rank for Viewer {
    const ROLE: Role = Role::Viewer;
}
impl Rank for Operator {
    const ROLE: Role = Role::Operator;
}
impl Rank for Admin {
    const ROLE: Role = Role::Admin;
}

/// Ranks that may do what `R` may.
pub trait AtLeast<R: Rank>: Rank {}
impl AtLeast<Viewer> for Viewer {}
impl AtLeast<Viewer> for Operator {}
impl AtLeast<Viewer> for Admin {}
impl AtLeast<Operator> for Operator {}
impl AtLeast<Operator> for Admin {}
impl AtLeast<Admin> for Admin {}

impl Actor {
    /// The same as a job's `enqueued_by`: `api:<key id>` or `cli:<name>`.
    pub(super) fn enqueuer(&self) -> String {
        self.name.strip_prefix("key:").map_or_else(|| self.name.to_string(), |id| format!("api:{id}"))
    }
}

/// The proof that its holder may do what the rank `R` may.
#[derive(Debug)]
pub struct May<R: Rank> {
    actor: Actor,
    role: Role,
    rank: PhantomData<fn() -> R>,
}

impl May<Admin> {
    /// For the command line: whoever can open the store's files may do everything with them.
    pub fn local(name: &str) -> Self {
        let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        let actor = Actor { name: format!("cli:{name}").into(), source: "local".into() };
        Self { actor, role: Role::Admin, rank: PhantomData }
    }
}

impl<R: Rank> May<R> {
    /// The proof for somebody with `role`; none when that is not enough.
    pub(super) fn granted(actor: Actor, role: Role) -> Option<Self> {
        (role >= R::ROLE).then_some(Self { actor, role, rank: PhantomData })
    }

    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The role that was found, which may be more than `R`.
    pub fn role(&self) -> Role {
        self.role
    }
}
