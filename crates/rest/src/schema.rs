//! Request bodies against JSON Schema, with the messages that OpenStack's clients know.
//!
//! One schema per operation describes the superset of all microversions. Which fields a version knows is a table
//! beside it ([`FieldVersions`]); a field that the asked version does not know is refused exactly like an unknown one.

use ferrostack_types::{Error, Microversion, Result};
use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use serde_json::Value;

/// From which to which microversion a field is known.
#[derive(Debug, Clone, Copy)]
pub struct FieldVersions {
    /// Where it is, as a JSON pointer without array indexes: `/server/tags`.
    pub pointer: &'static str,
    /// The first version that knows it.
    pub since: Option<Microversion>,
    /// The last version that knows it.
    pub until: Option<Microversion>,
}

impl FieldVersions {
    /// Known from a version on.
    pub const fn since(pointer: &'static str, version: Microversion) -> FieldVersions {
        FieldVersions { pointer, since: Some(version), until: None }
    }

    /// Known up to and with a version.
    pub const fn until(pointer: &'static str, version: Microversion) -> FieldVersions {
        FieldVersions { pointer, since: None, until: Some(version) }
    }
}

/// A compiled schema. Keep it in a `static` behind a `LazyLock`.
pub struct Schema {
    validator: Validator,
    versions: &'static [FieldVersions],
}

impl Schema {
    /// Compiles. Panics on a schema that is not one: it is part of the program.
    pub fn new(schema: Value) -> Schema {
        Schema::versioned(schema, &[])
    }

    /// Compiles a superset schema with its table of versions.
    pub fn versioned(schema: Value, versions: &'static [FieldVersions]) -> Schema {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|e| panic!("a request schema is invalid: {e}"));
        Schema { validator, versions }
    }

    /// Checks a body; 400 with the first offence.
    pub fn check(&self, body: &Value, version: Option<Microversion>) -> Result<()> {
        if let Some(error) = self.validator.iter_errors(body).next() {
            return Err(Error::invalid(message(&error)));
        }
        let Some(version) = version else { return Ok(()) };
        for field in self.versions {
            let known = field.since.is_none_or(|v| version >= v) && field.until.is_none_or(|v| version <= v);
            if !known && body.pointer(field.pointer).is_some() {
                let (parent, name) = field.pointer.rsplit_once('/').unwrap_or(("", field.pointer));
                let place = parent.rsplit('/').next().unwrap_or_default();
                let value = body.pointer(parent).unwrap_or(&Value::Null);
                return Err(Error::invalid(prefix(place, value) + &unexpected(&[name.to_owned()])));
            }
        }
        Ok(())
    }
}

fn prefix(place: &str, value: &Value) -> String {
    if place.is_empty() {
        return String::new();
    }
    format!("Invalid input for field/attribute {place}. Value: {}. ", python(value))
}

fn unexpected(names: &[String]) -> String {
    let list = names.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
    let verb = if names.len() == 1 { "was" } else { "were" };
    format!("Additional properties are not allowed ({list} {verb} unexpected)")
}

/// The message of Python's jsonschema with the prefix that Nova and Keystone put before it.
fn message(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as K;
    let path = error.instance_path().to_string();
    let place = path.rsplit('/').next().unwrap_or_default();
    let instance = error.instance();
    let shown = python(instance);
    let text = match error.kind() {
        K::AdditionalProperties { unexpected: names } => unexpected(names),
        K::Required { property } => return format!("{} is a required property", python(property)),
        K::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(t) => format!("'{t}'"),
                TypeKind::Multiple(types) => types.iter().map(|t| format!("'{t}'")).collect::<Vec<_>>().join(", "),
            };
            format!("{shown} is not of type {wanted}")
        }
        K::MinLength { .. } => format!("{shown} is too short"),
        K::MaxLength { .. } => format!("{shown} is too long"),
        K::MinItems { .. } => format!("{shown} is too short"),
        K::MaxItems { .. } => format!("{shown} is too long"),
        K::Minimum { limit } => format!("{shown} is less than the minimum of {limit}"),
        K::Maximum { limit } => format!("{shown} is greater than the maximum of {limit}"),
        K::Enum { options } => format!("{shown} is not one of {}", python(options)),
        K::Pattern { pattern } => format!("{shown} does not match '{pattern}'"),
        K::Format { format } => format!("{shown} is not a '{format}'"),
        K::UniqueItems => format!("{shown} has non-unique elements"),
        K::MinProperties { .. } => format!("{shown} does not have enough properties"),
        K::MaxProperties { .. } => format!("{shown} has too many properties"),
        K::AnyOf { .. } | K::OneOfNotValid { .. } => format!("{shown} is not valid under any of the given schemas"),
        K::OneOfMultipleValid { .. } => format!("{shown} is valid under each of several of the given schemas"),
        K::PropertyNames { error } => return message(error),
        _ => error.to_string(),
    };
    prefix(place, instance) + &text
}

/// A value as Python prints it, cut to a length that an error message can carry.
fn python(value: &Value) -> String {
    let mut text = String::new();
    write_python(value, &mut text);
    if text.len() > 256 {
        let end = (0..=256).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn write_python(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::String(s) => {
            out.push('\'');
            out.extend(s.chars().take(300));
            out.push('\'');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().take(20).enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_python(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, item)) in map.iter().take(20).enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&format!("'{}': ", key.chars().take(100).collect::<String>()));
                write_python(item, out);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn speaks_like_openstack() {
        const VERSIONS: &[FieldVersions] = &[FieldVersions::since("/server/tags", Microversion::new(2, 52))];
        let schema = Schema::versioned(
            json!({"type": "object", "required": ["server"], "additionalProperties": false, "properties": {"server": {
                "type": "object", "required": ["name"], "additionalProperties": false,
                "properties": {"name": {"type": "string", "minLength": 1}, "tags": {"type": "array"}}}}}),
            VERSIONS,
        );
        let refuse = |body: Value, version| schema.check(&body, Some(version)).unwrap_err().public().to_owned();
        let (old, new) = (Microversion::new(2, 51), Microversion::new(2, 52));
        assert_eq!(
            refuse(json!({"server": {"name": ""}}), new),
            "Invalid input for field/attribute name. Value: ''. '' is too short"
        );
        assert_eq!(refuse(json!({"server": {}}), new), "'name' is a required property");
        let body = json!({"server": {"name": "x", "tags": []}});
        assert!(schema.check(&body, Some(new)).is_ok());
        assert!(refuse(body, old).ends_with("Additional properties are not allowed ('tags' was unexpected)"));
        assert!(refuse(json!({"server": {"name": "x", "evil": 1}}), new).contains("'evil' was unexpected"));
        assert!(refuse(json!({"server": {"name": 5}}), new).ends_with("5 is not of type 'string'"));
    }
}
