//! `/os-simple-tenant-usage`, from the servers' rows: as far back as deleted servers are kept.

use crate::Compute;
use crate::model::Server;
use crate::store::servers::{ServerFilter, servers_where_in_tx};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::ProjectId;
use ferrostack_types::{Error, Result, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

struct Period {
    start: Timestamp,
    stop: Timestamp,
    now: Timestamp,
}

fn period(compute: &Compute, request: &Request) -> Result<Period> {
    let now = compute.env.now();
    let time = |key: &str, default: Timestamp| match request.query.get(key).filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => {
            Timestamp::parse(text).ok_or_else(|| Error::invalid(format!("Datetime is in invalid format: {text}")))
        }
    };
    let stop = time("end", now)?;
    let start = time("start", stop - Duration::from_secs(28 * 86_400))?;
    if start >= stop {
        return Err(Error::invalid("Invalid start time. The start time cannot occur after the end time."));
    }
    Ok(Period { start, stop, now })
}

async fn servers(compute: &Compute, period: &Period, project: Option<ProjectId>) -> Result<Vec<Server>> {
    let mut filter = ServerFilter::default();
    filter.with("created_at < ?", period.stop);
    filter.with("terminated_at IS NULL OR terminated_at >= ?", period.start);
    if let Some(project) = &project {
        filter.with("project_id = ?", project);
    }
    compute.db.read("usage", move |tx| servers_where_in_tx(tx, &filter)).await
}

fn hours(period: &Period, server: &Server) -> f64 {
    let Some(launched) = server.launched_at else { return 0.0 };
    let end = server.terminated_at.unwrap_or(period.now).min(period.stop);
    end.since(launched.max(period.start)).as_secs_f64() / 3600.0
}

fn view(period: &Period, project: &ProjectId, servers: &[&Server], detailed: bool) -> Value {
    let (mut hours_all, mut disk, mut cpu, mut memory) = (0.0, 0.0, 0.0, 0.0);
    let mut list = Vec::new();
    for server in servers {
        let (hours, flavor) = (hours(period, server), &server.flavor);
        let local_gb = flavor.root_gb + flavor.ephemeral_gb;
        hours_all += hours;
        disk += hours * local_gb as f64;
        cpu += hours * flavor.vcpus as f64;
        memory += hours * flavor.memory_mb as f64;
        let end = server.terminated_at.unwrap_or(period.now).min(period.stop);
        list.push(json!({
            "instance_id": server.id.to_string(), "name": server.name, "hours": hours, "flavor": flavor.name,
            "tenant_id": server.project.as_str(), "vcpus": flavor.vcpus, "memory_mb": flavor.memory_mb,
            "local_gb": local_gb, "state": if server.terminated_at.is_some() { "terminated" } else { server.vm_state.as_str() },
            "started_at": server.launched_at.map(|at| at.to_iso_naive_micros()),
            "ended_at": server.terminated_at.map(|at| at.to_iso_naive_micros()),
            "uptime": server.launched_at.map_or(0, |at| end.since(at).as_secs()),
        }));
    }
    let mut view = json!({
        "tenant_id": project.as_str(),
        "total_hours": hours_all,
        "total_local_gb_usage": disk,
        "total_vcpus_usage": cpu,
        "total_memory_mb_usage": memory,
        "start": period.start.to_iso_naive_micros(),
        "stop": period.stop.to_iso_naive_micros(),
    });
    if detailed {
        view["server_usages"] = Value::Array(list);
    }
    view
}

/// `GET /os-simple-tenant-usage`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let period = period(&compute, &request)?;
    let all = servers(&compute, &period, None).await?;
    let detailed = request.query.get("detailed") == Some("1");
    let mut by_project: BTreeMap<&ProjectId, Vec<&Server>> = BTreeMap::new();
    for server in &all {
        by_project.entry(&server.project).or_default().push(server);
    }
    let list: Vec<Value> =
        by_project.into_iter().map(|(project, servers)| view(&period, project, &servers, detailed)).collect();
    Ok(Reply::ok(&json!({"tenant_usages": list})))
}

/// `GET /os-simple-tenant-usage/{project_id}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let project = ProjectId::new(request.param("project_id"));
    request.authorize(&Target::project(&project))?;
    let period = period(&compute, &request)?;
    let all = servers(&compute, &period, Some(project.clone())).await?;
    if all.is_empty() {
        return Ok(Reply::ok(&json!({"tenant_usage": {}})));
    }
    let all: Vec<&Server> = all.iter().collect();
    Ok(Reply::ok(&json!({"tenant_usage": view(&period, &project, &all, true)})))
}
