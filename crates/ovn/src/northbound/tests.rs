//! The planner on copies of a database that never existed: what it sends, and what guards it.

use super::plan::{Missing, Plan, Request, plan};
use super::rows::{self, table};
use super::*;
use crate::ovsdb::Datum;
use ferrostack_types::ids::{NetworkId, PortId, SecurityGroupId, SubnetId};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use uuid::Uuid;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn network(revision: i64) -> Object {
    let subnet = Subnet {
        id: SubnetId(id(2)),
        cidr: "10.0.0.0/24".parse().unwrap(),
        gateway: Some("10.0.0.1".parse().unwrap()),
        dhcp: true,
        dns: vec!["1.1.1.1".parse().unwrap(), "2001:db8::1".parse().unwrap(), "8.8.8.8".parse().unwrap()],
        host_routes: vec![("192.168.0.0/16".parse().unwrap(), "10.0.0.9".parse().unwrap())],
        metadata_address: None,
    };
    let (id, name, subnets) = (NetworkId(id(1)), "net".to_owned(), vec![subnet]);
    Object::Network(Network { id, revision, name, mtu: 1442, physnet: None, subnets })
}

fn port(n: u128, revision: i64) -> Port {
    Port {
        id: PortId(id(n)),
        revision,
        network_id: NetworkId(id(1)),
        name: String::new(),
        mac: "fa:16:3e:00:00:01".to_owned(),
        addresses: vec![(SubnetId(id(2)), "10.0.0.11".parse().unwrap())],
        security_groups: vec![SecurityGroupId(id(6))],
        port_security: true,
        allowed_address_pairs: Vec::new(),
        kind: PortKind::Vif { host: None, owner: String::new() },
        enabled: true,
    }
}

fn group(revision: i64) -> Object {
    let (id, name) = (SecurityGroupId(id(6)), "group".to_owned());
    Object::SecurityGroup(SecurityGroup { id, revision, name, rules: Vec::new(), stateful: true })
}

/// A database that already is as the objects want it: the plan's own inserts and memberships, as a monitor would tell.
fn database_of(objects: &[Object]) -> Cache {
    let done = planned(&Cache::default(), objects, &[]);
    let mut members: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
    for operation in done.operations.iter().filter(|o| o["op"] == "mutate") {
        let (of, row) = (operation["table"].as_str().unwrap(), operation["where"][0][2][1].as_str().unwrap());
        for mutation in operation["mutations"].as_array().unwrap() {
            let key = (of.to_owned(), row.to_owned(), mutation[0].as_str().unwrap().to_owned());
            members.entry(key).or_default().push(mutation[2].clone());
        }
    }
    let mut updates = Map::new();
    for operation in done.operations.iter().filter(|o| o["op"] == "insert") {
        let (of, uuid) = (operation["table"].as_str().unwrap(), operation["uuid"].as_str().unwrap());
        let mut row = operation["row"].clone();
        for ((_, _, column), values) in members.iter().filter(|((t, u, _), _)| t == of && u == uuid) {
            row[column] = values[0].clone();
        }
        let rows = updates.entry(of).or_insert_with(|| json!({}));
        rows[uuid] = json!({"initial": row});
    }
    let many = |column: &str| json!({(column): {"type": {"key": "uuid", "max": "unlimited"}}});
    let schema = json!({"tables": {
        "Logical_Switch": {"columns": many("ports")}, "Port_Group": {"columns": many("ports")},
    }});
    let mut cache = Cache::default();
    cache.learn(&schema, &[table::SWITCH, table::PORT_GROUP]);
    cache.apply(&Value::Object(updates), true).unwrap();
    cache
}

fn planned(cache: &Cache, put: &[Object], delete: &[Key]) -> Plan {
    let delete: Vec<String> = delete.iter().map(Key::to_string).collect();
    plan(cache, Request { put, delete: &delete, missing: Missing::Refuse }).unwrap()
}

fn words(plan: &Plan) -> Vec<String> {
    let word = |o: &Value| format!("{} {}", o["op"].as_str().unwrap(), o["table"].as_str().unwrap());
    plan.operations.iter().map(word).collect()
}

#[test]
fn what_is_there_needs_nothing() {
    let objects = [Object::Port(port(11, 1)), network(1), group(1)];
    let cache = database_of(&objects);
    assert_eq!(planned(&cache, &objects, &[]).operations, Vec::<Value>::new());
}

#[test]
fn members_of_one_set_go_in_one_mutation() {
    let objects = [Object::Port(port(11, 1)), Object::Port(port(12, 1)), network(1), group(1)];
    let plan = planned(&Cache::default(), &objects, &[]);
    let mutations: Vec<&Value> = plan.operations.iter().filter(|o| o["op"] == "mutate").collect();
    let switch = mutations.iter().filter(|o| o["table"] == table::SWITCH).collect::<Vec<_>>();
    assert_eq!(switch.len(), 1);
    assert_eq!(switch[0]["mutations"], json!([["ports", "insert", Datum::set([id(11), id(12)]).to_json()]]));
    // Sets that others share are never overwritten.
    let overwritten = plan.operations.iter().filter(|o| o["op"] == "insert" || o["op"] == "update");
    assert!(overwritten.clone().count() > 0);
    for operation in overwritten {
        for column in ["ports", "acls", "nat", "static_routes", "gateway_chassis"] {
            assert!(operation["row"].get(column).is_none(), "{operation}");
        }
    }
}

#[test]
fn a_change_is_guarded_by_what_it_was_planned_on() {
    let cache = database_of(&[Object::Port(port(11, 1)), network(1), group(1)]);
    let mut changed = port(11, 2);
    changed.enabled = false;
    let plan = planned(&cache, &[Object::Port(changed)], &[]);
    assert_eq!(words(&plan), ["wait Logical_Switch_Port", "update Logical_Switch_Port"]);
    let guard = plan.operations[0]["rows"][0]["external_ids"].to_string();
    assert!(guard.contains(r#"["ferrostack:revision","1"]"#), "{guard}");
    let columns: Vec<&String> = plan.operations[1]["row"].as_object().unwrap().keys().collect();
    assert_eq!(columns, ["enabled", "external_ids"]);
}

#[test]
fn a_deletion_names_what_it_takes_away() {
    let cache = database_of(&[Object::Port(port(11, 1)), network(1), group(1)]);
    let plan = planned(&cache, &[], &[Key::Port(PortId(id(11)))]);
    assert_eq!(words(&plan), ["wait Logical_Switch_Port", "mutate Logical_Switch"]);
    let plan = planned(&cache, &[], &[Key::Network(NetworkId(id(1)))]);
    assert_eq!(words(&plan), ["wait Logical_Switch", "delete DHCP_Options", "delete Logical_Switch"]);
    assert_eq!(planned(&cache, &[], &[Key::Port(PortId(id(404)))]), Plan::default());
}

#[test]
fn what_is_put_is_not_deleted_and_what_is_older_is_not_put() {
    let cache = database_of(&[network(5), group(1)]);
    let key = Key::SecurityGroup(SecurityGroupId(id(6)));
    assert_eq!(planned(&cache, &[group(1)], &[key]), Plan::default());
    assert_eq!(planned(&cache, &[network(4)], &[]), Plan::default());
}

#[test]
fn a_port_of_a_network_that_goes_is_refused() {
    let cache = database_of(&[network(1), group(1)]);
    let (put, delete) = ([Object::Port(port(11, 1))], [Key::Network(NetworkId(id(1))).to_string()]);
    assert!(plan(&cache, Request { put: &put, delete: &delete, missing: Missing::Refuse }).is_err());
}

#[test]
fn only_its_own_addresses_and_allowed_pairs_may_send() {
    let security = |port: Port| rows::of(&Object::Port(port)).rows[0].columns["port_security"].clone();
    let mut one = port(11, 1);
    assert_eq!(security(one.clone()), Datum::set(["fa:16:3e:00:00:01 10.0.0.11"]));
    let other = Some("fa:16:3e:00:00:99".to_owned());
    one.allowed_address_pairs = vec![
        ("10.0.0.50/32".parse().unwrap(), None),
        ("10.1.2.3/16".parse().unwrap(), None),
        ("10.0.0.60/32".parse().unwrap(), other),
    ];
    let expected = ["fa:16:3e:00:00:01 10.0.0.11 10.0.0.50 10.1.0.0/16", "fa:16:3e:00:00:99 10.0.0.60"];
    assert_eq!(security(one.clone()), Datum::set(expected));
    // A bare MAC address would allow every IP address.
    one.addresses.clear();
    one.allowed_address_pairs.clear();
    assert_eq!(security(one.clone()), Datum::set(["fa:16:3e:00:00:01 0.0.0.0"]));
    one.port_security = false;
    assert_eq!(security(one), Datum::none());
}

#[test]
fn guests_are_told_of_routes_in_both_forms() {
    let rows = rows::of(&network(1)).rows;
    let options = rows.iter().find(|row| row.table == table::DHCP_OPTIONS).unwrap();
    let Datum::Map(options) = &options.columns["options"] else { panic!("options are a map") };
    let option = |name: &str| options.get(&name.into()).cloned();
    assert_eq!(option("router"), Some("10.0.0.1".into()));
    assert_eq!(option("dns_server"), Some("{1.1.1.1, 8.8.8.8}".into()));
    assert_eq!(option("classless_static_route"), Some("{192.168.0.0/16,10.0.0.9, 0.0.0.0/0,10.0.0.1}".into()));
}
