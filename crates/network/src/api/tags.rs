//! `/v2.0/<collection>/{id}/tags`: the same for every resource that has tags.
//!
//! Only those whom the rule `<verb>_<resource>:tags` allows may change them: a shared network is seen by many and
//! tagged by its owner.

use super::kit::{self, Item, Resource};
use super::{floating_ips, networks, ports, routers, security_groups, subnets};
use crate::attrs::{check_tag, tags as check_tags};
use crate::store::ports::port_fetch;
use crate::store::tags::{tag_add_in_tx, tag_remove_in_tx, tags_clear_in_tx, tags_of, tags_set_in_tx};
use crate::store::{self, bump_in_tx};
use crate::{Network, NetworkConfig, errors};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::{Error, Result};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// A resource that has tags.
struct Tagged {
    resource: &'static Resource,
    table: &'static str,
    id: Uuid,
}

/// What the path names.
fn tagged(req: &Request) -> Result<Tagged> {
    let collection = req.path.split('/').nth(2).unwrap_or_default();
    let (resource, table): (&Resource, &'static str) = match collection {
        "networks" => (&networks::RESOURCE, store::networks::TABLE),
        "subnets" => (&subnets::RESOURCE, store::subnets::TABLE),
        "ports" => (&ports::RESOURCE, store::ports::TABLE),
        "routers" => (&routers::RESOURCE, store::routers::TABLE),
        "floatingips" => (&floating_ips::RESOURCE, store::floating_ips::TABLE),
        "security-groups" => (&security_groups::RESOURCE, store::groups::TABLE),
        _ => return Err(Error::not_found("The resource could not be found.")),
    };
    Ok(Tagged { resource, table, id: kit::path_id(req, resource, "id")? })
}

impl Tagged {
    fn item(&self, tx: &mut Tx<'_>, config: &NetworkConfig) -> Result<Item> {
        use ferrostack_types::ids::{FloatingIpId, NetworkId, PortId, RouterId, SecurityGroupId, SubnetId};
        let items = match self.resource.singular {
            "network" => {
                let row = store::networks::network_fetch(tx, NetworkId(self.id))?;
                networks::items(tx, config, &[row])
            }
            "subnet" => {
                let row = store::subnets::subnet_fetch(tx, SubnetId(self.id))?;
                subnets::items(tx, &[row])
            }
            "port" => {
                let port = port_fetch(tx, PortId(self.id))?;
                ports::items(tx, &[port])
            }
            "router" => {
                let row = store::routers::router_fetch(tx, RouterId(self.id))?;
                routers::items(tx, config, &[row])
            }
            "floatingip" => {
                let row = store::floating_ips::floating_ip_fetch(tx, FloatingIpId(self.id))?;
                floating_ips::items(tx, &[row])
            }
            _ => {
                let row = store::groups::group_fetch(tx, SecurityGroupId(self.id))?;
                security_groups::items(tx, &[row])
            }
        };
        items?.pop().ok_or_else(|| (self.resource.missing)(&self.id.to_string()))
    }
}

/// The resource, if the caller may do this to its tags.
async fn authorized(service: &Network, req: &Request, verb: &str) -> Result<Tagged> {
    let tagged = tagged(req)?;
    let (resource, table, id) = (tagged.resource, tagged.table, tagged.id);
    let config = Arc::clone(&service.config);
    let item = service.db.read("tagged", move |tx| Tagged { resource, table, id }.item(tx, &config)).await?;
    kit::visible(req, resource, &item, &id.to_string())?;
    kit::authorize(req, &format!("{verb}_{}:tags", resource.singular), &[], &item.target)?;
    Ok(tagged)
}

fn tag_not_found(tag: &str) -> Error {
    let shown: String = tag.chars().take(255).collect();
    Error::not_found(format!("Tag {shown} could not be found.")).with_code("TagNotFound")
}

fn read_tags(tx: &mut Tx<'_>, id: Uuid) -> Result<Vec<String>> {
    let id = id.hyphenated().to_string();
    Ok(tags_of(tx, std::slice::from_ref(&id))?.remove(&id).unwrap_or_default())
}

async fn body_tags(req: &mut Request) -> Result<Vec<String>> {
    let body = kit::read(req).await?;
    let invalid = |reason: String| errors::bad_request(format!("Invalid input for tags. Reason: {reason}."));
    let tags = body.get("tags").ok_or_else(|| errors::bad_request("Invalid tags body"))?;
    let tags = check_tags(tags).map_err(invalid)?;
    Ok(tags.as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect())
}

/// Changes tags and raises the revision of their owner; the tags as they are then.
async fn change<F>(service: &Network, tagged: &Tagged, work: F) -> Result<Vec<String>>
where
    F: Fn(&mut Tx<'_>, &str) -> Result<()> + Send + 'static,
{
    let (table, id, now) = (tagged.table, tagged.id, service.env.now());
    service
        .db
        .write("tags", move |tx| {
            work(tx, &id.hyphenated().to_string())?;
            let tags = read_tags(tx, id)?;
            if tags.len() > 50 {
                return Err(errors::bad_request("The number of tags exceed the per-resource limit of 50"));
            }
            bump_in_tx(tx, table, id, now)?;
            Ok(tags)
        })
        .await
}

fn reply(status: StatusCode, tags: &[String]) -> Reply {
    Reply::json(status, &json!({"tags": tags}))
}

/// `GET .../tags`
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    let tagged = authorized(&service, &req, "get").await?;
    let tags = service.db.read("tag_list", move |tx| read_tags(tx, tagged.id)).await?;
    Ok(reply(StatusCode::OK, &tags))
}

/// `GET .../tags/{tag}`: whether it is there.
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let tagged = authorized(&service, &req, "get").await?;
    let tags = service.db.read("tag_show", move |tx| read_tags(tx, tagged.id)).await?;
    let wanted = req.param("tag");
    if tags.iter().any(|tag| tag == wanted) { Ok(Reply::no_content()) } else { Err(tag_not_found(wanted)) }
}

/// `POST .../tags`: adds.
pub(crate) async fn create(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let tags = body_tags(&mut req).await?;
    let tagged = authorized(&service, &req, "create").await?;
    let add = move |tx: &mut Tx<'_>, id: &str| tags.iter().try_for_each(|tag| tag_add_in_tx(tx, id, tag));
    Ok(reply(StatusCode::CREATED, &change(&service, &tagged, add).await?))
}

/// `PUT .../tags`: replaces.
pub(crate) async fn replace(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let tags = body_tags(&mut req).await?;
    let tagged = authorized(&service, &req, "update").await?;
    let set = move |tx: &mut Tx<'_>, id: &str| tags_set_in_tx(tx, id, &tags);
    Ok(reply(StatusCode::OK, &change(&service, &tagged, set).await?))
}

/// `PUT .../tags/{tag}`: adds one.
pub(crate) async fn add(service: Arc<Network>, req: Request) -> Result<Reply> {
    let tag = req.param("tag").to_owned();
    check_tag(&tag).map_err(|reason| errors::bad_request(format!("Invalid input for tags. Reason: {reason}.")))?;
    let tagged = authorized(&service, &req, "update").await?;
    change(&service, &tagged, move |tx, id| tag_add_in_tx(tx, id, &tag)).await?;
    Ok(Reply::json(StatusCode::CREATED, &Value::Null))
}

/// `DELETE .../tags/{tag}`
pub(crate) async fn remove(service: Arc<Network>, req: Request) -> Result<Reply> {
    let tag = req.param("tag").to_owned();
    let tagged = authorized(&service, &req, "delete").await?;
    let remove = move |tx: &mut Tx<'_>, id: &str| match tag_remove_in_tx(tx, id, &tag)? {
        true => Ok(()),
        false => Err(tag_not_found(&tag)),
    };
    change(&service, &tagged, remove).await?;
    Ok(Reply::no_content())
}

/// `DELETE .../tags`
pub(crate) async fn clear(service: Arc<Network>, req: Request) -> Result<Reply> {
    let tagged = authorized(&service, &req, "delete").await?;
    change(&service, &tagged, tags_clear_in_tx).await?;
    Ok(Reply::no_content())
}
