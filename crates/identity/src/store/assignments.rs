//! Who holds which role where.

use ferrostack_db::{Row, Select, Tx, params};
use ferrostack_types::ids::RoleId;
use ferrostack_types::{Error, Result, SortDirection};

/// Who a role is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ActorKind {
    User,
    Group,
}

/// What a role is given on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TargetKind {
    Project,
    Domain,
    System,
}

impl ActorKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            ActorKind::User => "user",
            ActorKind::Group => "group",
        }
    }
}

impl TargetKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            TargetKind::Project => "project",
            TargetKind::Domain => "domain",
            TargetKind::System => "system",
        }
    }
}

/// The id under which assignments on the system are stored.
pub(crate) const SYSTEM: &str = "system";

/// A role given to somebody on something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Assignment {
    pub(crate) actor_kind: ActorKind,
    pub(crate) actor_id: String,
    pub(crate) target_kind: TargetKind,
    pub(crate) target_id: String,
    pub(crate) role_id: RoleId,
    /// Holds for the projects below the target, not for the target itself.
    pub(crate) inherited: bool,
}

/// Which assignments.
#[derive(Debug, Clone, Default)]
pub(crate) struct AssignmentFilter {
    pub(crate) actor: Option<(ActorKind, String)>,
    pub(crate) target: Option<(TargetKind, String)>,
    pub(crate) role_id: Option<String>,
    pub(crate) inherited: Option<bool>,
}

const COLUMNS: &str =
    "SELECT actor_kind, actor_id, target_kind, target_id, role_id, inherited FROM identity_assignments";

fn read(row: &Row<'_>) -> Result<Assignment> {
    let actor_kind = match row.get::<String>(0)?.as_str() {
        "user" => ActorKind::User,
        "group" => ActorKind::Group,
        other => return Err(Error::internal(format!("an assignment to a {other}"))),
    };
    let target_kind = match row.get::<String>(2)?.as_str() {
        "project" => TargetKind::Project,
        "domain" => TargetKind::Domain,
        "system" => TargetKind::System,
        other => return Err(Error::internal(format!("an assignment on a {other}"))),
    };
    Ok(Assignment {
        actor_kind,
        actor_id: row.get(1)?,
        target_kind,
        target_id: row.get(3)?,
        role_id: row.get(4)?,
        inherited: row.get(5)?,
    })
}

pub(crate) fn assignment_list(tx: &mut Tx<'_>, filter: &AssignmentFilter) -> Result<Vec<Assignment>> {
    let mut select = Select::new(COLUMNS)
        .filter_opt("role_id = ?", filter.role_id.as_deref())
        .filter_opt("inherited = ?", filter.inherited);
    if let Some((kind, id)) = &filter.actor {
        select = select.filter("actor_kind = ?", kind.as_str()).filter("actor_id = ?", id);
    }
    if let Some((kind, id)) = &filter.target {
        select = select.filter("target_kind = ?", kind.as_str()).filter("target_id = ?", id);
    }
    select
        .order("target_kind", SortDirection::Asc)
        .order("target_id", SortDirection::Asc)
        .order("actor_kind", SortDirection::Asc)
        .order("actor_id", SortDirection::Asc)
        .order("role_id", SortDirection::Asc)
        .order("inherited", SortDirection::Asc)
        .fetch(tx, read)
}

/// Everything that a user holds, in person and through groups.
pub(crate) fn assignment_list_of_user(tx: &mut Tx<'_>, user: &str) -> Result<Vec<Assignment>> {
    let sql = format!(
        "{COLUMNS} WHERE (actor_kind = 'user' AND actor_id = ?) OR (actor_kind = 'group' AND actor_id IN \
         (SELECT group_id FROM identity_memberships WHERE user_id = ?))"
    );
    tx.query(&sql, params![user, user], read)
}

pub(crate) fn assignment_exists(tx: &mut Tx<'_>, a: &Assignment) -> Result<bool> {
    tx.exists(
        "SELECT 1 FROM identity_assignments WHERE actor_kind = ? AND actor_id = ? AND target_kind = ? AND \
         target_id = ? AND role_id = ? AND inherited = ?",
        params![a.actor_kind.as_str(), &a.actor_id, a.target_kind.as_str(), &a.target_id, &a.role_id, a.inherited],
    )
}

/// Repeatable.
pub(crate) fn assignment_insert(tx: &mut Tx<'_>, a: &Assignment) -> Result<()> {
    if assignment_exists(tx, a)? {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO identity_assignments (actor_kind, actor_id, target_kind, target_id, role_id, inherited) \
         VALUES (?, ?, ?, ?, ?, ?)",
        params![a.actor_kind.as_str(), &a.actor_id, a.target_kind.as_str(), &a.target_id, &a.role_id, a.inherited],
    )
    .map(drop)
}

/// Whether it was there.
pub(crate) fn assignment_delete(tx: &mut Tx<'_>, a: &Assignment) -> Result<bool> {
    let gone = tx.execute(
        "DELETE FROM identity_assignments WHERE actor_kind = ? AND actor_id = ? AND target_kind = ? AND \
         target_id = ? AND role_id = ? AND inherited = ?",
        params![a.actor_kind.as_str(), &a.actor_id, a.target_kind.as_str(), &a.target_id, &a.role_id, a.inherited],
    )?;
    Ok(gone > 0)
}
