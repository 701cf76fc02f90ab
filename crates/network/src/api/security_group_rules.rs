//! `/v2.0/security-group-rules`

use super::kit::{self, Item, Resource};
use super::security_groups;
use crate::attrs::{self, Attr, Attrs, Default, Kind, attr, read_only};
use crate::model::{GroupRow, RuleRow, Standard};
use crate::rules::groups::{check_rule, parse_protocol, rule_delete_checked_in_tx, rules_create_in_tx};
use crate::store::groups::{RULES, group_fetch_many, rule_fetch};
use crate::store::list::{self, ListQuery, ListSpec, column};
use crate::{Network, errors};
use ferrostack_db::{Tx, Value as Sql};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::{SecurityGroupId, SecurityGroupRuleId};
use ferrostack_types::{Error, Result};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const RESOURCE: Resource = Resource {
    singular: "security_group_rule",
    plural: "security_group_rules",
    guarded: &[],
    missing: |id| errors::rule_not_found(id),
};

const ATTRS: &[Attr] = &[
    read_only("id"),
    attr("description", Kind::Text(255), Default::Text("")).create_only(),
    attr("security_group_id", Kind::Uuid, Default::Required).create_only(),
    attr("direction", Kind::OneOf(&["ingress", "egress"]), Default::Required).create_only(),
    attr("ethertype", Kind::Check(ethertype), Default::Text("IPv4")).create_only(),
    attr("protocol", Kind::Check(protocol), Default::Null).create_only(),
    attr("port_range_min", Kind::Check(port), Default::Null).create_only(),
    attr("port_range_max", Kind::Check(port), Default::Null).create_only(),
    attr("remote_group_id", Kind::UuidOrNull, Default::Null).create_only(),
    attr("remote_address_group_id", Kind::OneOfOrNull(&[]), Default::Null).create_only(),
    attr("remote_ip_prefix", Kind::Check(prefix), Default::Null).create_only(),
    read_only("normalized_cidr"),
    read_only("belongs_to_default_sg"),
    read_only("tags"),
    read_only("created_at"),
    read_only("updated_at"),
    read_only("revision_number"),
];

const LIST: ListSpec = ListSpec {
    table: RULES,
    columns: RuleRow::COLUMNS,
    filters: &[
        column("id", list::Kind::Text, "id"),
        column("description", list::Kind::Text, "description"),
        column("project_id", list::Kind::Text, "project_id"),
        column("tenant_id", list::Kind::Text, "project_id"),
        column("security_group_id", list::Kind::Text, "security_group_id"),
        column("direction", list::Kind::Text, "direction"),
        column("ethertype", list::Kind::Text, "ethertype"),
        column("protocol", list::Kind::Text, "COALESCE(protocol, '')"),
        column("port_range_min", list::Kind::Int, "port_range_min"),
        column("port_range_max", list::Kind::Int, "port_range_max"),
        column("remote_group_id", list::Kind::Text, "COALESCE(remote_group_id, '')"),
        column("remote_ip_prefix", list::Kind::Text, "COALESCE(remote_ip_prefix, '')"),
        column("revision_number", list::Kind::Int, "revision"),
    ],
    sorts: &[
        ("id", "id"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
        ("security_group_id", "security_group_id"),
        ("direction", "direction"),
        ("ethertype", "ethertype"),
        ("protocol", "COALESCE(protocol, '')"),
        ("port_range_min", "COALESCE(port_range_min, -1)"),
        ("port_range_max", "COALESCE(port_range_max, -1)"),
        ("remote_group_id", "COALESCE(remote_group_id, '')"),
        ("remote_ip_prefix", "COALESCE(remote_ip_prefix, '')"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ],
};

fn ethertype(given: &Value) -> Result<Value, String> {
    let text = given.as_str().unwrap_or_default();
    let known = ["IPv4", "IPv6"].into_iter().find(|known| known.eq_ignore_ascii_case(text));
    known.map(Value::from).ok_or_else(|| {
        format!(
            "Security group rule for ethertype '{}' not supported. Allowed values are ['IPv4', 'IPv6']",
            attrs::shown(given)
        )
    })
}

/// A name, a number, a number as text, or null. What it means is decided later, where errors have names.
fn protocol(given: &Value) -> Result<Value, String> {
    match given {
        Value::Null => Ok(Value::Null),
        Value::String(_) => Ok(given.clone()),
        Value::Number(number) => Ok(Value::from(number.to_string())),
        _ => Err(format!("'{}' is not a valid protocol", attrs::shown(given))),
    }
}

fn port(given: &Value) -> Result<Value, String> {
    match given {
        Value::Null => Ok(Value::Null),
        // Old clients say "any" so.
        Value::Number(n) if n.as_i64() == Some(-1) => Ok(Value::Null),
        Value::String(text) if text == "-1" || text.is_empty() => Ok(Value::Null),
        _ => attrs::integer(given, 0, 65535).map_err(|_| format!("Invalid value for port {}", attrs::shown(given))),
    }
}

/// An address or a range; an address becomes a range of one. Bits of the host part are kept, as Neutron does.
fn prefix(given: &Value) -> Result<Value, String> {
    let text = match given {
        Value::Null => return Ok(Value::Null),
        Value::String(text) if text.is_empty() => return Ok(Value::Null),
        Value::String(text) => text.as_str(),
        _ => return Err(format!("Invalid CIDR {} given as IP prefix", attrs::shown(given))),
    };
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.map(|net| Value::from(net.to_string()))
        .ok_or_else(|| format!("Invalid CIDR {} given as IP prefix", attrs::shown(given)))
}

/// A rule as it is shown, in its group as well as by itself.
pub(crate) fn rule_view(rule: &RuleRow, of_default: bool) -> Value {
    let normalized = rule.remote_prefix.as_deref().and_then(|p| p.parse::<IpNet>().ok()).map(|p| p.trunc().to_string());
    let mut body = json!({
        "id": rule.id, "security_group_id": rule.group_id, "direction": rule.direction, "ethertype": rule.ethertype,
        "protocol": rule.protocol, "port_range_min": rule.port_min, "port_range_max": rule.port_max,
        "remote_group_id": rule.remote_group, "remote_address_group_id": null, "remote_ip_prefix": rule.remote_prefix,
        "normalized_cidr": normalized, "belongs_to_default_sg": of_default,
    });
    kit::with_standard(&mut body, &rule.standard, None);
    body
}

fn target(project: &str, group_project: &str) -> Target {
    kit::target(project).set("security_group:project_id", group_project).set("security_group:tenant_id", group_project)
}

fn items(tx: &mut Tx<'_>, rows: &[RuleRow]) -> Result<Vec<Item>> {
    let mut groups: Vec<SecurityGroupId> = rows.iter().map(|r| r.group_id).collect();
    groups.sort();
    groups.dedup();
    let groups: HashMap<SecurityGroupId, GroupRow> =
        group_fetch_many(tx, &groups)?.into_iter().map(|g| (g.id, g)).collect();
    let item = |rule: &RuleRow| {
        let group = groups.get(&rule.group_id)?;
        let target = target(&rule.standard.project_id, &group.standard.project_id)
            .set("belongs_to_default_sg", kit::flag(group.is_default));
        Some(Item::new(rule_view(rule, group.is_default), target))
    };
    Ok(rows.iter().filter_map(item).collect())
}

/// `GET /v2.0/security-group-rules`
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    let mut query = ListQuery::parse(&LIST, &req.query)?;
    security_groups::ensure_default(&service, &req).await?;
    if !kit::sees_all(&req) {
        let own = Sql::from(kit::own_project(&req));
        query.only(
            "project_id = ? OR security_group_id IN (SELECT id FROM network_security_groups WHERE project_id = ?)",
            vec![own.clone(), own],
        );
    }
    let list = query.clone();
    let items = service
        .db
        .read("security_group_rule_list", move |tx| {
            let rows = list.fetch(tx, &LIST, RESOURCE.missing, RuleRow::read)?;
            items(tx, &rows)
        })
        .await?;
    Ok(kit::list(&req, &RESOURCE, &query, items))
}

async fn fetch(service: &Network, id: SecurityGroupRuleId) -> Result<Item> {
    service
        .db
        .read("security_group_rule_show", move |tx| {
            let row = rule_fetch(tx, id)?;
            items(tx, &[row])?.pop().ok_or_else(|| errors::rule_not_found(id))
        })
        .await
}

/// `GET /v2.0/security-group-rules/{id}`
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: SecurityGroupRuleId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "get", &[], &item, req.param("id"))?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// The project of a group that the caller may know of.
async fn group_project(service: &Network, req: &Request, id: SecurityGroupId) -> Result<String> {
    let item = security_groups::fetch(service, id).await?;
    kit::visible(req, &security_groups::RESOURCE, &item, &id.to_string())?;
    Ok(item.body.get("project_id").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// `POST /v2.0/security-group-rules`
pub(crate) async fn create(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let (raws, bulk) = kit::bodies(&mut req, &RESOURCE).await?;
    let cx = service.cx();
    let mut new: Vec<RuleRow> = Vec::new();
    for mut raw in raws {
        let project = kit::take_project(&req, &mut raw)?;
        let attrs = Attrs::create(ATTRS, &raw)?;
        let group: SecurityGroupId =
            attrs.parsed("security_group_id").ok_or_else(|| Error::internal("a checked id"))?;
        let owner = group_project(&service, &req, group).await?;
        kit::authorize(&req, "create_security_group_rule", &attrs.explicit, &target(&project, &owner))?;
        if let Some(remote) = attrs.parsed::<SecurityGroupId>("remote_group_id") {
            group_project(&service, &req, remote).await?;
        }
        let number = |name: &str| attrs.int(name).and_then(|n| u16::try_from(n).ok());
        let mut row = RuleRow {
            id: SecurityGroupRuleId(cx.env.uuid()),
            standard: Standard::new(&project, &attrs.text("description"), cx.now),
            group_id: group,
            direction: attrs.text("direction"),
            ethertype: attrs.text("ethertype"),
            protocol: attrs.opt_text("protocol").map(|p| parse_protocol(&p)).transpose()?.flatten(),
            port_min: number("port_range_min"),
            port_max: number("port_range_max"),
            remote_group: attrs.parsed("remote_group_id"),
            remote_prefix: attrs.opt_text("remote_ip_prefix"),
        };
        check_rule(&mut row)?;
        if new.first().is_some_and(|first| first.group_id != group) {
            let text = "Only allowed to update rules for one security profile at a time";
            return Err(errors::invalid("SecurityGroupNotSingleGroupRules", text));
        }
        new.push(row);
    }
    let items = service
        .db
        .write("security_group_rule_create", move |tx| {
            rules_create_in_tx(tx, &cx, &new)?;
            items(tx, &new)
        })
        .await?;
    Ok(kit::created(&req, &RESOURCE, items, bulk))
}

/// `DELETE /v2.0/security-group-rules/{id}`
pub(crate) async fn delete(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: SecurityGroupRuleId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "delete", &[], &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    service
        .db
        .write("security_group_rule_delete", move |tx| {
            expected.check(&rule_fetch(tx, id)?.standard)?;
            rule_delete_checked_in_tx(tx, &cx, id)
        })
        .await?;
    Ok(Reply::no_content())
}
