//! Security groups as OVN's port groups and ACLs. Pure.
//!
//! Every secured port is in the *drop group*, whose ACLs drop all IP; a security group's ACLs have the next higher
//! priority and allow. What guests need to get on the network at all (asking for an address, neighbour discovery) is
//! allowed by the drop group itself, so that a port with no group can still boot.
//!
//! A rule never widens: what OVN cannot express (ports of a protocol whose ports it cannot match) makes no ACL
//! at all, and so allows nothing. Nor can one rule break another, because each is a row of its own.

use super::model::*;
use super::rows::{RowBuilder, Wanted, drop_group, table};
use crate::ovsdb::Datum;
use ferrostack_types::ids::SecurityGroupId;
use ipnet::IpNet;
use uuid::Uuid;

const PRIORITY_DROP: i64 = 1001;
const PRIORITY_ALLOW: i64 = 1002;
const DROP_GROUP: &str = "fs_pg_drop";
const SYSTEM: &str = "system";

/// A port group's name. Only letters, digits and `_` may be in it, because matches refer to it by name.
fn group_name(id: SecurityGroupId) -> String {
    format!("fs_sg_{}", id.0.simple())
}

/// The rows of a security group.
pub(crate) fn group_rows(group: &SecurityGroup) -> Vec<Wanted> {
    let key = Key::SecurityGroup(group.id);
    let name = group_name(group.id);
    let main = RowBuilder::new(table::PORT_GROUP, group.id.0, &key)
        .main(group.revision, &group.name)
        .text("name", &name)
        .build();
    let action = if group.stateful { "allow-related" } else { "allow-stateless" };
    let acls = group.rules.iter().filter_map(|rule| {
        let row = RowBuilder::new(table::ACL, rule.id.0, &key).parent(table::PORT_GROUP, group.id.0, "acls");
        Some(acl(row, PRIORITY_ALLOW, rule.direction, &match_of(&name, rule)?, action))
    });
    std::iter::once(main).chain(acls).collect()
}

fn acl(row: RowBuilder, priority: i64, direction: Direction, condition: &str, action: &str) -> Wanted {
    let direction = match direction {
        Direction::Ingress => "to-lport",
        Direction::Egress => "from-lport",
    };
    row.set("priority", Datum::one(priority))
        .text("direction", direction)
        .text("match", condition)
        .text("action", action)
        .build()
}

/// The rows of the drop group.
pub(crate) fn drop_group_rows() -> Vec<Wanted> {
    let id = drop_group();
    let (inbound, outbound) = (format!("outport == @{DROP_GROUP}"), format!("inport == @{DROP_GROUP}"));
    let acls = [
        ("drop in", PRIORITY_DROP, Direction::Ingress, format!("{inbound} && ip"), "drop"),
        ("drop out", PRIORITY_DROP, Direction::Egress, format!("{outbound} && ip"), "drop"),
        (
            "dhcp",
            PRIORITY_ALLOW,
            Direction::Egress,
            format!("{outbound} && ip4 && udp.src == 68 && udp.dst == 67"),
            "allow",
        ),
        (
            "dhcpv6",
            PRIORITY_ALLOW,
            Direction::Egress,
            format!("{outbound} && ip6 && udp.src == 546 && udp.dst == 547"),
            "allow",
        ),
        ("nd in", PRIORITY_ALLOW, Direction::Ingress, format!("{inbound} && (nd || nd_ra)"), "allow"),
        (
            "nd out",
            PRIORITY_ALLOW,
            Direction::Egress,
            format!("{outbound} && (nd || nd_rs || mldv1 || mldv2)"),
            "allow",
        ),
    ];
    let group = RowBuilder::system(table::PORT_GROUP, id, SYSTEM, id).text("name", DROP_GROUP).build();
    let rows = acls.into_iter().map(|(what, priority, direction, condition, action)| {
        let uuid: Uuid = super::rows::derived(id, &[what]);
        let row = RowBuilder::system(table::ACL, uuid, SYSTEM, id).parent(table::PORT_GROUP, id, "acls");
        acl(row, priority, direction, &condition, action)
    });
    std::iter::once(group).chain(rows).collect()
}

/// Whether an owner is one of ours that belongs to no object.
pub(crate) fn is_system(owner: &str) -> bool {
    owner.starts_with("system/")
}

/// What a rule allows, in OVN's language; `None` if OVN cannot express it or nothing could match it.
fn match_of(group: &str, rule: &Rule) -> Option<String> {
    let (port, far) = match rule.direction {
        Direction::Ingress => ("outport", "src"),
        Direction::Egress => ("inport", "dst"),
    };
    let ip = match rule.ethertype {
        Ethertype::V4 => "ip4",
        Ethertype::V6 => "ip6",
    };
    let mut parts = vec![format!("{port} == @{group}"), ip.to_owned()];
    match rule.remote {
        Remote::Any => {}
        Remote::Prefix(range) => {
            if matches!(range, IpNet::V4(_)) != (rule.ethertype == Ethertype::V4) {
                return None;
            }
            // A range of length 0 is everybody.
            if range.prefix_len() > 0 {
                parts.push(format!("{ip}.{far} == {}", range.trunc()));
            }
        }
        Remote::Group(id) => parts.push(format!("{ip}.{far} == ${}_{ip}", group_name(id))),
    }
    parts.extend(protocol_parts(rule)?);
    Some(parts.join(" && "))
}

fn protocol_parts(rule: &Rule) -> Option<Vec<String>> {
    let Some(protocol) = &rule.protocol else { return Some(Vec::new()) };
    // Neutron's other words for "all".
    if ["any", "ip", "0"].iter().any(|all| protocol.eq_ignore_ascii_case(all)) {
        return Some(Vec::new());
    }
    let number = protocol_number(protocol, rule.ethertype)?;
    match (number, rule.ethertype) {
        (1, Ethertype::V4) => Some(icmp_parts("icmp4", rule)),
        (58, Ethertype::V6) => Some(icmp_parts("icmp6", rule)),
        (6, _) => port_parts("tcp", rule),
        (17, _) => port_parts("udp", rule),
        (132, _) => port_parts("sctp", rule),
        // UDP-Lite and DCCP have ports that OVN cannot match: no ACL rather than one for all ports.
        (33 | 136, _) if rule.port_min.is_some() || rule.port_max.is_some() => None,
        // Any other protocol has no ports, so a range says nothing.
        _ => Some(vec![format!("ip.proto == {number}")]),
    }
}

fn icmp_parts(name: &str, rule: &Rule) -> Vec<String> {
    let mut parts = vec![name.to_owned()];
    if let Some(kind) = rule.port_min {
        parts.push(format!("{name}.type == {}", kind.min(255)));
        parts.extend(rule.port_max.map(|code| format!("{name}.code == {}", code.min(255))));
    }
    parts
}

fn port_parts(name: &str, rule: &Rule) -> Option<Vec<String>> {
    let mut parts = vec![name.to_owned()];
    match (rule.port_min, rule.port_max) {
        (None, None) => {}
        (Some(one), Some(last)) if one == last => parts.push(format!("{name}.dst == {one}")),
        (first, last) => {
            let (first, last) = (first.unwrap_or(0), last.unwrap_or(u16::MAX));
            if first > last {
                return None;
            }
            parts.push(format!("{name}.dst >= {first}"));
            parts.push(format!("{name}.dst <= {last}"));
        }
    }
    Some(parts)
}

/// Neutron's names and all numbers. `icmp` on IPv6 means ICMPv6, as in Neutron.
fn protocol_number(protocol: &str, ethertype: Ethertype) -> Option<u8> {
    let number = match protocol.to_ascii_lowercase().as_str() {
        "ah" => 51,
        "dccp" => 33,
        "egp" => 8,
        "esp" => 50,
        "gre" => 47,
        "hopopt" => 0,
        "icmp" => 1,
        "icmpv6" | "ipv6-icmp" => 58,
        "igmp" => 2,
        "ipip" => 4,
        "ipv6-encap" => 41,
        "ipv6-frag" => 44,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "ipv6-route" => 43,
        "ospf" => 89,
        "pgm" => 113,
        "rsvp" => 46,
        "sctp" => 132,
        "tcp" => 6,
        "udp" => 17,
        "udplite" => 136,
        "vrrp" => 112,
        number => number.parse().ok()?,
    };
    Some(if number == 1 && ethertype == Ethertype::V6 { 58 } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrostack_types::ids::SecurityGroupRuleId;

    fn rule(direction: Direction, ethertype: Ethertype, protocol: Option<&str>, ports: [Option<u16>; 2]) -> Rule {
        Rule {
            id: SecurityGroupRuleId(Uuid::from_u128(1)),
            direction,
            ethertype,
            protocol: protocol.map(str::to_owned),
            port_min: ports[0],
            port_max: ports[1],
            remote: Remote::Any,
        }
    }

    #[test]
    fn rules_in_the_language_of_ovn() {
        use Direction::{Egress, Ingress};
        use Ethertype::{V4, V6};
        let text = |rule: &Rule| match_of("g", rule);
        let is = |rule: Rule, expected: &str| assert_eq!(text(&rule).as_deref(), Some(expected));
        is(rule(Egress, V4, None, [None; 2]), "inport == @g && ip4");
        is(rule(Ingress, V4, Some("tcp"), [Some(22), Some(22)]), "outport == @g && ip4 && tcp && tcp.dst == 22");
        is(
            rule(Ingress, V6, Some("17"), [Some(5), Some(9)]),
            "outport == @g && ip6 && udp && udp.dst >= 5 && udp.dst <= 9",
        );
        is(
            rule(Ingress, V4, Some("icmp"), [Some(8), Some(0)]),
            "outport == @g && ip4 && icmp4 && icmp4.type == 8 && icmp4.code == 0",
        );
        is(rule(Ingress, V6, Some("icmp"), [None; 2]), "outport == @g && ip6 && icmp6");
        is(rule(Ingress, V4, Some("112"), [None; 2]), "outport == @g && ip4 && ip.proto == 112");
    }

    #[test]
    fn a_rule_that_ovn_cannot_express_allows_nothing() {
        let dccp = |ports| rule(Direction::Ingress, Ethertype::V4, Some("dccp"), ports);
        assert_eq!(match_of("g", &dccp([Some(1), Some(2)])), None);
        assert!(match_of("g", &dccp([None; 2])).is_some());
        assert_eq!(match_of("g", &rule(Direction::Ingress, Ethertype::V4, Some("nonsense"), [None; 2])), None);
        assert_eq!(match_of("g", &rule(Direction::Ingress, Ethertype::V4, Some("tcp"), [Some(9), Some(5)])), None);
        let mut mixed = rule(Direction::Ingress, Ethertype::V6, None, [None; 2]);
        mixed.remote = Remote::Prefix("10.0.0.0/8".parse().unwrap());
        assert_eq!(match_of("g", &mixed), None);
    }

    #[test]
    fn ports_on_a_protocol_without_ports_do_not_take_the_group_down() {
        let mut vrrp = rule(Direction::Ingress, Ethertype::V4, Some("vrrp"), [Some(80), Some(80)]);
        vrrp.id = SecurityGroupRuleId(Uuid::from_u128(2));
        let rules = vec![rule(Direction::Ingress, Ethertype::V4, Some("tcp"), [Some(22), Some(22)]), vrrp];
        let id = SecurityGroupId(Uuid::from_u128(9));
        let rows = group_rows(&SecurityGroup { id, revision: 1, name: "g".to_owned(), rules, stateful: true });
        let matches: Vec<_> = rows.iter().filter_map(|row| row.columns.get("match")).collect();
        assert_eq!(matches.len(), 2);
        assert!(matches.iter().all(|m| !format!("{m:?}").contains("112.dst")));
    }

    #[test]
    fn remote_groups_are_the_address_sets_that_northd_derives() {
        let mut rule = rule(Direction::Ingress, Ethertype::V4, None, [None; 2]);
        rule.remote = Remote::Group(SecurityGroupId(Uuid::from_u128(0xab)));
        let expected = "outport == @g && ip4 && ip4.src == $fs_sg_000000000000000000000000000000ab_ip4";
        assert_eq!(match_of("g", &rule).as_deref(), Some(expected));
    }
}
