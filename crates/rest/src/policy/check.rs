//! Compiled checks and how they are decided.

use super::Target;
use ferrostack_contracts::identity::{Caller, Scope};
use std::collections::HashMap;

/// A compiled check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    True,
    False,
    Not(Box<Check>),
    And(Vec<Check>),
    Or(Vec<Check>),
    /// `role:member`; the name may be a template.
    Role(Template),
    /// `rule:admin_required`
    Rule(String),
    /// `project_id:%(project_id)s`: something of the caller against something of the target.
    Attribute {
        of_caller: String,
        wanted: Template,
    },
    /// `'literal':%(target.x)s`, `True:%(target.enabled)s`, `None:%(target.domain_id)s`
    Literal {
        literal: String,
        wanted: Template,
    },
    /// `field:networks:shared=True`, `field:port:device_owner=~^network:`: Neutron's look at a field of the target.
    Field {
        name: String,
        wanted: FieldValue,
    },
}

/// What a field must be.
#[derive(Debug, Clone)]
pub(crate) enum FieldValue {
    Text(String),
    Matches(regex::Regex),
}

impl PartialEq for FieldValue {
    fn eq(&self, other: &FieldValue) -> bool {
        match (self, other) {
            (FieldValue::Text(a), FieldValue::Text(b)) => a == b,
            (FieldValue::Matches(a), FieldValue::Matches(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Eq for FieldValue {}

/// A text that may hold one `%(name)s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Template {
    Text(String),
    Attribute(String),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Template {
        match text.strip_prefix("%(").and_then(|t| t.strip_suffix(")s")) {
            Some(name) => Template::Attribute(name.to_owned()),
            None => Template::Text(text.to_owned()),
        }
    }

    /// `None` if the target lacks the attribute; then the check does not hold.
    fn resolve<'a>(&'a self, target: &'a Target) -> Option<&'a str> {
        match self {
            Template::Text(text) => Some(text),
            Template::Attribute(name) => target.get(name),
        }
    }
}

/// What a check is decided on.
pub(crate) struct Facts<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) target: &'a Target,
    pub(crate) rules: &'a HashMap<String, Check>,
}

/// Rules that refer to each other deeper than this are a loop.
const MAX_DEPTH: usize = 32;

impl Check {
    pub(crate) fn holds(&self, facts: &Facts<'_>, depth: usize) -> bool {
        match self {
            Check::True => true,
            Check::False => false,
            Check::Not(check) => !check.holds(facts, depth),
            Check::And(checks) => checks.iter().all(|c| c.holds(facts, depth)),
            Check::Or(checks) => checks.iter().any(|c| c.holds(facts, depth)),
            Check::Role(role) => role.resolve(facts.target).is_some_and(|role| facts.caller.has_role(role)),
            Check::Rule(name) => {
                depth < MAX_DEPTH && facts.rules.get(name).is_some_and(|check| check.holds(facts, depth + 1))
            }
            // `domain_id:None`: what the caller does not have reads as Python's None.
            Check::Attribute { of_caller, wanted: Template::Text(none) } if none == "None" => {
                attribute(facts.caller, of_caller).is_none_or(|value| value == "None")
            }
            Check::Attribute { of_caller, wanted } => {
                let wanted = wanted.resolve(facts.target);
                wanted.is_some() && attribute(facts.caller, of_caller) == wanted
            }
            Check::Field { name, wanted } => facts.target.get(name).is_some_and(|value| match wanted {
                FieldValue::Text(text) => value == text,
                FieldValue::Matches(pattern) => pattern.is_match(value),
            }),
            Check::Literal { literal, wanted } => match wanted.resolve(facts.target) {
                Some(value) => value == literal,
                None => literal == "None" && matches!(wanted, Template::Attribute(_)),
            },
        }
    }
}

/// What a rule may ask of the caller, by oslo.context's names.
fn attribute<'a>(caller: &'a Caller, name: &str) -> Option<&'a str> {
    match name {
        "user_id" => Some(caller.user_id.as_str()),
        "project_id" | "tenant_id" | "tenant" => caller.project_id().map(|p| p.as_str()),
        "domain_id" => caller.domain_id().map(|d| d.as_str()),
        "user_domain_id" => Some(caller.user_domain_id.as_str()),
        "project_domain_id" => match &caller.scope {
            Scope::Project { domain_id, .. } => Some(domain_id.as_str()),
            _ => None,
        },
        "system_scope" => caller.is_system().then_some("all"),
        // Keystone's own names for the same, inside token data.
        "token.project.domain.id" => match &caller.scope {
            Scope::Project { domain_id, .. } => Some(domain_id.as_str()),
            _ => None,
        },
        "token.domain.id" => caller.domain_id().map(|d| d.as_str()),
        "token.user.domain.id" => Some(caller.user_domain_id.as_str()),
        // Elevated contexts do not exist here: services call each other in process, not with a flag.
        "is_admin" => Some("False"),
        "is_admin_project" => Some("True"),
        _ => None,
    }
}
