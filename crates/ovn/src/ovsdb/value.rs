//! Values of OVSDB and their JSON forms.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A single value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// true or false
    Boolean(bool),
    /// A 64-bit integer.
    Integer(i64),
    /// A floating-point number, by its bits: no row that matters here is compared by one.
    Real(u64),
    /// A text.
    Text(String),
    /// A row.
    Uuid(Uuid),
}

impl Atom {
    /// The JSON form.
    pub fn to_json(&self) -> Value {
        match self {
            Atom::Boolean(b) => json!(b),
            Atom::Integer(i) => json!(i),
            Atom::Real(bits) => json!(f64::from_bits(*bits)),
            Atom::Text(t) => json!(t),
            Atom::Uuid(u) => json!(["uuid", u.hyphenated().to_string()]),
        }
    }

    /// Reads the JSON form.
    pub fn from_json(value: &Value) -> Option<Atom> {
        Some(match value {
            Value::Bool(b) => Atom::Boolean(*b),
            Value::String(t) => Atom::Text(t.clone()),
            Value::Number(n) => match n.as_i64() {
                Some(i) => Atom::Integer(i),
                None => Atom::Real(n.as_f64()?.to_bits()),
            },
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(tag), Value::String(id)] if tag == "uuid" => Atom::Uuid(Uuid::try_parse(id).ok()?),
                _ => return None,
            },
            _ => return None,
        })
    }
}

impl From<&str> for Atom {
    fn from(text: &str) -> Atom {
        Atom::Text(text.to_owned())
    }
}

impl From<String> for Atom {
    fn from(text: String) -> Atom {
        Atom::Text(text)
    }
}

impl From<i64> for Atom {
    fn from(number: i64) -> Atom {
        Atom::Integer(number)
    }
}

impl From<bool> for Atom {
    fn from(b: bool) -> Atom {
        Atom::Boolean(b)
    }
}

impl From<Uuid> for Atom {
    fn from(uuid: Uuid) -> Atom {
        Atom::Uuid(uuid)
    }
}

/// A column's value. A scalar is a set of one: that is how OVSDB itself sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum {
    /// A scalar, an optional value or a set.
    Set(BTreeSet<Atom>),
    /// A map.
    Map(BTreeMap<Atom, Atom>),
}

impl Datum {
    /// The empty set.
    pub fn none() -> Datum {
        Datum::Set(BTreeSet::new())
    }

    /// A scalar.
    pub fn one(atom: impl Into<Atom>) -> Datum {
        Datum::Set(BTreeSet::from([atom.into()]))
    }

    /// An optional value.
    pub fn option<A: Into<Atom>>(atom: Option<A>) -> Datum {
        Datum::Set(atom.into_iter().map(Into::into).collect())
    }

    /// A set.
    pub fn set<A: Into<Atom>>(atoms: impl IntoIterator<Item = A>) -> Datum {
        Datum::Set(atoms.into_iter().map(Into::into).collect())
    }

    /// A map of texts.
    pub fn map<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Datum {
        Datum::Map(pairs.into_iter().map(|(k, v)| (Atom::Text(k.into()), Atom::Text(v.into()))).collect())
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        match self {
            Datum::Set(atoms) => match (atoms.len(), atoms.first()) {
                (1, Some(atom)) => atom.to_json(),
                _ => json!(["set", atoms.iter().map(Atom::to_json).collect::<Vec<_>>()]),
            },
            Datum::Map(pairs) => {
                json!(["map", pairs.iter().map(|(k, v)| json!([k.to_json(), v.to_json()])).collect::<Vec<_>>()])
            }
        }
    }

    /// Reads the JSON form.
    pub fn from_json(value: &Value) -> Option<Datum> {
        if let Value::Array(parts) = value
            && let [Value::String(tag), Value::Array(items)] = parts.as_slice()
        {
            return match tag.as_str() {
                "set" => items.iter().map(Atom::from_json).collect::<Option<BTreeSet<_>>>().map(Datum::Set),
                "map" => items.iter().map(pair_from_json).collect::<Option<BTreeMap<_, _>>>().map(Datum::Map),
                _ => None,
            };
        }
        Atom::from_json(value).map(|atom| Datum::Set(BTreeSet::from([atom])))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Datum::Set(atoms) => atoms.is_empty(),
            Datum::Map(pairs) => pairs.is_empty(),
        }
    }

    /// Whether this is what OVSDB fills in for a column that nobody sets.
    pub fn is_default(&self) -> bool {
        let Datum::Set(atoms) = self else { return self.is_empty() };
        match (atoms.len(), atoms.first()) {
            (0, _) => true,
            (1, Some(Atom::Boolean(false) | Atom::Integer(0) | Atom::Real(0))) => true,
            (1, Some(Atom::Text(text))) => text.is_empty(),
            (1, Some(Atom::Uuid(uuid))) => uuid.is_nil(),
            _ => false,
        }
    }

    /// Applies the difference that `update2` and `update3` send for a column with many values: members that are there
    /// go, members that are not come; pairs likewise, and a pair with another value is replaced.
    pub(crate) fn apply_difference(&mut self, difference: Datum) {
        match (self, difference) {
            (Datum::Set(atoms), Datum::Set(changed)) => {
                for atom in changed {
                    if !atoms.remove(&atom) {
                        atoms.insert(atom);
                    }
                }
            }
            (Datum::Map(pairs), Datum::Map(changed)) => {
                for (key, value) in changed {
                    if pairs.get(&key) == Some(&value) {
                        pairs.remove(&key);
                    } else {
                        pairs.insert(key, value);
                    }
                }
            }
            (old, new) => *old = new,
        }
    }
}

fn pair_from_json(value: &Value) -> Option<(Atom, Atom)> {
    match value.as_array()?.as_slice() {
        [key, value] => Some((Atom::from_json(key)?, Atom::from_json(value)?)),
        _ => None,
    }
}

/// A UUID that depends on nothing but another one and some texts: for rows whose UUID we choose.
pub fn derived_uuid(of: Uuid, parts: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(of.as_bytes());
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_forms_survive_a_round_trip() {
        let id = Uuid::from_u128(7);
        for datum in [
            Datum::none(),
            Datum::one("text"),
            Datum::one(-4),
            Datum::one(true),
            Datum::one(id),
            Datum::set(["a", "b"]),
            Datum::set([id, Uuid::nil()]),
            Datum::map([("k", "v"), ("", "")]),
            Datum::Map(BTreeMap::new()),
        ] {
            assert_eq!(Datum::from_json(&datum.to_json()), Some(datum));
        }
        assert_eq!(Datum::from_json(&json!(["uuid", "nonsense"])), None);
    }

    #[test]
    fn a_set_of_two_texts_is_not_taken_for_a_tag() {
        let datum = Datum::set(["uuid", "set"]);
        assert_eq!(Datum::from_json(&datum.to_json()), Some(datum));
    }

    #[test]
    fn differences_toggle_members_and_replace_values() {
        let mut set = Datum::set(["a", "b"]);
        set.apply_difference(Datum::set(["b", "c"]));
        assert_eq!(set, Datum::set(["a", "c"]));
        let mut map = Datum::map([("a", "1"), ("b", "2")]);
        map.apply_difference(Datum::map([("a", "1"), ("b", "3"), ("c", "4")]));
        assert_eq!(map, Datum::map([("b", "3"), ("c", "4")]));
    }
}
