//! Policies in oslo.policy's language.
//!
//! A service declares its rules with their defaults ([`RuleDefault`]); an operator's YAML file may override any of
//! them, and is read again when it changes. There is no rule that a request could ask for and that is not defined:
//! unknown means no.
//!
//! Source: <https://docs.openstack.org/oslo.policy/latest/reference/api/oslo_policy.policy.html>

mod check;
mod parse;

use check::{Check, Facts};
use ferrostack_contracts::identity::{Caller, Scope};
use ferrostack_types::ids::{ProjectId, UserId};
use ferrostack_types::{Error, Result};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A scope that a rule may be used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeType {
    /// A system-scoped token.
    System,
    /// A domain-scoped token.
    Domain,
    /// A project-scoped token.
    Project,
}

/// A rule as the service declares it.
#[derive(Debug, Clone, Copy)]
pub struct RuleDefault {
    /// `os_compute_api:servers:index`
    pub name: &'static str,
    /// The check in oslo.policy's language.
    pub check: &'static str,
    /// The scopes that a token must have one of; empty for any.
    pub scopes: &'static [ScopeType],
    /// One sentence for the operator.
    pub description: &'static str,
}

impl RuleDefault {
    /// A rule for any scope.
    pub const fn new(name: &'static str, check: &'static str, description: &'static str) -> RuleDefault {
        RuleDefault { name, check, scopes: &[], description }
    }

    /// The same rule for these scopes only.
    pub const fn scopes(mut self, scopes: &'static [ScopeType]) -> RuleDefault {
        self.scopes = scopes;
        self
    }
}

/// What a rule is checked against: attributes of the thing that was resolved, e.g. `project_id`, `user_id`,
/// `target.user.domain_id`.
#[derive(Debug, Clone, Default)]
pub struct Target(BTreeMap<String, String>);

impl Target {
    /// Nothing is known of the target: only rules on the caller can hold.
    pub fn none() -> Target {
        Target::default()
    }

    /// A thing of a project.
    pub fn project(id: &ProjectId) -> Target {
        Target::none().set("project_id", id.as_str()).set("tenant_id", id.as_str())
    }

    /// The caller's own project and user, as Nova's default target is.
    pub fn own(caller: &Caller) -> Target {
        let target = Target::none().user(&caller.user_id);
        match caller.project_id() {
            Some(project) => target.set("project_id", project.as_str()).set("tenant_id", project.as_str()),
            None => target,
        }
    }

    /// Adds the owner.
    pub fn user(self, id: &UserId) -> Target {
        self.set("user_id", id.as_str())
    }

    /// Adds an attribute.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Target {
        self.0.insert(key.into(), value.into());
        self
    }

    /// Adds an attribute if it has a value.
    pub fn set_opt(self, key: impl Into<String>, value: Option<impl Into<String>>) -> Target {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

struct Rules {
    checks: HashMap<String, Check>,
}

/// Decides.
pub struct Enforcer {
    service: &'static str,
    defaults: Vec<RuleDefault>,
    scopes: HashMap<&'static str, &'static [ScopeType]>,
    file: Option<PathBuf>,
    rules: RwLock<Arc<Rules>>,
    seen: Mutex<Seen>,
}

struct Seen {
    next_look: tokio::time::Instant,
    modified: Option<SystemTime>,
}

/// How often an override file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Enforcer {
    /// Compiles the defaults and the override file, if there is one. A rule that does not parse stops the start.
    pub fn new(service: &'static str, defaults: &[&[RuleDefault]], file: Option<PathBuf>) -> Result<Arc<Enforcer>> {
        let defaults: Vec<RuleDefault> = defaults.iter().flat_map(|d| d.iter().copied()).collect();
        let scopes = defaults.iter().map(|rule| (rule.name, rule.scopes)).collect();
        let modified = file.as_ref().and_then(modified);
        let rules = Arc::new(compile(&defaults, file.as_ref())?);
        let seen = Mutex::new(Seen { next_look: tokio::time::Instant::now() + LOOK_EVERY, modified });
        Ok(Arc::new(Enforcer { service, defaults, scopes, file, rules: RwLock::new(rules), seen }))
    }

    /// Whether the rule exists.
    pub fn defines(&self, rule: &str) -> bool {
        self.rules.read().checks.contains_key(rule)
    }

    /// The rules as the service declares them.
    pub fn defaults(&self) -> &[RuleDefault] {
        &self.defaults
    }

    /// 403 unless the caller may.
    pub fn enforce(&self, rule: &str, caller: &Caller, target: &Target) -> Result<()> {
        self.reload_if_changed();
        let rules = Arc::clone(&self.rules.read());
        let refuse = |why: String| {
            // Clients of Keystone know another text than those of the others.
            let text = if self.service == "identity" {
                format!("You are not authorized to perform the requested action: {rule}.")
            } else {
                format!("Policy doesn't allow {rule} to be performed.")
            };
            Err(Error::forbidden(text).context(why))
        };
        let Some(check) = rules.checks.get(rule) else {
            return refuse(format!("rule {rule} is not defined for {}", self.service));
        };
        let scopes = self.scopes.get(rule).copied().unwrap_or_default();
        if !scopes.is_empty() && !scope_of(caller).is_some_and(|scope| scopes.contains(&scope)) {
            return refuse(format!("rule {rule} wants a token of scope {scopes:?}"));
        }
        let facts = Facts { caller, target, rules: &rules.checks };
        if check.holds(&facts, 0) {
            Ok(())
        } else {
            refuse(format!("user {} with roles {:?} does not pass {rule}", caller.user_id, caller.roles))
        }
    }

    /// A file that does not parse keeps the rules that were in force, and says so in the log: never open, never closed by accident.
    fn reload_if_changed(&self) {
        let Some(file) = &self.file else { return };
        let now = tokio::time::Instant::now();
        let mut seen = self.seen.lock();
        if now < seen.next_look {
            return;
        }
        seen.next_look = now + LOOK_EVERY;
        let modified = modified(file);
        if modified == seen.modified {
            return;
        }
        seen.modified = modified;
        match compile(&self.defaults, Some(file)) {
            Ok(rules) => {
                *self.rules.write() = Arc::new(rules);
                tracing::info!(service = self.service, "policy file read again");
            }
            Err(error) => tracing::error!(service = self.service, ?error, "policy file refused; the old rules stay"),
        }
    }
}

fn scope_of(caller: &Caller) -> Option<ScopeType> {
    match caller.scope {
        Scope::System => Some(ScopeType::System),
        Scope::Domain { .. } => Some(ScopeType::Domain),
        Scope::Project { .. } => Some(ScopeType::Project),
        // As in oslo.policy: without a project there is nothing to find in a rule that asks for one.
        Scope::Unscoped => Some(ScopeType::Project),
    }
}

fn modified(file: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|m| m.modified()).ok()
}

fn compile(defaults: &[RuleDefault], file: Option<&PathBuf>) -> Result<Rules> {
    let mut texts: BTreeMap<String, String> =
        defaults.iter().map(|rule| (rule.name.to_owned(), rule.check.to_owned())).collect();
    if let Some(text) = file.and_then(|f| std::fs::read_to_string(f).ok()) {
        let overrides: Option<BTreeMap<String, String>> =
            serde_saphyr::from_str(&text).map_err(|e| Error::internal(format!("policy file: {e}")))?;
        texts.extend(overrides.unwrap_or_default());
    }
    let mut checks = HashMap::new();
    for (name, text) in texts {
        let check = parse::parse(&text).map_err(|why| Error::internal(format!("policy rule {name}: {why}")))?;
        checks.insert(name, check);
    }
    Ok(Rules { checks })
}

#[cfg(test)]
mod tests;
