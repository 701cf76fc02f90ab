//! `compute_actions`: what was done to a server, by whom, and how it ended.
//!
//! Each of our actions has one event, so both are one row.

use ferrostack_db::{Row, Select, Tx, params};
use ferrostack_types::ids::{ProjectId, ServerId, UserId};
use ferrostack_types::{Result, SortDirection, Timestamp};

/// An action with its event.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    pub(crate) request_id: String,
    pub(crate) server: ServerId,
    pub(crate) action: String,
    pub(crate) project: ProjectId,
    pub(crate) user: UserId,
    pub(crate) message: Option<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) event: Option<Event>,
}

/// The event of an action.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) result: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) details: Option<String>,
}

const SELECT: &str =
    "SELECT request_id, server_id, action, project_id, user_id, message, started_at, updated_at, event,
    event_started_at, event_finished_at, event_result, event_host, event_details FROM compute_actions";

fn read(row: &Row<'_>) -> Result<Action> {
    let name: Option<String> = row.get(8)?;
    let started: Option<Timestamp> = row.get(9)?;
    let started_at: Timestamp = row.get(6)?;
    let rest = (row.get(10)?, row.get(11)?, row.get(12)?, row.get(13)?);
    let event = name.map(|name| Event {
        name,
        started_at: started.unwrap_or(started_at),
        finished_at: rest.0,
        result: rest.1,
        host: rest.2,
        details: rest.3,
    });
    Ok(Action {
        request_id: row.get(0)?,
        server: row.get(1)?,
        action: row.get(2)?,
        project: row.get(3)?,
        user: row.get(4)?,
        message: row.get(5)?,
        started_at,
        updated_at: row.get(7)?,
        event,
    })
}

/// Who does what to which server.
#[derive(Debug, Clone)]
pub(crate) struct NewAction {
    pub(crate) request_id: String,
    pub(crate) action: &'static str,
    /// The name of its event; none for what is over at once.
    pub(crate) event: Option<&'static str>,
    pub(crate) project: ProjectId,
    pub(crate) user: UserId,
}

/// Notes that something is done. The same request may touch a server once only.
pub(crate) fn action_insert_in_tx(tx: &mut Tx<'_>, new: &NewAction, server: ServerId, now: Timestamp) -> Result<()> {
    tx.execute("DELETE FROM compute_actions WHERE server_id = ? AND request_id = ?", params![server, &new.request_id])?;
    tx.execute(
        "INSERT INTO compute_actions (request_id, server_id, action, project_id, user_id, message, started_at,
             updated_at, event, event_started_at) VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?, ?)",
        params![
            &new.request_id,
            server,
            new.action,
            &new.project,
            &new.user,
            now,
            now,
            new.event,
            new.event.map(|_| now)
        ],
    )?;
    Ok(())
}

/// Notes how the server's unfinished actions ended.
pub(crate) fn actions_finish_in_tx(
    tx: &mut Tx<'_>,
    server: ServerId,
    host: Option<&str>,
    error: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<()> {
    let (result, message, details) = match error {
        None => ("Success", None, None),
        Some((public, _)) => ("Error", Some("Error"), Some(public)),
    };
    tx.execute(
        "UPDATE compute_actions SET message = ?, updated_at = ?, event_finished_at = ?, event_result = ?,
             event_host = ?, event_details = ?
         WHERE server_id = ? AND event IS NOT NULL AND event_finished_at IS NULL",
        params![message, now, now, result, host, details, server],
    )?;
    Ok(())
}

/// A page of a server's actions, newest first.
pub(crate) fn action_list_in_tx(
    tx: &mut Tx<'_>,
    server: ServerId,
    since: Option<Timestamp>,
    before: Option<Timestamp>,
    marker: Option<&Action>,
    limit: Option<usize>,
) -> Result<Vec<Action>> {
    let mut select = Select::new(SELECT)
        .filter("server_id = ?", server)
        .filter_opt("updated_at >= ?", since)
        .filter_opt("updated_at <= ?", before)
        .order("started_at", SortDirection::Desc)
        .order("request_id", SortDirection::Desc);
    if let Some(marker) = marker {
        select = select.after(params![marker.started_at, &marker.request_id]);
    }
    select.limit(limit).fetch(tx, read)
}

/// One action.
pub(crate) fn action_fetch_in_tx(tx: &mut Tx<'_>, server: ServerId, request: &str) -> Result<Option<Action>> {
    Ok(Select::new(SELECT).filter("server_id = ?", server).filter("request_id = ?", request).fetch(tx, read)?.pop())
}
