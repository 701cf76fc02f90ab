//! Security groups and their rules.

use crate::cx::WriteCx;
use crate::errors;
use crate::model::{GroupRow, RuleRow, Standard};
use crate::store::groups::{
    default_group_id, group_delete_in_tx, group_fetch, group_fetch_many, group_insert_in_tx, rule_delete_in_tx,
    rule_fetch, rule_insert_in_tx, rule_with_key,
};
use crate::store::quotas::{self, quota_check_in_tx};
use crate::store::{bump_in_tx, tags};
use ferrostack_db::{Tx, params};
use ferrostack_ovn::northbound::Key;
use ferrostack_types::ids::{SecurityGroupId, SecurityGroupRuleId};
use ferrostack_types::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use uuid::Uuid;

/// The id that a project's default group is going to have: it can be named before it is made, and two that make it at
/// the same time make the same one.
pub(crate) fn default_group_of(project: &str) -> SecurityGroupId {
    SecurityGroupId(derived_id("default security group of", project))
}

/// An id that follows from a text.
pub(crate) fn derived_id(purpose: &str, text: &str) -> Uuid {
    let digest = Sha256::digest(format!("ferrostack {purpose} {text}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// The project's default group, made now if it is the first time that it is needed: everything may go out, and the
/// group's members may talk to each other.
pub(crate) fn default_group_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, project: &str) -> Result<SecurityGroupId> {
    if let Some(id) = default_group_id(tx, project)? {
        return Ok(id);
    }
    let id = default_group_of(project);
    let standard = Standard::new(project, "Default security group", cx.now);
    let group = GroupRow { id, standard, name: "default".to_owned(), stateful: true, is_default: true };
    group_insert_in_tx(tx, &group)?;
    for ethertype in ["IPv4", "IPv6"] {
        for direction in ["ingress", "egress"] {
            let rule = RuleRow {
                remote_group: (direction == "ingress").then_some(id),
                ..blank_rule(cx, &group, direction, ethertype)
            };
            rule_insert_in_tx(tx, &rule, &rule_key(&rule))?;
        }
    }
    cx.mark(tx, Key::SecurityGroup(id))?;
    Ok(id)
}

fn blank_rule(cx: &WriteCx, group: &GroupRow, direction: &str, ethertype: &str) -> RuleRow {
    RuleRow {
        id: SecurityGroupRuleId(cx.env.uuid()),
        standard: Standard::new(&group.standard.project_id, "", cx.now),
        group_id: group.id,
        direction: direction.to_owned(),
        ethertype: ethertype.to_owned(),
        protocol: None,
        port_min: None,
        port_max: None,
        remote_group: None,
        remote_prefix: None,
    }
}

/// A new group with the two rules that let everything out.
pub(crate) fn group_create_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, group: &GroupRow, tags: &[String]) -> Result<()> {
    let project = &group.standard.project_id;
    default_group_in_tx(tx, cx, project)?;
    quota_check_in_tx(tx, project, quotas::GROUP, 1)?;
    quota_check_in_tx(tx, project, quotas::RULE, 2)?;
    group_insert_in_tx(tx, group)?;
    for ethertype in ["IPv4", "IPv6"] {
        let rule = blank_rule(cx, group, "egress", ethertype);
        rule_insert_in_tx(tx, &rule, &rule_key(&rule))?;
    }
    tags::tags_set_in_tx(tx, &group.id.to_string(), tags)?;
    cx.mark(tx, Key::SecurityGroup(group.id))
}

/// Deletes a group that no port uses. Rules of other groups that name it as their remote go with it.
pub(crate) fn group_delete_checked_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, id: SecurityGroupId) -> Result<()> {
    let group = group_fetch(tx, id)?;
    if tx.exists("SELECT 1 FROM network_port_groups WHERE security_group_id = ?", params![id])? {
        return Err(errors::conflict("SecurityGroupInUse", format!("Security Group {id} in use.")));
    }
    if group.is_default {
        let text = "Insufficient rights for removing default security group.";
        return Err(errors::conflict("SecurityGroupCannotRemoveDefault", text));
    }
    let others: Vec<SecurityGroupId> = tx.query(
        "SELECT DISTINCT security_group_id FROM network_security_group_rules WHERE remote_group_id = ?
         AND security_group_id <> ?",
        params![id, id],
        |row| row.get(0),
    )?;
    tx.execute("DELETE FROM network_security_group_rules WHERE remote_group_id = ?", params![id])?;
    for other in others {
        bump_in_tx(tx, crate::store::groups::TABLE, other, cx.now)?;
        cx.mark(tx, Key::SecurityGroup(other))?;
    }
    tags::tags_clear_in_tx(tx, &id.to_string())?;
    group_delete_in_tx(tx, id)?;
    cx.mark_gone(tx, Key::SecurityGroup(id))
}

/// Adds rules to their groups. The targets were looked up before; here it counts that they are still there.
pub(crate) fn rules_create_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, rules: &[RuleRow]) -> Result<()> {
    let mut groups = HashSet::new();
    let mut seen = HashSet::new();
    for rule in rules {
        let key = rule_key(rule);
        if !seen.insert((rule.group_id, key.clone())) {
            let text = "Duplicate Security Group Rule in POST.";
            return Err(errors::conflict("DuplicateSecurityGroupRuleInPost", text));
        }
        if groups.insert(rule.group_id) {
            group_fetch(tx, rule.group_id)?;
            bump_in_tx(tx, crate::store::groups::TABLE, rule.group_id, cx.now)?;
            cx.mark(tx, Key::SecurityGroup(rule.group_id))?;
        }
        if let Some(remote) = rule.remote_group {
            group_fetch(tx, remote)?;
        }
        quota_check_in_tx(tx, &rule.standard.project_id, quotas::RULE, 1)?;
        if let Some(same) = rule_with_key(tx, rule.group_id, &key)? {
            let text = format!("Security group rule already exists. Rule id is {same}.");
            return Err(errors::conflict("SecurityGroupRuleExists", text));
        }
        rule_insert_in_tx(tx, rule, &key)?;
    }
    Ok(())
}

pub(crate) fn rule_delete_checked_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, id: SecurityGroupRuleId) -> Result<()> {
    let rule = rule_fetch(tx, id)?;
    rule_delete_in_tx(tx, id)?;
    bump_in_tx(tx, crate::store::groups::TABLE, rule.group_id, cx.now)?;
    cx.mark(tx, Key::SecurityGroup(rule.group_id))
}

/// What makes two rules the same: everything that has an effect, with protocols by number.
pub(crate) fn rule_key(rule: &RuleRow) -> String {
    let protocol = rule.protocol.as_deref().map(|p| protocol_number(p).map_or_else(|| p.to_owned(), |n| n.to_string()));
    let port = |port: Option<u16>| port.map_or_else(|| "+".to_owned(), |p| p.to_string());
    let prefix = rule.remote_prefix.as_deref().filter(|p| *p != "0.0.0.0/0" && *p != "::/0");
    format!(
        "{}_{}_{}_{}_{}_{}_{}",
        rule.direction,
        rule.ethertype,
        protocol.as_deref().unwrap_or("+"),
        port(rule.port_min),
        port(rule.port_max),
        rule.remote_group.map_or_else(|| "+".to_owned(), |g| g.to_string()),
        prefix.unwrap_or("+"),
    )
}

/// Protocols by name.
const PROTOCOLS: &[(&str, u8)] = &[
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("hopopt", 0),
    ("icmp", 1),
    ("icmpv6", 58),
    ("igmp", 2),
    ("ip", 0),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];

/// Protocols that have ports.
const PORT_PROTOCOLS: &[u8] = &[6, 17, 33, 132, 136];

pub(crate) fn protocol_number(protocol: &str) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == protocol).map(|(_, number)| *number);
    named.or_else(|| protocol.parse().ok())
}

/// A protocol as a client wrote it: a name, a number, or one of the words for "any".
pub(crate) fn parse_protocol(text: &str) -> Result<Option<String>> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "" | "any") {
        return Ok(None);
    }
    let plain_number = lower.bytes().all(|b| b.is_ascii_digit());
    match protocol_number(&lower) {
        Some(number) if plain_number => Ok(Some(number.to_string())),
        Some(_) => Ok(Some(lower)),
        None => {
            let names: Vec<String> = PROTOCOLS.iter().map(|(name, _)| format!("'{name}'")).collect();
            let shown: String = text.chars().take(64).collect();
            Err(errors::invalid(
                "SecurityGroupRuleInvalidProtocol",
                format!(
                    "Security group rule protocol {shown} not supported. Only protocol values [None, 'any', {}] and integer \
                     representations [0 to 255] are supported.",
                    names.join(", ")
                ),
            ))
        }
    }
}

/// Brings a rule to its usual form and refuses what no engine could carry out: one rule that cannot be expressed must
/// never stop the others from being put in force.
pub(crate) fn check_rule(rule: &mut RuleRow) -> Result<()> {
    if rule.ethertype == "IPv6" {
        match rule.protocol.as_deref() {
            Some("icmp" | "icmpv6") => rule.protocol = Some("ipv6-icmp".to_owned()),
            Some("1") => rule.protocol = Some("58".to_owned()),
            _ => {}
        }
    }
    let number = rule.protocol.as_deref().and_then(protocol_number);
    let has_ports = number.is_some_and(|n| PORT_PROTOCOLS.contains(&n));
    check_ports(rule, number, has_ports)?;
    check_prefix(rule)?;
    let v6_only = matches!(number, Some(41 | 43 | 44 | 58 | 59 | 60));
    if v6_only && rule.ethertype == "IPv4" {
        let protocol = rule.protocol.as_deref().unwrap_or_default();
        return Err(errors::invalid(
            "SecurityGroupEthertypeConflictWithProtocol",
            format!("Invalid ethertype {} for protocol {protocol}.", rule.ethertype),
        ));
    }
    if rule.remote_group.is_some() && rule.remote_prefix.is_some() {
        return Err(errors::invalid(
            "SecurityGroupMultipleRemoteEntites",
            "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.",
        ));
    }
    Ok(())
}

fn check_ports(rule: &RuleRow, number: Option<u8>, has_ports: bool) -> Result<()> {
    let (min, max) = (rule.port_min, rule.port_max);
    if min.is_none() && max.is_none() {
        return Ok(());
    }
    let Some(number) = number else {
        return Err(errors::invalid(
            "SecurityGroupProtocolRequiredWithPorts",
            "Must also specify protocol if port range is given.",
        ));
    };
    if has_ports {
        if min == Some(0) || max == Some(0) {
            return Err(errors::invalid("SecurityGroupInvalidPortValue", "Invalid value for port 0"));
        }
        return match (min, max) {
            (Some(min), Some(max)) if min <= max => Ok(()),
            _ => Err(errors::invalid(
                "SecurityGroupInvalidPortRange",
                "For TCP/UDP protocols, port_range_min must be <= port_range_max",
            )),
        };
    }
    if number == 1 || number == 58 {
        return check_icmp(min, max);
    }
    Err(errors::invalid(
        "SecurityGroupInvalidProtocolForPort",
        format!(
            "Ports cannot be specified for protocol {number}. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE."
        ),
    ))
}

fn check_icmp(kind: Option<u16>, code: Option<u16>) -> Result<()> {
    let wrong = |field: &str, attribute: &str, value: u16| {
        errors::invalid(
            "SecurityGroupInvalidIcmpValue",
            format!("Invalid value for ICMP {field} ({attribute}) {value}. It must be 0 to 255."),
        )
    };
    match (kind, code) {
        (Some(kind), _) if kind > 255 => Err(wrong("type", "port_range_min", kind)),
        (_, Some(code)) if code > 255 => Err(wrong("code", "port_range_max", code)),
        (None, Some(code)) => Err(errors::invalid(
            "SecurityGroupMissingIcmpType",
            format!("ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."),
        )),
        _ => Ok(()),
    }
}

fn check_prefix(rule: &RuleRow) -> Result<()> {
    let Some(prefix) = &rule.remote_prefix else { return Ok(()) };
    if prefix.contains(':') == (rule.ethertype == "IPv6") {
        return Ok(());
    }
    Err(errors::invalid(
        "SecurityGroupRuleParameterConflict",
        format!("Conflicting value ethertype {} for CIDR {prefix}", rule.ethertype),
    ))
}

/// Groups for a port: all must be there and of the port's project (or anybody's, for an administrator), and all
/// stateful or none.
pub(crate) fn groups_for_port(
    tx: &mut Tx<'_>,
    project: &str,
    wanted: &[SecurityGroupId],
    any_project: bool,
) -> Result<Vec<SecurityGroupId>> {
    let found = group_fetch_many(tx, wanted)?;
    let usable =
        |id: &&SecurityGroupId| found.iter().any(|g| g.id == **id && (any_project || g.standard.project_id == project));
    let missing: Vec<String> = wanted.iter().filter(|id| !usable(id)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(errors::group_not_found(missing.join(", ")));
    }
    if found.iter().any(|g| g.stateful) && found.iter().any(|g| !g.stateful) {
        return Err(Error::conflict(
            "Error Cannot apply both stateful and stateless security groups on the same port at the same time while \
             attempting the operation.",
        )
        .with_code("SecurityGroupConflict"));
    }
    let mut groups = wanted.to_vec();
    groups.sort();
    groups.dedup();
    Ok(groups)
}
