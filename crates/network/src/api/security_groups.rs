//! `/v2.0/security-groups`

use super::kit::{self, Item, Resource};
use super::security_group_rules::rule_view;
use crate::attrs::{self, Attr, Attrs, Default, Kind, attr, read_only};
use crate::model::{GroupRow, Standard};
use crate::rules::groups::{default_group_in_tx, group_create_in_tx, group_delete_checked_in_tx};
use crate::store::groups::{TABLE, default_group_id, group_fetch, group_update_in_tx, rules_of_groups};
use crate::store::list::{self, ListQuery, ListSpec, column};
use crate::store::{group_by, tags};
use crate::{Network, errors};
use ferrostack_db::{Tx, Value as Sql, params};
use ferrostack_ovn::northbound::Key;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::Result;
use ferrostack_types::ids::SecurityGroupId;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) const RESOURCE: Resource = Resource {
    singular: "security_group",
    plural: "security_groups",
    guarded: &[],
    missing: |id| errors::group_not_found(id),
};

const ATTRS: &[Attr] = &[
    read_only("id"),
    attr("name", Kind::Text(255), Default::Text("")),
    attr("description", Kind::Text(255), Default::Text("")),
    attr("stateful", Kind::Bool, Default::Bool(true)),
    attr("tags", Kind::Check(attrs::tags), Default::List).create_only(),
    read_only("security_group_rules"),
    read_only("shared"),
    read_only("created_at"),
    read_only("updated_at"),
    read_only("revision_number"),
];

const LIST: ListSpec = ListSpec {
    table: TABLE,
    columns: GroupRow::COLUMNS,
    filters: &[
        column("id", list::Kind::Text, "id"),
        column("name", list::Kind::Text, "name"),
        column("description", list::Kind::Text, "description"),
        column("project_id", list::Kind::Text, "project_id"),
        column("tenant_id", list::Kind::Text, "project_id"),
        column("stateful", list::Kind::Bool, "stateful"),
        column("shared", list::Kind::Bool, "0"),
        column("revision_number", list::Kind::Int, "revision"),
    ],
    sorts: &[
        ("id", "id"),
        ("name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ],
};

/// Views of rows, in a fixed number of queries.
pub(crate) fn items(tx: &mut Tx<'_>, rows: &[GroupRow]) -> Result<Vec<Item>> {
    let ids: Vec<SecurityGroupId> = rows.iter().map(|g| g.id).collect();
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let tags = tags::tags_of(tx, &names)?;
    let mut rules = group_by(rules_of_groups(tx, &ids)?.into_iter().map(|r| (r.group_id, r)));
    let item = |g: &GroupRow| {
        let rules = rules.remove(&g.id).unwrap_or_default();
        let rules: Vec<Value> = rules.iter().map(|rule| rule_view(rule, g.is_default)).collect();
        let mut body = json!({
            "id": g.id, "name": g.name, "stateful": g.stateful, "shared": false, "security_group_rules": rules,
        });
        kit::with_standard(&mut body, &g.standard, tags.get(&g.id.to_string()));
        Item::new(body, kit::target(&g.standard.project_id).set("shared", "False"))
    };
    Ok(rows.iter().map(item).collect())
}

fn one_item(tx: &mut Tx<'_>, row: GroupRow) -> Result<Item> {
    let id = row.id;
    items(tx, &[row])?.pop().ok_or_else(|| errors::group_not_found(id))
}

/// The caller's own project has its default group from the first look on. Nobody else's: a list with an invented
/// `project_id` must make nothing.
pub(crate) async fn ensure_default(service: &Network, req: &Request) -> Result<()> {
    let project = kit::own_project(req);
    if project.is_empty() || !req.allowed("create_security_group", &kit::target(&project)) {
        return Ok(());
    }
    let cx = service.cx();
    let own = project.clone();
    if service.db.read("default_group", move |tx| default_group_id(tx, &own)).await?.is_some() {
        return Ok(());
    }
    service.db.write("default_group", move |tx| default_group_in_tx(tx, &cx, &project).map(drop)).await
}

/// `GET /v2.0/security-groups`
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    let mut query = ListQuery::parse(&LIST, &req.query)?;
    ensure_default(&service, &req).await?;
    if !kit::sees_all(&req) {
        query.only("project_id = ?", vec![Sql::from(kit::own_project(&req))]);
    }
    let list = query.clone();
    let items = service
        .db
        .read("security_group_list", move |tx| {
            let rows = list.fetch(tx, &LIST, RESOURCE.missing, GroupRow::read)?;
            items(tx, &rows)
        })
        .await?;
    Ok(kit::list(&req, &RESOURCE, &query, items))
}

pub(crate) async fn fetch(service: &Network, id: SecurityGroupId) -> Result<Item> {
    service
        .db
        .read("security_group_show", move |tx| {
            let row = group_fetch(tx, id)?;
            one_item(tx, row)
        })
        .await
}

/// `GET /v2.0/security-groups/{id}`
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: SecurityGroupId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "get", &[], &item, req.param("id"))?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// Only the service makes groups of this name.
fn check_name(attrs: &Attrs) -> Result<()> {
    if attrs.text("name").eq_ignore_ascii_case("default") {
        let text = "Default security group already exists.";
        return Err(errors::conflict("SecurityGroupDefaultAlreadyExists", text));
    }
    Ok(())
}

/// `POST /v2.0/security-groups`
pub(crate) async fn create(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let (raws, bulk) = kit::bodies(&mut req, &RESOURCE).await?;
    let cx = service.cx();
    let mut new = Vec::new();
    for mut raw in raws {
        let project = kit::take_project(&req, &mut raw)?;
        let attrs = Attrs::create(ATTRS, &raw)?;
        kit::authorize(&req, "create_security_group", &attrs.explicit, &kit::target(&project))?;
        check_name(&attrs)?;
        let row = GroupRow {
            id: SecurityGroupId(cx.env.uuid()),
            standard: Standard::new(&project, &attrs.text("description"), cx.now),
            name: attrs.text("name"),
            stateful: attrs.bool("stateful").unwrap_or(true),
            is_default: false,
        };
        new.push((row, kit::new_tags(&attrs)));
    }
    let items = service
        .db
        .write("security_group_create", move |tx| {
            for (row, tags) in &new {
                group_create_in_tx(tx, &cx, row, tags)?;
            }
            let rows: Vec<GroupRow> = new.iter().map(|(row, _)| row.clone()).collect();
            items(tx, &rows)
        })
        .await?;
    Ok(kit::created(&req, &RESOURCE, items, bulk))
}

/// `PUT /v2.0/security-groups/{id}`
pub(crate) async fn update(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let id: SecurityGroupId = kit::path_id(&req, &RESOURCE, "id")?;
    let raw: Map<String, Value> = kit::body(&mut req, &RESOURCE).await?;
    let item = fetch(&service, id).await?;
    kit::visible(&req, &RESOURCE, &item, req.param("id"))?;
    let attrs = Attrs::update(ATTRS, &raw)?;
    kit::authorize_change(&req, &RESOURCE, "update", &attrs.explicit, &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    let item = service
        .db
        .write("security_group_update", move |tx| {
            let mut row = group_fetch(tx, id)?;
            expected.check(&row.standard)?;
            if attrs.has("name") && attrs.text("name") != row.name {
                if row.is_default {
                    let text = "Updating default security group not allowed.";
                    return Err(errors::conflict("SecurityGroupCannotUpdateDefault", text));
                }
                check_name(&attrs)?;
            }
            let used = "SELECT 1 FROM network_port_groups WHERE security_group_id = ?";
            if attrs.bool("stateful").is_some_and(|s| s != row.stateful) && tx.exists(used, params![id])? {
                return Err(errors::conflict("SecurityGroupInUse", format!("Security Group {id} in use.")));
            }
            attrs.set_text("name", &mut row.name);
            attrs.set_text("description", &mut row.standard.description);
            attrs.set_bool("stateful", &mut row.stateful);
            row.standard.touch(cx.now);
            group_update_in_tx(tx, &row)?;
            cx.mark(tx, Key::SecurityGroup(id))?;
            one_item(tx, row)
        })
        .await?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// `DELETE /v2.0/security-groups/{id}`
pub(crate) async fn delete(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: SecurityGroupId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "delete", &[], &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    service
        .db
        .write("security_group_delete", move |tx| {
            expected.check(&group_fetch(tx, id)?.standard)?;
            group_delete_checked_in_tx(tx, &cx, id)
        })
        .await?;
    Ok(Reply::no_content())
}
