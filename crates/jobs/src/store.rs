//! The workflows' table. Every statement that a running workflow makes is fenced by its epoch.

use crate::Failure;
use ferrostack_db::{Migration, Row, Tx, Value, params, placeholders};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Error, Result, Timestamp};

/// The tables of this crate.
pub const MIGRATIONS: &[Migration] = &[Migration {
    service: "jobs",
    version: 1,
    sql: "
CREATE TABLE jobs_workflows (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    kind VARCHAR(64) NOT NULL,
    version INTEGER NOT NULL,
    subject VARCHAR(128) NOT NULL,
    place BIGINT NOT NULL,
    status VARCHAR(16) NOT NULL,
    due_at BIGINT,
    owner VARCHAR(128),
    epoch BIGINT NOT NULL,
    undoing INTEGER NOT NULL,
    step INTEGER NOT NULL,
    step_since BIGINT NOT NULL,
    failures INTEGER NOT NULL,
    failing_since BIGINT,
    wakeups BIGINT NOT NULL,
    interrupted INTEGER NOT NULL,
    failure TEXT,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX jobs_workflows_place ON jobs_workflows (subject, place);
CREATE INDEX jobs_workflows_due ON jobs_workflows (due_at);
CREATE INDEX jobs_workflows_owner ON jobs_workflows (owner);
CREATE TABLE jobs_leases (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    owner VARCHAR(128) NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    hints BIGINT NOT NULL
);
",
}];

/// Behind another workflow of its subject; nobody may claim it.
pub(crate) const QUEUED: &str = "queued";
/// Anybody may claim it.
pub(crate) const READY: &str = "ready";
/// Its owner works on it until `due_at`, when the lease ends.
pub(crate) const RUNNING: &str = "running";
/// Waits for a wake-up or for `due_at`.
pub(crate) const PARKED: &str = "parked";
/// Waits for `due_at` after an error.
pub(crate) const BACKOFF: &str = "backoff";

const COLUMNS: &str = "id, kind, version, subject, epoch, undoing, step, step_since, failures, failing_since, wakeups, \
                       interrupted, failure, state";

/// A workflow that this process holds the lease of.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    pub(crate) id: WorkflowId,
    pub(crate) kind: String,
    pub(crate) version: u32,
    pub(crate) subject: String,
    pub(crate) epoch: i64,
    pub(crate) undoing: bool,
    /// Forward: the next step to run. Undoing: how many steps are left to undo.
    pub(crate) step: usize,
    pub(crate) step_since: Timestamp,
    pub(crate) failures: u32,
    pub(crate) failing_since: Option<Timestamp>,
    /// The counter of wake-ups as it was before the next step began.
    pub(crate) wakeups: i64,
    pub(crate) interrupted: bool,
    pub(crate) failure: Option<String>,
    pub(crate) state: String,
}

fn read_claimed(row: &Row<'_>) -> Result<Claimed> {
    Ok(Claimed {
        id: row.get(0)?,
        kind: row.get(1)?,
        version: row.get(2)?,
        subject: row.get(3)?,
        epoch: row.get(4)?,
        undoing: row.get(5)?,
        step: row.get(6)?,
        step_since: row.get(7)?,
        failures: row.get(8)?,
        failing_since: row.get(9)?,
        wakeups: row.get(10)?,
        interrupted: row.get(11)?,
        failure: row.get(12)?,
        state: row.get(13)?,
    })
}

/// Who claims, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) owner: String,
    pub(crate) until: Timestamp,
}

pub(crate) struct New<'a> {
    pub(crate) id: WorkflowId,
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
    pub(crate) subject: &'a str,
    pub(crate) state: &'a str,
    pub(crate) now: Timestamp,
}

/// Inserts a workflow at the end of its subject's queue. At the head of it, it is leased at once if there is a lease.
pub(crate) fn insert(tx: &mut Tx<'_>, new: &New<'_>, lease: Option<&Lease>) -> Result<Option<Claimed>> {
    let last: Option<i64> = tx.query_opt(
        "SELECT place FROM jobs_workflows WHERE subject = ? ORDER BY place DESC LIMIT 1",
        params![new.subject],
        |row| row.get(0),
    )?;
    let (status, due_at) = match (last, lease) {
        (Some(_), _) => (QUEUED, None),
        (None, Some(lease)) => (RUNNING, Some(lease.until)),
        (None, None) => (READY, Some(new.now)),
    };
    let lease = lease.filter(|_| last.is_none());
    let epoch = i64::from(lease.is_some());
    tx.execute(
        "INSERT INTO jobs_workflows (id, kind, version, subject, place, status, due_at, owner, epoch, undoing, step,
             step_since, failures, failing_since, wakeups, interrupted, failure, state, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, 0, NULL, 0, 0, NULL, ?, ?)",
        params![
            new.id,
            new.kind,
            new.version,
            new.subject,
            last.unwrap_or(0) + 1,
            status,
            due_at,
            lease.map(|l| l.owner.as_str()),
            epoch,
            new.now,
            new.state,
            new.now
        ],
    )?;
    Ok(lease.map(|_| Claimed {
        id: new.id,
        kind: new.kind.to_owned(),
        version: new.version,
        subject: new.subject.to_owned(),
        epoch,
        undoing: false,
        step: 0,
        step_since: new.now,
        failures: 0,
        failing_since: None,
        wakeups: 0,
        interrupted: false,
        failure: None,
        state: new.state.to_owned(),
    }))
}

/// Counts a wake-up for everything of the subject; what is parked may be claimed from now on. The ids of that.
pub(crate) fn wake(tx: &mut Tx<'_>, subject: &str, now: Timestamp) -> Result<Vec<WorkflowId>> {
    let woken = tx.execute("UPDATE jobs_workflows SET wakeups = wakeups + 1 WHERE subject = ?", params![subject])?;
    if woken == 0 {
        return Ok(Vec::new());
    }
    let parked =
        tx.query("SELECT id FROM jobs_workflows WHERE subject = ? AND status = ?", params![subject, PARKED], |row| {
            row.get(0)
        })?;
    make_ready(tx, &parked, now)?;
    Ok(parked)
}

/// Flags the subject's workflows of a kind (or all) that still go forward, and makes those that wait claimable.
pub(crate) fn interrupt(
    tx: &mut Tx<'_>,
    subject: &str,
    kind: Option<&str>,
    now: Timestamp,
) -> Result<(Vec<WorkflowId>, Vec<WorkflowId>)> {
    let found: Vec<(WorkflowId, String, String, bool)> = tx.query(
        "SELECT id, kind, status, undoing FROM jobs_workflows WHERE subject = ? AND interrupted = 0 ORDER BY place",
        params![subject],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    let (mut flagged, mut ready) = (Vec::new(), Vec::new());
    for (id, _, status, undoing) in found.into_iter().filter(|row| kind.is_none_or(|kind| kind == row.1)) {
        tx.execute("UPDATE jobs_workflows SET interrupted = 1 WHERE id = ?", params![id])?;
        flagged.push(id);
        // One that is being undone goes on as it was, but will not be allowed to begin again.
        if !undoing && (status == PARKED || status == BACKOFF) {
            ready.push(id);
        }
    }
    make_ready(tx, &ready, now)?;
    Ok((flagged, ready))
}

fn make_ready(tx: &mut Tx<'_>, ids: &[WorkflowId], now: Timestamp) -> Result<()> {
    for id in ids {
        tx.execute("UPDATE jobs_workflows SET status = ?, due_at = ? WHERE id = ?", params![READY, now, id])?;
    }
    Ok(())
}

/// A subject's first workflow has ended: the next one may be claimed. Its id.
pub(crate) fn promote(tx: &mut Tx<'_>, subject: &str, now: Timestamp) -> Result<Option<WorkflowId>> {
    let head: Option<(WorkflowId, String)> = tx.query_opt(
        "SELECT id, status FROM jobs_workflows WHERE subject = ? ORDER BY place LIMIT 1",
        params![subject],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    match head {
        Some((id, status)) if status == QUEUED => {
            make_ready(tx, &[id], now)?;
            Ok(Some(id))
        }
        _ => Ok(None),
    }
}

/// Subjects whose head is queued behind nobody. Impossible where writes are serial; where they are not, a workflow can
/// be inserted behind one that ends at the same moment.
pub(crate) fn stranded_subjects(tx: &mut Tx<'_>) -> Result<Vec<String>> {
    tx.query(
        "SELECT w.subject FROM jobs_workflows w WHERE w.status = ? AND NOT EXISTS
             (SELECT 1 FROM jobs_workflows o WHERE o.subject = w.subject AND o.place < w.place)",
        params![QUEUED],
        |row| row.get(0),
    )
}

/// Takes the lease of one workflow that is due; `None` if somebody else was quicker or it is not of these kinds.
pub(crate) fn claim(
    tx: &mut Tx<'_>,
    id: WorkflowId,
    kinds: &[&'static str],
    lease: &Lease,
    now: Timestamp,
) -> Result<Option<Claimed>> {
    let found = tx.query_opt(
        &format!("SELECT {COLUMNS} FROM jobs_workflows WHERE id = ? AND due_at <= ?"),
        params![id, now],
        read_claimed,
    )?;
    let Some(mut claimed) = found.filter(|c| kinds.contains(&c.kind.as_str())) else {
        return Ok(None);
    };
    let taken = tx.execute(
        "UPDATE jobs_workflows SET status = ?, owner = ?, epoch = epoch + 1, due_at = ?
         WHERE id = ? AND epoch = ? AND due_at <= ?",
        params![RUNNING, lease.owner.as_str(), lease.until, id, claimed.epoch, now],
    )?;
    claimed.epoch += 1;
    Ok((taken == 1).then_some(claimed))
}

/// What may be claimed now, longest due first.
pub(crate) fn due(tx: &mut Tx<'_>, kinds: &[&'static str], now: Timestamp, most: usize) -> Result<Vec<WorkflowId>> {
    if kinds.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT id FROM jobs_workflows WHERE due_at <= ? AND kind IN ({}) ORDER BY due_at LIMIT ?",
        placeholders(kinds.len())
    );
    let mut values = vec![Value::from(now)];
    values.extend(kinds.iter().map(|k| Value::from(*k)));
    values.push(Value::from(most));
    tx.query(&sql, &values, |row| row.get(0))
}

/// When the next of them is due, after `now`.
pub(crate) fn next_due(tx: &mut Tx<'_>, now: Timestamp) -> Result<Option<Timestamp>> {
    tx.query_opt(
        "SELECT due_at FROM jobs_workflows WHERE due_at > ? AND status <> ? ORDER BY due_at LIMIT 1",
        params![now, RUNNING],
        |row| row.get(0),
    )
}

/// Extends all leases of an owner. The ids of those that are to be interrupted.
pub(crate) fn renew(tx: &mut Tx<'_>, lease: &Lease) -> Result<Vec<WorkflowId>> {
    tx.execute("UPDATE jobs_workflows SET due_at = ? WHERE owner = ?", params![lease.until, lease.owner.as_str()])?;
    tx.query(
        "SELECT id FROM jobs_workflows WHERE owner = ? AND interrupted = 1 AND undoing = 0",
        params![lease.owner.as_str()],
        |row| row.get(0),
    )
}

/// Gives back every lease of an owner (or, without one, of everybody). The epoch grows, so that a save which the former
/// owner had on its way finds its lease gone: it would put the workflow off until that lease had ended.
pub(crate) fn release_all(tx: &mut Tx<'_>, owner: Option<&str>, now: Timestamp) -> Result<usize> {
    let set = "UPDATE jobs_workflows SET status = ?, owner = NULL, epoch = epoch + 1, due_at = ?";
    match owner {
        Some(owner) => tx.execute(&format!("{set} WHERE owner = ?"), params![READY, now, owner]),
        None => tx.execute(&format!("{set} WHERE owner IS NOT NULL"), params![READY, now]),
    }
}

/// A lease: which workflow, and which claim of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fence {
    pub(crate) id: WorkflowId,
    pub(crate) epoch: i64,
}

/// What became of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saved {
    /// It is saved; the counter of wake-ups at that moment.
    Yes {
        /// The counter.
        wakeups: i64,
    },
    /// Instead of parking: a wake-up came since the step began.
    Woken {
        /// The counter.
        wakeups: i64,
    },
    /// Instead of what was to be saved: the workflow turns back, because it was interrupted.
    Interrupted,
    /// Somebody else holds the lease, or the workflow has ended. Nothing was saved.
    Lost,
}

/// Where a workflow stands, as saved.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub(crate) step: usize,
    pub(crate) version: u32,
    pub(crate) state: String,
    pub(crate) now: Timestamp,
    pub(crate) lease_until: Timestamp,
}

/// Only an undone workflow takes no notice of an interrupt.
const GO_ON: &str = "id = ? AND epoch = ? AND (interrupted = 0 OR undoing = 1)";

/// Records the progress of a workflow, either way.
pub(crate) fn advance(tx: &mut Tx<'_>, fence: Fence, to: &Position) -> Result<Saved> {
    let saved = tx.execute(
        &format!(
            "UPDATE jobs_workflows SET step = ?, version = ?, state = ?, step_since = ?, failures = 0,
                 failing_since = NULL, due_at = ? WHERE {GO_ON}"
        ),
        params![to.step, to.version, to.state.as_str(), to.now, to.lease_until, fence.id, fence.epoch],
    )?;
    if saved == 0 { turn_back_interrupted(tx, fence, to) } else { current(tx, fence) }
}

/// A forward save found the interrupt. The state that the step made is kept: its undo may need it.
fn turn_back_interrupted(tx: &mut Tx<'_>, fence: Fence, at: &Position) -> Result<Saved> {
    let failure = Failure::interruption();
    match turn_back(tx, fence, at, &failure)? {
        Saved::Yes { .. } => Ok(Saved::Interrupted),
        other => Ok(other),
    }
}

/// Records that a workflow turns back; `at.step` is how many steps are to be undone.
pub(crate) fn turn_back(tx: &mut Tx<'_>, fence: Fence, at: &Position, failure: &Failure) -> Result<Saved> {
    let failure = serde_json::to_string(failure).map_err(|e| Error::from_source("write a failure", e))?;
    let saved = tx.execute(
        "UPDATE jobs_workflows SET undoing = 1, step = ?, version = ?, state = ?, step_since = ?, failures = 0,
             failing_since = NULL, failure = ?, due_at = ? WHERE id = ? AND epoch = ?",
        params![at.step, at.version, at.state.as_str(), at.now, failure, at.lease_until, fence.id, fence.epoch],
    )?;
    if saved == 0 { Ok(Saved::Lost) } else { current(tx, fence) }
}

fn current(tx: &mut Tx<'_>, fence: Fence) -> Result<Saved> {
    let wakeups = tx.scalar("SELECT wakeups FROM jobs_workflows WHERE id = ?", params![fence.id])?;
    Ok(Saved::Yes { wakeups })
}

/// Begins again after undo, unless it was interrupted meanwhile: then it goes through `after_undo` once more.
pub(crate) fn begin_again(tx: &mut Tx<'_>, fence: Fence, at: &Position) -> Result<Saved> {
    let saved = tx.execute(
        "UPDATE jobs_workflows SET undoing = 0, step = 0, version = ?, state = ?, step_since = ?, failures = 0,
             failing_since = NULL, failure = NULL, due_at = ? WHERE id = ? AND epoch = ? AND interrupted = 0",
        params![at.version, at.state.as_str(), at.now, at.lease_until, fence.id, fence.epoch],
    )?;
    if saved == 0 { turn_back_interrupted(tx, fence, at) } else { current(tx, fence) }
}

/// Ends a workflow. The effects come after this, then [`promote`].
pub(crate) fn finish(tx: &mut Tx<'_>, fence: Fence, at: &Position) -> Result<Saved> {
    let ended = tx.execute(&format!("DELETE FROM jobs_workflows WHERE {GO_ON}"), params![fence.id, fence.epoch])?;
    if ended == 0 { turn_back_interrupted(tx, fence, at) } else { Ok(Saved::Yes { wakeups: 0 }) }
}

/// Gives the lease back until a wake-up or `until`. `seen` is the counter of wake-ups from before the step began:
/// a different one now means that what the step looked at may have changed since.
pub(crate) fn park(tx: &mut Tx<'_>, fence: Fence, at: &Position, seen: i64, until: Timestamp) -> Result<Saved> {
    let parked = tx.execute(
        &format!(
            "UPDATE jobs_workflows SET status = ?, owner = NULL, due_at = ?, version = ?, state = ?, failures = 0,
                 failing_since = NULL WHERE {GO_ON} AND wakeups = ?"
        ),
        params![PARKED, until, at.version, at.state.as_str(), fence.id, fence.epoch, seen],
    )?;
    if parked == 1 {
        return Ok(Saved::Yes { wakeups: seen });
    }
    let found: Option<(i64, bool)> = tx.query_opt(
        "SELECT wakeups, CASE WHEN interrupted = 1 AND undoing = 0 THEN 1 ELSE 0 END
         FROM jobs_workflows WHERE id = ? AND epoch = ?",
        params![fence.id, fence.epoch],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    match found {
        None => Ok(Saved::Lost),
        // The step that is waiting has begun: it is undone, too.
        Some((_, true)) => turn_back_interrupted(tx, fence, &Position { step: at.step + 1, ..at.clone() }),
        Some((wakeups, false)) => Ok(Saved::Woken { wakeups }),
    }
}

/// Gives the lease back until `until` after an error. The state stays as it was before the step.
pub(crate) fn back_off(
    tx: &mut Tx<'_>,
    fence: Fence,
    failures: u32,
    failing_since: Timestamp,
    until: Timestamp,
    now: Timestamp,
) -> Result<Saved> {
    let saved = tx.execute(
        "UPDATE jobs_workflows SET status = ?, owner = NULL, failures = ?, failing_since = ?,
             due_at = CASE WHEN interrupted = 1 AND undoing = 0 THEN ? ELSE ? END WHERE id = ? AND epoch = ?",
        params![BACKOFF, failures, failing_since, now, until, fence.id, fence.epoch],
    )?;
    Ok(if saved == 0 { Saved::Lost } else { Saved::Yes { wakeups: 0 } })
}
