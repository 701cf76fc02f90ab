//! Giving and taking roles: `/v3/{projects,domains,system}/…/{users,groups}/…/roles/…` and their OS-INHERIT forms.
//!
//! One handler per verb serves all of them; the route's own path says who, where and whether inherited.

use super::collection;
use crate::Identity;
use crate::stamps::Stamps;
use crate::store::app_credentials::app_credentials_delete_of;
use crate::store::assignments::{
    ActorKind, Assignment, AssignmentFilter, SYSTEM, TargetKind, assignment_delete, assignment_exists,
    assignment_insert, assignment_list,
};
use crate::store::roles::{Role, role_list_by_ids};
use crate::store::users::user_list_of_group;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::{GroupId, RoleId};
use ferrostack_types::{Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a path names.
#[derive(Debug, Clone)]
struct Place {
    actor_kind: ActorKind,
    actor_id: String,
    target_kind: TargetKind,
    target_id: String,
    inherited: bool,
}

fn place(request: &Request) -> Place {
    let of = |name: &str| Some(request.param(name)).filter(|v| !v.is_empty()).map(str::to_owned);
    let (actor_kind, actor_id) = match of("user_id") {
        Some(id) => (ActorKind::User, id),
        None => (ActorKind::Group, request.param("group_id").to_owned()),
    };
    let (target_kind, target_id) = match (of("project_id"), of("domain_id")) {
        (Some(id), _) => (TargetKind::Project, id),
        (None, Some(id)) => (TargetKind::Domain, id),
        (None, None) => (TargetKind::System, SYSTEM.to_owned()),
    };
    let inherited = request.path.ends_with("/inherited_to_projects");
    Place { actor_kind, actor_id, target_kind, target_id, inherited }
}

/// What the policy is asked about; 404 for what is not there.
fn resolve_in_tx(tx: &mut Tx<'_>, place: &Place) -> Result<Target> {
    let target = match place.target_kind {
        TargetKind::Project => super::projects::target(&super::projects::fetch(tx, &place.target_id)?),
        TargetKind::Domain => {
            let domain = super::domains::fetch(tx, &place.target_id)?;
            Target::none().set("target.domain.id", domain.id.as_str())
        }
        TargetKind::System => Target::none(),
    };
    Ok(match place.actor_kind {
        ActorKind::User => {
            let user = super::users::fetch(tx, &place.actor_id)?;
            target.set("target.user.id", user.id.as_str()).set("target.user.domain_id", user.domain_id.as_str())
        }
        ActorKind::Group => {
            let group = super::groups::fetch(tx, &place.actor_id)?;
            target.set("target.group.id", group.id.as_str()).set("target.group.domain_id", group.domain_id.as_str())
        }
    })
}

/// The place, the role and the assignment that the path names, once the caller may.
async fn authorized(service: &Identity, request: &Request) -> Result<(Place, Role, Assignment)> {
    let (place, role_id) = (place(request), request.param("role_id").to_owned());
    let asked = place.clone();
    let (target, role) = service
        .db
        .read("grant", move |tx| Ok((resolve_in_tx(tx, &asked)?, super::roles::fetch(tx, &role_id)?)))
        .await
        .map_err(|e| super::unseen(request, e))?;
    let target = target
        .set("target.role.name", &role.name)
        .set_opt("target.role.domain_id", role.domain_id.as_ref().map(|d| d.as_str()));
    request.authorize(&target)?;
    let assignment = Assignment {
        actor_kind: place.actor_kind,
        actor_id: place.actor_id.clone(),
        target_kind: place.target_kind,
        target_id: place.target_id.clone(),
        role_id: role.id.clone(),
        inherited: place.inherited,
    };
    Ok((place, role, assignment))
}

fn missing(a: &Assignment) -> Error {
    Error::not_found(format!(
        "Could not find role assignment with role: {}, user or group: {}, project, domain, or system: {}.",
        a.role_id, a.actor_id, a.target_id
    ))
}

/// Whose tokens are stale: the user's, or those of everybody in the group.
fn touch(tx: &mut Tx<'_>, stamps: &Arc<Stamps>, place: &Place) -> Result<()> {
    /// Beyond this, reading all tokens again is cheaper than counting one by one.
    const MANY: usize = 1000;
    match place.actor_kind {
        ActorKind::User => stamps.touch(tx, &place.actor_id),
        ActorKind::Group => {
            let members = user_list_of_group(tx, &GroupId::new(&place.actor_id))?;
            if members.len() > MANY {
                stamps.touch_everything(tx);
            } else {
                members.iter().for_each(|user| stamps.touch(tx, user.id.as_str()));
            }
        }
    }
    Ok(())
}

/// `HEAD` and `GET …/roles/{role_id}`
pub(crate) async fn check(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (_, _, assignment) = authorized(&service, &request).await?;
    let asked = assignment.clone();
    if service.db.read("grant_check", move |tx| assignment_exists(tx, &asked)).await? {
        Ok(Reply::no_content())
    } else {
        Err(missing(&assignment))
    }
}

/// `PUT …/roles/{role_id}`
pub(crate) async fn create(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (place, role, assignment) = authorized(&service, &request).await?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("grant_create", move |tx| {
            // Everything again under the writer: none of it may have gone meanwhile.
            resolve_in_tx(tx, &place)?;
            super::roles::fetch(tx, role.id.as_str())?;
            check_role_domain(tx, &place, &role)?;
            assignment_insert(tx, &assignment)?;
            touch(tx, &stamps, &place)
        })
        .await?;
    Ok(Reply::no_content())
}

/// A domain's own role is only good in that domain.
fn check_role_domain(tx: &mut Tx<'_>, place: &Place, role: &Role) -> Result<()> {
    let Some(domain) = &role.domain_id else { return Ok(()) };
    let fits = match place.target_kind {
        TargetKind::Project => super::projects::fetch(tx, &place.target_id)?.domain_id == *domain,
        TargetKind::Domain => place.target_id == domain.as_str(),
        TargetKind::System => false,
    };
    if fits {
        return Ok(());
    }
    Err(Error::forbidden(format!(
        "Project {} must be in the same domain as the role {} being assigned.",
        place.target_id, role.id
    )))
}

/// `DELETE …/roles/{role_id}`. Application credentials that a user made there go with the role, as in Keystone.
pub(crate) async fn remove(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (place, _, assignment) = authorized(&service, &request).await?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("grant_remove", move |tx| {
            if !assignment_delete(tx, &assignment)? {
                return Err(missing(&assignment));
            }
            if place.target_kind == TargetKind::Project && place.actor_kind == ActorKind::User {
                app_credentials_delete_of(tx, &place.actor_id, &place.target_id)?;
            }
            touch(tx, &stamps, &place)
        })
        .await?;
    Ok(Reply::no_content())
}

/// `GET …/roles`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let place = place(&request);
    let asked = place.clone();
    let (target, roles) = service
        .db
        .read("grant_list", move |tx| {
            let target = resolve_in_tx(tx, &asked)?;
            let filter = AssignmentFilter {
                actor: Some((asked.actor_kind, asked.actor_id.clone())),
                target: Some((asked.target_kind, asked.target_id.clone())),
                role_id: None,
                inherited: Some(asked.inherited),
            };
            let ids: BTreeSet<RoleId> = assignment_list(tx, &filter)?.into_iter().map(|a| a.role_id).collect();
            Ok((target, role_list_by_ids(tx, &ids)?))
        })
        .await
        .map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target)?;
    collection(&request, "roles", roles.iter().map(|r| super::roles::view(&request, r)).collect())
}
