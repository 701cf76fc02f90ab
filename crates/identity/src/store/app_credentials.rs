//! Application credentials.

use ferrostack_db::{Row, Select, Tx, is_unique_violation, params};
use ferrostack_types::ids::{ProjectId, RoleId, UserId};
use ferrostack_types::{Error, Result, SortDirection, Timestamp};

/// A secret of a user's, good for some of their roles on one project.
#[derive(Debug, Clone)]
pub(crate) struct AppCredential {
    pub(crate) id: String,
    pub(crate) user_id: UserId,
    pub(crate) project_id: ProjectId,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// Never leaves this crate.
    pub(crate) secret_hash: String,
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether it may make other credentials.
    pub(crate) unrestricted: bool,
    pub(crate) roles: Vec<RoleId>,
}

const COLUMNS: &str = "SELECT id, user_id, project_id, name, description, secret_hash, expires_at, unrestricted \
                       FROM identity_application_credentials";

fn read(row: &Row<'_>) -> Result<AppCredential> {
    Ok(AppCredential {
        id: row.get(0)?,
        user_id: row.get(1)?,
        project_id: row.get(2)?,
        name: row.get(3)?,
        description: row.get(4)?,
        secret_hash: row.get(5)?,
        expires_at: row.get(6)?,
        unrestricted: row.get(7)?,
        roles: Vec::new(),
    })
}

fn with_roles(tx: &mut Tx<'_>, mut credential: AppCredential) -> Result<AppCredential> {
    credential.roles = tx.query(
        "SELECT role_id FROM identity_application_credential_roles WHERE application_credential_id = ? ORDER BY role_id",
        params![&credential.id],
        |row| row.get(0),
    )?;
    Ok(credential)
}

pub(crate) fn app_credential_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<AppCredential>> {
    let found = tx.query_opt(&format!("{COLUMNS} WHERE id = ?"), params![id], read)?;
    found.map(|credential| with_roles(tx, credential)).transpose()
}

pub(crate) fn app_credential_fetch_by_name(
    tx: &mut Tx<'_>,
    user: &UserId,
    name: &str,
) -> Result<Option<AppCredential>> {
    let found = tx.query_opt(&format!("{COLUMNS} WHERE user_id = ? AND name = ?"), params![user, name], read)?;
    found.map(|credential| with_roles(tx, credential)).transpose()
}

/// A user's credentials by name, in two queries.
pub(crate) fn app_credential_list(tx: &mut Tx<'_>, user: &UserId, name: Option<&str>) -> Result<Vec<AppCredential>> {
    let mut found = Select::new(COLUMNS)
        .filter("user_id = ?", user)
        .filter_opt("name = ?", name)
        .order("name", SortDirection::Asc)
        .fetch(tx, read)?;
    let roles = tx.query(
        "SELECT application_credential_id, role_id FROM identity_application_credential_roles WHERE \
         application_credential_id IN (SELECT id FROM identity_application_credentials WHERE user_id = ?) \
         ORDER BY role_id",
        params![user],
        |row| Ok((row.get::<String>(0)?, row.get::<RoleId>(1)?)),
    )?;
    for credential in &mut found {
        credential.roles = roles.iter().filter(|(id, _)| *id == credential.id).map(|(_, role)| role.clone()).collect();
    }
    Ok(found)
}

pub(crate) fn app_credential_insert(tx: &mut Tx<'_>, credential: &AppCredential) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_application_credentials (id, user_id, project_id, name, description, secret_hash, \
         expires_at, unrestricted) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            &credential.id,
            &credential.user_id,
            &credential.project_id,
            &credential.name,
            credential.description.as_ref(),
            &credential.secret_hash,
            credential.expires_at,
            credential.unrestricted
        ],
    )
    .map_err(|e| duplicate(e, credential))?;
    for role in &credential.roles {
        tx.execute(
            "INSERT INTO identity_application_credential_roles (application_credential_id, role_id) VALUES (?, ?)",
            params![&credential.id, role],
        )?;
    }
    Ok(())
}

pub(crate) fn app_credential_delete(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    tx.execute("DELETE FROM identity_application_credential_roles WHERE application_credential_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_application_credentials WHERE id = ?", params![id]).map(drop)
}

pub(crate) fn app_credentials_delete_of_user(tx: &mut Tx<'_>, user: &UserId) -> Result<()> {
    delete_where(tx, "user_id = ?", params![user])
}

pub(crate) fn app_credentials_delete_of_project(tx: &mut Tx<'_>, project: &ProjectId) -> Result<()> {
    delete_where(tx, "project_id = ?", params![project])
}

/// Those of a user on a project: a role was taken from them there.
pub(crate) fn app_credentials_delete_of(tx: &mut Tx<'_>, user: &str, project: &str) -> Result<()> {
    delete_where(tx, "user_id = ? AND project_id = ?", params![user, project])
}

fn delete_where(tx: &mut Tx<'_>, condition: &'static str, params: &[ferrostack_db::Value]) -> Result<()> {
    tx.execute(
        &format!(
            "DELETE FROM identity_application_credential_roles WHERE application_credential_id IN \
             (SELECT id FROM identity_application_credentials WHERE {condition})"
        ),
        params,
    )?;
    tx.execute(&format!("DELETE FROM identity_application_credentials WHERE {condition}"), params).map(drop)
}

fn duplicate(error: Error, credential: &AppCredential) -> Error {
    if is_unique_violation(&error) {
        return crate::errors::duplicate("application_credential", &credential.name);
    }
    error
}
