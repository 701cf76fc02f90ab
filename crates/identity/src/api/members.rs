//! Who is in which group: `/v3/groups/{group_id}/users` and `/v3/users/{user_id}/groups`.

use super::{collection, scope_domain, text};
use crate::Identity;
use crate::errors::not_found;
use crate::store::groups::{Group, group_list, member_delete, member_exists, member_insert};
use crate::store::users::{User, user_list_of_group};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::Result;
use std::sync::Arc;

async fn authorized(service: &Identity, request: &Request) -> Result<(Group, User)> {
    let (group, user) = (request.param("group_id").to_owned(), request.param("user_id").to_owned());
    let (group, user) = service
        .db
        .read("member", move |tx| Ok((super::groups::fetch(tx, &group)?, super::users::fetch(tx, &user)?)))
        .await
        .map_err(|e| super::unseen(request, e))?;
    let target: Target = super::groups::target(&group)
        .set("target.user.domain_id", user.domain_id.as_str())
        .set("target.user.id", user.id.as_str());
    request.authorize(&target)?;
    Ok((group, user))
}

/// `GET /v3/groups/{group_id}/users`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("group_id").to_owned();
    let (group, users) = service
        .db
        .read("member_list", move |tx| {
            let group = super::groups::fetch(tx, &id)?;
            let users = user_list_of_group(tx, &group.id)?;
            Ok((group, users))
        })
        .await
        .map_err(|e| super::unseen(&request, e))?;
    request.authorize(&super::groups::target(&group))?;
    let bound = scope_domain(&request);
    let items = users
        .iter()
        .filter(|u| bound.as_deref().is_none_or(|d| u.domain_id.as_str() == d))
        .map(|u| super::users::view(&request, u))
        .collect();
    collection(&request, "users", items)
}

/// `GET /v3/users/{user_id}/groups`
pub(crate) async fn groups_of_user(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (id, name) = (request.param("user_id").to_owned(), text(&request.query, "name"));
    let (user, groups) = service
        .db
        .read("user_groups", move |tx| {
            let user = super::users::fetch(tx, &id)?;
            let groups = group_list(tx, None, name.as_deref(), Some(&user.id))?;
            Ok((user, groups))
        })
        .await
        .map_err(|e| super::unseen(&request, e))?;
    request.authorize(&super::users::target(&user))?;
    let bound = scope_domain(&request);
    let items = groups
        .iter()
        .filter(|g| bound.as_deref().is_none_or(|d| g.domain_id.as_str() == d))
        .map(|g| super::groups::view(&request, g))
        .collect();
    collection(&request, "groups", items)
}

/// `HEAD` and `GET /v3/groups/{group_id}/users/{user_id}`
pub(crate) async fn check(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (group, user) = authorized(&service, &request).await?;
    let (group_id, user_id) = (group.id.clone(), user.id.clone());
    if service.db.read("member_check", move |tx| member_exists(tx, &group_id, &user_id)).await? {
        return Ok(Reply::no_content());
    }
    Err(not_member(&group, &user))
}

/// `PUT /v3/groups/{group_id}/users/{user_id}`
pub(crate) async fn add(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (group, user) = authorized(&service, &request).await?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("member_add", move |tx| {
            super::groups::fetch(tx, group.id.as_str())?;
            super::users::fetch(tx, user.id.as_str())?;
            member_insert(tx, &group.id, &user.id)?;
            stamps.touch(tx, user.id.as_str());
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}

/// `DELETE /v3/groups/{group_id}/users/{user_id}`
pub(crate) async fn remove(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (group, user) = authorized(&service, &request).await?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("member_remove", move |tx| {
            if !member_delete(tx, &group.id, &user.id)? {
                return Err(not_member(&group, &user));
            }
            stamps.touch(tx, user.id.as_str());
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}

fn not_member(group: &Group, user: &User) -> ferrostack_types::Error {
    not_found("user", format!("User '{}' not found in group '{}'", user.id, group.id))
}
