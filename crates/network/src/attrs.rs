//! Request bodies the way Neutron reads them: a table of attributes per resource, each with a form, a default, and
//! whether it may be given at creation and at update. The messages are Neutron's.

use crate::errors;
use ferrostack_types::Result;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::str::FromStr;
use uuid::Uuid;

/// What an attribute must look like.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// At most so many characters.
    Text(usize),
    /// The same or null.
    TextOrNull(usize),
    Bool,
    Int(i64, i64),
    IntOrNull(i64, i64),
    Uuid,
    UuidOrNull,
    OneOf(&'static [&'static str]),
    OneOfOrNull(&'static [&'static str]),
    IpOrNull,
    MacAddress,
    /// A range in its usual form.
    Cidr,
    /// Anything that the function accepts and brings to its usual form.
    Check(fn(&Value) -> Result<Value, String>),
}

/// What an attribute is when it is not given.
#[derive(Clone, Copy)]
pub(crate) enum Default {
    /// It must be given.
    Required,
    /// The handler decides.
    Unset,
    Null,
    Bool(bool),
    Text(&'static str),
    List,
}

impl Default {
    fn value(self) -> Option<Value> {
        Some(match self {
            Default::Required | Default::Unset => return None,
            Default::Null => Value::Null,
            Default::Bool(value) => Value::Bool(value),
            Default::Text(text) => Value::from(text),
            Default::List => json!([]),
        })
    }
}

/// An attribute.
#[derive(Clone, Copy)]
pub(crate) struct Attr {
    name: &'static str,
    kind: Kind,
    default: Default,
    post: bool,
    put: bool,
}

/// An attribute that may be given at any time.
pub(crate) const fn attr(name: &'static str, kind: Kind, default: Default) -> Attr {
    Attr { name, kind, default, post: true, put: true }
}

impl Attr {
    /// Only at creation.
    pub(crate) const fn create_only(mut self) -> Attr {
        self.put = false;
        self
    }
}

/// An attribute that only the service writes.
pub(crate) const fn read_only(name: &'static str) -> Attr {
    Attr { name, kind: Kind::Text(0), default: Default::Unset, post: false, put: false }
}

/// Attributes as given, checked and in their usual form.
#[derive(Debug, Clone)]
pub(crate) struct Attrs {
    values: Map<String, Value>,
    /// The given ones that differ from their default: those that have policy rules of their own.
    pub(crate) explicit: Vec<&'static str>,
}

impl Attrs {
    /// For a creation: everything with a default has a value then.
    pub(crate) fn create(table: &[Attr], raw: &Map<String, Value>) -> Result<Attrs> {
        check_known(table, raw)?;
        let mut values = Map::new();
        let mut explicit = Vec::new();
        for attr in table {
            let default = attr.default.value();
            match raw.get(attr.name) {
                Some(_) if !attr.post => {
                    return Err(errors::bad_request(format!("Attribute '{}' not allowed in POST", attr.name)));
                }
                Some(given) => {
                    let value = check(attr, given)?;
                    if Some(&value) != default.as_ref() {
                        explicit.push(attr.name);
                    }
                    values.insert(attr.name.to_owned(), value);
                }
                None if matches!(attr.default, Default::Required) => {
                    return Err(errors::bad_request(format!(
                        "Failed to parse request. Required attribute '{}' not specified",
                        attr.name
                    )));
                }
                None => {
                    if let Some(value) = default {
                        values.insert(attr.name.to_owned(), value);
                    }
                }
            }
        }
        Ok(Attrs { values, explicit })
    }

    /// For an update: only what is given.
    pub(crate) fn update(table: &[Attr], raw: &Map<String, Value>) -> Result<Attrs> {
        check_known(table, raw)?;
        let mut values = Map::new();
        let mut explicit = Vec::new();
        for (name, given) in raw {
            let Some(attr) = table.iter().find(|a| a.name == name) else { continue };
            if !attr.put {
                return Err(errors::bad_request(format!("Cannot update read-only attribute {name}")));
            }
            values.insert(name.clone(), check(attr, given)?);
            explicit.push(attr.name);
        }
        Ok(Attrs { values, explicit })
    }

    /// Whether it is given (or has a default).
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// As it is; null if it is not there.
    pub(crate) fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or(&Value::Null)
    }

    /// A text; empty if it is null or not there.
    pub(crate) fn text(&self, name: &str) -> String {
        self.value(name).as_str().unwrap_or_default().to_owned()
    }

    /// A text, if there is one.
    pub(crate) fn opt_text(&self, name: &str) -> Option<String> {
        self.value(name).as_str().map(str::to_owned)
    }

    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.value(name).as_bool()
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.value(name).as_i64()
    }

    /// A text in another form: an id, an address.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.value(name).as_str()?.parse().ok()
    }

    /// A list of texts.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let items = self.value(name).as_array();
        items.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    }

    /// A list of texts in another form.
    pub(crate) fn parsed_list<T: FromStr>(&self, name: &str) -> Vec<T> {
        self.texts(name).iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// A text for each one that is given.
    pub(crate) fn set_text(&self, name: &str, place: &mut String) {
        if self.has(name) {
            *place = self.text(name);
        }
    }

    pub(crate) fn set_bool(&self, name: &str, place: &mut bool) {
        if let Some(value) = self.bool(name) {
            *place = value;
        }
    }
}

fn check_known(table: &[Attr], raw: &Map<String, Value>) -> Result<()> {
    let unknown: Vec<&str> =
        raw.keys().map(String::as_str).filter(|name| !table.iter().any(|a| a.name == *name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let names: String = unknown.join(", ").chars().take(255).collect();
    Err(errors::bad_request(format!("Unrecognized attribute(s) '{names}'")))
}

fn check(attr: &Attr, given: &Value) -> Result<Value> {
    convert(attr.kind, given)
        .map_err(|reason| errors::bad_request(format!("Invalid input for {}. Reason: {reason}.", attr.name)))
}

/// A value for a message, cut to a length that a message can carry.
pub(crate) fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "None".to_owned(),
        other => other.to_string(),
    };
    text.chars().filter(|c| !c.is_control()).take(255).collect()
}

fn convert(kind: Kind, given: &Value) -> Result<Value, String> {
    let or_null = |inner: Kind| if given.is_null() { Ok(Value::Null) } else { convert(inner, given) };
    match kind {
        Kind::Text(most) => text(given, most),
        Kind::TextOrNull(most) => or_null(Kind::Text(most)),
        Kind::Bool => boolean(given),
        Kind::Int(low, high) => integer(given, low, high),
        Kind::IntOrNull(low, high) => or_null(Kind::Int(low, high)),
        Kind::Uuid => uuid(given).map(Value::from),
        Kind::UuidOrNull => or_null(Kind::Uuid),
        Kind::OneOf(values) => match given.as_str() {
            Some(text) if values.contains(&text) => Ok(given.clone()),
            _ => {
                let list: Vec<String> = values.iter().map(|v| format!("'{v}'")).collect();
                Err(format!("'{}' is not in [{}]", shown(given), list.join(", ")))
            }
        },
        Kind::OneOfOrNull(values) => or_null(Kind::OneOf(values)),
        Kind::IpOrNull if given.is_null() => Ok(Value::Null),
        Kind::IpOrNull => ip(given).map(|ip| Value::from(ip.to_string())),
        Kind::MacAddress => mac(given).map(Value::from),
        Kind::Cidr => cidr(given).map(|net| Value::from(net.to_string())),
        Kind::Check(check) => check(given),
    }
}

fn text(given: &Value, most: usize) -> Result<Value, String> {
    let Some(text) = given.as_str() else { return Err(format!("'{}' is not a valid string", shown(given))) };
    if text.chars().count() > most {
        return Err(format!("'{}' exceeds maximum length of {most}", shown(given)));
    }
    if text.contains('\0') {
        return Err(format!("'{}' is not a valid string", shown(given)));
    }
    Ok(given.clone())
}

fn boolean(given: &Value) -> Result<Value, String> {
    let wrong = || format!("'{}' cannot be converted to boolean", shown(given));
    let value = match given {
        Value::Bool(value) => *value,
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(wrong()),
        },
        Value::Number(number) => match number.as_i64() {
            Some(1) => true,
            Some(0) => false,
            _ => return Err(wrong()),
        },
        _ => return Err(wrong()),
    };
    Ok(Value::Bool(value))
}

/// A number, or a text that is one.
pub(crate) fn integer(given: &Value, low: i64, high: i64) -> Result<Value, String> {
    let number = given.as_i64().or_else(|| given.as_str()?.trim().parse().ok());
    let number = number.ok_or_else(|| format!("'{}' is not an integer", shown(given)))?;
    if number < low {
        return Err(format!("'{number}' is too small - must be at least '{low}'"));
    }
    if number > high {
        return Err(format!("'{number}' is too large - must be no larger than '{high}'"));
    }
    Ok(Value::from(number))
}

pub(crate) fn uuid(given: &Value) -> Result<String, String> {
    let parsed = given.as_str().and_then(|text| Uuid::try_parse(text).ok());
    parsed.map(|id| id.hyphenated().to_string()).ok_or_else(|| format!("'{}' is not a valid UUID", shown(given)))
}

pub(crate) fn ip(given: &Value) -> Result<IpAddr, String> {
    let parsed = given.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| format!("'{}' is not a valid IP address", shown(given)))
}

/// A MAC address in lower case with colons; not a group address.
pub(crate) fn mac(given: &Value) -> Result<String, String> {
    let wrong = || format!("'{}' is not a valid MAC address", shown(given));
    let text = given.as_str().ok_or_else(wrong)?.to_ascii_lowercase().replace('-', ":");
    let parts: Vec<&str> = text.split(':').collect();
    let plain = parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
    let first = parts.first().and_then(|p| u8::from_str_radix(p, 16).ok()).unwrap_or(1);
    if !plain || first & 1 == 1 || text == "00:00:00:00:00:00" {
        return Err(wrong());
    }
    Ok(text)
}

pub(crate) fn cidr(given: &Value) -> Result<IpNet, String> {
    let text = given.as_str().unwrap_or_default();
    let net: IpNet = text.parse().map_err(|_| format!("'{}' is not a valid IP subnet", shown(given)))?;
    let usual = net.trunc();
    if usual == net {
        return Ok(net);
    }
    Err(format!("'{}' isn't a recognized IP subnet cidr, '{usual}' is recommended", shown(given)))
}

/// `tags`: at most 50, of at most 255 characters, none twice.
pub(crate) fn tags(given: &Value) -> Result<Value, String> {
    let Some(items) = given.as_array() else { return Err(format!("'{}' is not a list", shown(given))) };
    if items.len() > 50 {
        return Err("The number of tags exceed the per-resource limit of 50".to_owned());
    }
    let mut tags: Vec<String> = Vec::new();
    for item in items {
        let tag = item.as_str().ok_or_else(|| format!("'{}' is not a valid string", shown(item)))?;
        check_tag(tag)?;
        if !tags.iter().any(|t| t == tag) {
            tags.push(tag.to_owned());
        }
    }
    Ok(json!(tags))
}

/// One tag.
pub(crate) fn check_tag(tag: &str) -> Result<(), String> {
    if tag.is_empty() {
        return Err("'' is not a valid tag".to_owned());
    }
    if tag.chars().count() > 255 {
        return Err(format!("'{}' exceeds maximum length of 255", shown(&Value::from(tag))));
    }
    if tag.contains([',', '/']) || tag.chars().any(char::is_control) {
        return Err(format!("'{}' contains a character that is not allowed in a tag", shown(&Value::from(tag))));
    }
    Ok(())
}

/// A list of ids; null is an empty one.
pub(crate) fn uuids(given: &Value) -> Result<Value, String> {
    if given.is_null() {
        return Ok(json!([]));
    }
    let Some(items) = given.as_array() else { return Err(format!("'{}' is not a list", shown(given))) };
    let mut ids: Vec<String> = Vec::new();
    for item in items {
        let id = uuid(item)?;
        if ids.contains(&id) {
            return Err(format!("Duplicate items in the list: '{id}'"));
        }
        ids.push(id);
    }
    Ok(json!(ids))
}

/// A list of short texts, such as names of availability zones.
pub(crate) fn words(given: &Value) -> Result<Value, String> {
    let Some(items) = given.as_array() else { return Err(format!("'{}' is not a list", shown(given))) };
    for item in items {
        text(item, 255)?;
    }
    Ok(given.clone())
}

/// A list of routes, each `{"destination", "nexthop"}`; null is an empty one.
pub(crate) fn routes(given: &Value) -> Result<Value, String> {
    if given.is_null() {
        return Ok(json!([]));
    }
    let wrong = |item: &Value| format!("Invalid data format for hostroute: '{}'", shown(item));
    let Some(items) = given.as_array() else { return Err(wrong(given)) };
    let mut routes: Vec<Value> = Vec::new();
    for item in items {
        let map = item.as_object().filter(|m| m.len() == 2).ok_or_else(|| wrong(item))?;
        let destination = cidr(map.get("destination").ok_or_else(|| wrong(item))?)?;
        let nexthop = ip(map.get("nexthop").ok_or_else(|| wrong(item))?)?;
        if destination.addr().is_ipv4() != nexthop.is_ipv4() {
            return Err(wrong(item));
        }
        let route = json!({"destination": destination.to_string(), "nexthop": nexthop.to_string()});
        if routes.contains(&route) {
            return Err(format!("Duplicate hostroute '{}'", shown(&route)));
        }
        routes.push(route);
    }
    Ok(Value::Array(routes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Attr] = &[
        read_only("id"),
        attr("name", Kind::Text(4), Default::Text("")),
        attr("up", Kind::Bool, Default::Bool(true)),
        attr("network_id", Kind::Uuid, Default::Required).create_only(),
    ];

    fn create(body: Value) -> Result<Attrs, String> {
        Attrs::create(TABLE, body.as_object().unwrap()).map_err(|e| e.public().to_owned())
    }

    #[test]
    fn speaks_like_neutron() {
        let id = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8";
        let attrs = create(json!({"network_id": id, "up": "False"})).unwrap();
        assert_eq!(attrs.text("network_id"), id.to_lowercase());
        assert_eq!((attrs.bool("up"), attrs.text("name").as_str()), (Some(false), ""));
        assert_eq!(attrs.explicit, ["up", "network_id"]);
        let refused = |body: Value| create(body).unwrap_err();
        assert_eq!(refused(json!({})), "Failed to parse request. Required attribute 'network_id' not specified");
        assert_eq!(refused(json!({"network_id": id, "evil": 1})), "Unrecognized attribute(s) 'evil'");
        assert_eq!(refused(json!({"network_id": id, "id": "x"})), "Attribute 'id' not allowed in POST");
        assert_eq!(
            refused(json!({"network_id": id, "name": "12345"})),
            "Invalid input for name. Reason: '12345' exceeds maximum length of 4."
        );
        assert_eq!(refused(json!({"network_id": 5})), "Invalid input for network_id. Reason: '5' is not a valid UUID.");
        let update = |body: Value| Attrs::update(TABLE, body.as_object().unwrap());
        assert_eq!(update(json!({"up": 0})).unwrap().bool("up"), Some(false));
        assert_eq!(
            update(json!({"network_id": id})).unwrap_err().public(),
            "Cannot update read-only attribute network_id"
        );
    }

    #[test]
    fn forms() {
        assert_eq!(mac(&json!("FA-16-3E-00-00-01")).unwrap(), "fa:16:3e:00:00:01");
        for bad in
            ["01:00:5e:00:00:01", "fa:16:3e:00:00", "fa:16:3e:00:00:0g", "00:00:00:00:00:00", "fa:16:3e:00:00:01\n"]
        {
            assert!(mac(&json!(bad)).is_err(), "{bad}");
        }
        assert!(cidr(&json!("10.0.0.0/24")).is_ok());
        assert!(cidr(&json!("10.0.0.1/24")).unwrap_err().ends_with("'10.0.0.0/24' is recommended"));
        assert!(tags(&json!(["a,b"])).is_err() && tags(&json!(["a", "a"])).unwrap() == json!(["a"]));
        assert!(routes(&json!([{"destination": "10.0.0.0/8", "nexthop": "fd00::1"}])).is_err());
    }
}
