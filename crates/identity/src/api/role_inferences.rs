//! `/v3/role_inferences`: all rules of which role implies which.

use super::link;
use super::roles::short_view;
use crate::Identity;
use crate::store::roles::{implied_map, role_list_by_ids};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::Result;
use ferrostack_types::ids::RoleId;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `GET /v3/role_inferences`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (rules, roles) = service
        .db
        .read("role_inferences", |tx| {
            let rules = implied_map(tx)?;
            let ids: BTreeSet<RoleId> =
                rules.iter().flat_map(|(prior, implied)| std::iter::once(prior).chain(implied)).cloned().collect();
            let roles = role_list_by_ids(tx, &ids)?;
            Ok((rules, roles))
        })
        .await?;
    let of = |id: &RoleId| roles.iter().find(|r| r.id == *id).map(|r| short_view(&request, r));
    let inferences: Vec<Value> = rules
        .iter()
        .map(|(prior, implied)| {
            json!({"prior_role": of(prior), "implies": implied.iter().filter_map(of).collect::<Vec<_>>()})
        })
        .collect();
    Ok(Reply::ok(&json!({
        "role_inferences": inferences,
        "links": {"next": null, "self": link(&request, "role_inferences"), "previous": null},
    })))
}
