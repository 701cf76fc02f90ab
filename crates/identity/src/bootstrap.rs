//! A new cloud's first user, project, roles and catalog; at later starts, its endpoints' URLs.
//!
//! What `keystone-manage bootstrap` makes, and as repeatable: what is there is left alone, passwords included. Only the
//! URLs of endpoints that were made here follow the configuration; an operator's own endpoints are never touched.

use crate::Identity;
use crate::store::Map;
use crate::store::assignments::{ActorKind, Assignment, SYSTEM, TargetKind, assignment_insert};
use crate::store::catalog::{
    Endpoint, Region, Service, endpoint_insert, endpoint_list, endpoint_update, region_fetch, region_insert,
    service_insert, service_list,
};
use crate::store::domains::{Domain, domain_fetch, domain_insert};
use crate::store::projects::{Project, project_fetch_by_name, project_insert};
use crate::store::roles::{Role, implied_insert, role_fetch_by_name, role_insert};
use crate::store::users::{User, user_fetch_by_name, user_insert};
use ferrostack_db::Tx;
use ferrostack_types::ids::{DomainId, ProjectId, RoleId, UserId};
use ferrostack_types::{Result, Secret};

/// The domain that clients mean when they name none.
pub(crate) const DEFAULT_DOMAIN: &str = "default";

/// What a cloud starts with.
#[derive(Debug, Clone)]
pub struct BootstrapConfig {
    /// The password of the user `admin`, used only if that user is not there yet.
    pub admin_password: Secret,
    /// The region's name, `RegionOne` by custom.
    pub region: String,
    /// Service type, name and URL of each service, e.g. `("identity", "keystone", "http://127.0.0.1:5000/identity/v3")`.
    pub endpoints: Vec<(String, String, String)>,
}

impl Identity {
    /// Makes what is missing. Repeatable.
    pub async fn bootstrap(&self, config: BootstrapConfig) -> Result<()> {
        let missing = self
            .db
            .read("bootstrap", |tx| Ok(user_fetch_by_name(tx, &DomainId::new(DEFAULT_DOMAIN), "admin")?.is_none()))
            .await?;
        // Hashed outside the transaction, which must not take that long.
        let hash = if missing { Some(self.passwords.hash(&config.admin_password).await?) } else { None };
        let (env, stamps) = (self.env.clone(), std::sync::Arc::clone(&self.tokens.stamps));
        self.db
            .write("bootstrap", move |tx| {
                let mut maker = Maker { tx, env: &env };
                maker.domain()?;
                let roles = maker.roles()?;
                let user = maker.admin(hash.clone())?;
                let project = maker.project()?;
                maker.grant(&user, TargetKind::Project, project.as_str(), &roles)?;
                maker.grant(&user, TargetKind::System, SYSTEM, &roles)?;
                maker.catalog(&config)?;
                stamps.touch_everything(tx);
                stamps.touch_catalog(tx);
                Ok(())
            })
            .await
    }
}

struct Maker<'a, 'b> {
    tx: &'a mut Tx<'b>,
    env: &'a ferrostack_types::Env,
}

impl Maker<'_, '_> {
    fn domain(&mut self) -> Result<()> {
        if domain_fetch(self.tx, DEFAULT_DOMAIN)?.is_some() {
            return Ok(());
        }
        let domain = Domain {
            id: DomainId::new(DEFAULT_DOMAIN),
            name: "Default".to_owned(),
            enabled: true,
            description: "The default domain".to_owned(),
            tags: Vec::new(),
            options: Map::new(),
            extra: Map::new(),
            revoked_before: 0,
        };
        domain_insert(self.tx, &domain, self.env.now())
    }

    /// The id of `admin`, which implies manager, which implies member, which implies reader.
    fn roles(&mut self) -> Result<RoleId> {
        let mut ids = Vec::new();
        for name in ["admin", "manager", "member", "reader", "service"] {
            let role = match role_fetch_by_name(self.tx, name)? {
                Some(role) => role,
                None => self.role(name)?,
            };
            ids.push(role.id);
        }
        for pair in ids[..4].windows(2) {
            implied_insert(self.tx, &pair[0], &pair[1])?;
        }
        Ok(ids[0].clone())
    }

    fn role(&mut self, name: &str) -> Result<Role> {
        let role = Role {
            id: RoleId::new(self.env.hex_id()),
            domain_id: None,
            name: name.to_owned(),
            description: None,
            options: Map::from_iter([("immutable".to_owned(), true.into())]),
            extra: Map::new(),
        };
        role_insert(self.tx, &role)?;
        Ok(role)
    }

    fn admin(&mut self, password_hash: Option<String>) -> Result<UserId> {
        let domain_id = DomainId::new(DEFAULT_DOMAIN);
        if let Some(user) = user_fetch_by_name(self.tx, &domain_id, "admin")? {
            return Ok(user.id);
        }
        let user = User {
            id: UserId::new(self.env.hex_id()),
            domain_id,
            name: "admin".to_owned(),
            enabled: true,
            default_project_id: None,
            password_hash,
            options: Map::new(),
            extra: Map::new(),
            revoked_before: 0,
        };
        user_insert(self.tx, &user, self.env.now())?;
        Ok(user.id)
    }

    fn project(&mut self) -> Result<ProjectId> {
        let domain_id = DomainId::new(DEFAULT_DOMAIN);
        if let Some(project) = project_fetch_by_name(self.tx, &domain_id, "admin")? {
            return Ok(project.id);
        }
        let project = Project {
            id: ProjectId::new(self.env.hex_id()),
            domain_id,
            parent_id: DEFAULT_DOMAIN.to_owned(),
            name: "admin".to_owned(),
            enabled: true,
            description: "Bootstrap project for initializing the cloud.".to_owned(),
            options: Map::new(),
            extra: Map::new(),
            tags: Vec::new(),
            revoked_before: 0,
        };
        project_insert(self.tx, &project, self.env.now())?;
        Ok(project.id)
    }

    fn grant(&mut self, user: &UserId, target_kind: TargetKind, target: &str, role: &RoleId) -> Result<()> {
        assignment_insert(
            self.tx,
            &Assignment {
                actor_kind: ActorKind::User,
                actor_id: user.as_str().to_owned(),
                target_kind,
                target_id: target.to_owned(),
                role_id: role.clone(),
                inherited: false,
            },
        )
    }

    fn catalog(&mut self, config: &BootstrapConfig) -> Result<()> {
        if region_fetch(self.tx, &config.region)?.is_none() {
            let region =
                Region { id: config.region.clone(), parent_id: None, description: String::new(), extra: Map::new() };
            region_insert(self.tx, &region)?;
        }
        for (kind, name, url) in &config.endpoints {
            let service = match service_list(self.tx, Some(kind), Some(name))?.into_iter().next() {
                Some(service) => service.id,
                None => self.service(kind, name)?,
            };
            for interface in ["public", "internal", "admin"] {
                self.endpoint(&service, &config.region, interface, url)?;
            }
        }
        Ok(())
    }

    fn service(&mut self, kind: &str, name: &str) -> Result<String> {
        let service = Service {
            id: self.env.hex_id(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            enabled: true,
            description: None,
            extra: Map::new(),
        };
        service_insert(self.tx, &service)?;
        Ok(service.id)
    }

    fn endpoint(&mut self, service: &str, region: &str, interface: &str, url: &str) -> Result<()> {
        let there = endpoint_list(self.tx, Some(interface), Some(service), Some(region))?;
        if let Some(mut ours) = there.iter().find(|e| e.bootstrapped).cloned() {
            if ours.url != url {
                ours.url = url.to_owned();
                endpoint_update(self.tx, &ours)?;
            }
            return Ok(());
        }
        if !there.is_empty() {
            return Ok(());
        }
        let endpoint = Endpoint {
            id: self.env.hex_id(),
            service_id: service.to_owned(),
            region_id: Some(region.to_owned()),
            interface: interface.to_owned(),
            url: url.to_owned(),
            enabled: true,
            extra: Map::new(),
            bootstrapped: true,
        };
        endpoint_insert(self.tx, &endpoint)
    }
}
