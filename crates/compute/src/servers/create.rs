//! Creating servers: everything is checked, then one transaction writes it all.

use crate::Compute;
use crate::model::{Flavor, Server, TaskState, VmState, power};
use crate::store::actions::{self, NewAction};
use crate::store::{aggregates, counter_take_in_tx, flavors, groups, keypairs, nodes, quotas, servers};
use crate::workflows::{BuildServer, BuildState};
use ferrostack_contracts::identity::Caller;
use ferrostack_contracts::image::ImageInfo;
use ferrostack_contracts::network::{NicRequest, NicsRequest, PlannedNic};
use ferrostack_contracts::node::GuestImage;
use ferrostack_db::Tx;
use ferrostack_types::ids::{ImageId, ProjectId, ServerId, WorkflowId};
use ferrostack_types::{Error, Kind, Result, Secret};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is to be made, as far as the request's text says it.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) hostname: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) count: u32,
    pub(crate) min_count: u32,
    pub(crate) flavor: String,
    pub(crate) image: ImageId,
    pub(crate) key_name: Option<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) config_drive: bool,
    pub(crate) disk_config: String,
    pub(crate) nics: NicsRequest,
    pub(crate) security_groups: Vec<String>,
    pub(crate) zone: Option<String>,
    /// A host that the zone (`zone:host`) or the request names; the caller was authorized for that.
    pub(crate) host: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tags: Vec<String>,
    pub(crate) access_ipv4: Option<String>,
    pub(crate) access_ipv6: Option<String>,
    pub(crate) admin_password: Secret,
    pub(crate) group: Option<String>,
}

/// What was looked up before anything is written.
#[derive(Clone)]
struct Resolved {
    flavor: Flavor,
    key: Option<keypairs::Keypair>,
    zone: Option<String>,
}

/// Nova's text for a server that nobody may know of.
pub(crate) fn no_such_server(id: &str) -> Error {
    Error::not_found(format!("Instance {id} could not be found."))
}

impl Compute {
    /// Makes servers in BUILD and their workflows. All of them, or (down to `min_count`) as many as the quota allows.
    pub(crate) async fn servers_create(&self, caller: &Caller, request_id: &str, order: Order) -> Result<Vec<Server>> {
        let project = caller.project_id().cloned();
        let project = project.ok_or_else(|| Error::invalid("A server needs a project; the token has none."))?;
        let resolved = self.resolve(caller, &project, &order).await?;
        let image = match self.images.image(caller, order.image).await {
            Err(error) if error.kind() == Kind::NotFound => {
                return Err(Error::invalid("Can not find requested image"));
            }
            other => other.map_err(plain)?,
        };
        let image = check_image(&image, &resolved.flavor)?;
        let mut plans = Vec::new();
        for _ in 0..order.count {
            plans.push(self.plan_nics(caller, &order).await?);
        }
        let action = NewAction {
            request_id: request_id.to_owned(),
            action: "create",
            event: Some("compute__do_build_and_run_instance"),
            project: project.clone(),
            user: caller.user_id.clone(),
        };
        let batch = self.batch(caller, project, order, resolved, image, plans, action);
        let (jobs, quotas) = (self.jobs.clone(), self.config.quotas);
        self.db.write("servers_create", move |tx| batch.insert_in_tx(tx, &jobs, &quotas)).await
    }

    async fn resolve(&self, caller: &Caller, project: &ProjectId, order: &Order) -> Result<Resolved> {
        let (order, project, user) = (order.clone(), project.clone(), caller.user_id.clone());
        let default_zone = self.config.default_zone.clone();
        let limits = self.config.quotas;
        let work = move |tx: &mut Tx<'_>| {
            let flavor = flavors::flavor_fetch_in_tx(tx, &order.flavor, Some(&project))?.filter(|f| !f.disabled);
            let flavor =
                flavor.ok_or_else(|| Error::invalid(format!("Flavor {} could not be found.", order.flavor)))?;
            let key = match &order.key_name {
                None => None,
                Some(name) => {
                    let found = keypairs::keypair_fetch_in_tx(tx, &user, name)?;
                    Some(found.ok_or_else(|| Error::invalid("Invalid key_name provided."))?)
                }
            };
            let zone = check_zone(tx, &order, &default_zone)?;
            let limits = quotas::limits_in_tx(tx, &project, &limits)?;
            let allowed = limits.metadata_items;
            if allowed >= 0 && i64::try_from(order.metadata.len()).unwrap_or(i64::MAX) > allowed {
                let text = format!("Maximum number of metadata items exceeds {allowed}");
                return Err(Error::new(Kind::OverQuota, text));
            }
            check_group(tx, &order, &project, limits.server_group_members)?;
            Ok(Resolved { flavor, key, zone })
        };
        self.db.read("server_resolve", work).await
    }

    async fn plan_nics(&self, caller: &Caller, order: &Order) -> Result<Vec<PlannedNic>> {
        if order.count > 1
            && let NicsRequest::List(nics) = &order.nics
        {
            if nics.iter().any(|nic| matches!(nic, NicRequest::Port(_))) {
                return Err(Error::invalid(
                    "Unable to launch multiple instances with a single configured port ID. Please launch your \
                     instance one by one with different ports.",
                ));
            }
            if nics.iter().any(|nic| matches!(nic, NicRequest::Network { fixed_ip: Some(_), .. })) {
                return Err(Error::invalid(
                    "Invalid input received: max_count cannot be greater than 1 if an fixed_ip is specified.",
                ));
            }
        }
        self.ports.plan(caller, &order.nics, &order.security_groups).await.map_err(|error| match error.kind() {
            Kind::NotFound => Error::invalid(error.public().to_owned()).with_source(Opaque(error.internal_text())),
            _ => plain(error),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "each was looked up somewhere else")]
    fn batch(
        &self,
        caller: &Caller,
        project: ProjectId,
        order: Order,
        resolved: Resolved,
        image: GuestImage,
        plans: Vec<Vec<PlannedNic>>,
        action: NewAction,
    ) -> Batch {
        let now = self.env.now();
        let reservation = format!("r-{}", &self.env.hex_id()[..8]);
        let many = plans.len() > 1;
        let mut made = Vec::new();
        for (index, nics) in plans.into_iter().enumerate() {
            let id = ServerId::from_uuid(self.env.uuid());
            let name = if many { format!("{}-{}", order.name, index + 1) } else { order.name.clone() };
            let hostname = match (&order.hostname, many) {
                (Some(hostname), false) => hostname.clone(),
                (Some(hostname), true) => format!("{hostname}-{}", index + 1),
                (None, _) => sanitize_hostname(&name, id),
            };
            let server = Server {
                id,
                number: 0,
                project: project.clone(),
                user: caller.user_id.clone(),
                name,
                hostname,
                description: order.description.clone(),
                vm_state: VmState::Building,
                task_state: Some(TaskState::Scheduling),
                power_state: power::NONE,
                node: None,
                host: None,
                zone_wanted: resolved.zone.clone(),
                host_wanted: order.host.clone(),
                zone: resolved.zone.clone(),
                flavor: resolved.flavor.copy.clone(),
                image: Some(order.image),
                key_name: order.key_name.clone(),
                config_drive: order.config_drive,
                disk_config: order.disk_config.clone(),
                locked_by: None,
                locked_reason: None,
                reservation_id: reservation.clone(),
                launch_index: u32::try_from(index).unwrap_or(u32::MAX),
                metadata: order.metadata.clone(),
                access_ipv4: order.access_ipv4.clone(),
                access_ipv6: order.access_ipv6.clone(),
                group: order.group.clone(),
                fault: None,
                created_at: now,
                updated_at: now,
                launched_at: None,
                terminated_at: None,
                deleted_at: None,
            };
            let state = BuildState {
                server: id,
                nics,
                image: image.clone(),
                public_key: resolved.key.as_ref().map(crate::workflows::public_key),
                admin_password: Some(order.admin_password.clone()),
                chosen: None,
                excluded: Vec::new(),
                last: None,
                gave_up: false,
            };
            made.push((server, state, WorkflowId::from_uuid(self.env.uuid())));
        }
        let least = usize::try_from(order.min_count).unwrap_or(1);
        Batch { made, least, tags: order.tags, user_data: order.user_data, action }
    }
}

/// Servers that are written together.
struct Batch {
    made: Vec<(Server, BuildState, WorkflowId)>,
    least: usize,
    tags: Vec<String>,
    user_data: Option<String>,
    action: NewAction,
}

impl Batch {
    fn insert_in_tx(
        &self,
        tx: &mut Tx<'_>,
        jobs: &ferrostack_jobs::Jobs,
        defaults: &crate::Quotas,
    ) -> Result<Vec<Server>> {
        let count = self.fitting_in_tx(tx, defaults)?;
        let number = counter_take_in_tx(tx, "servers", count as u64)?;
        let mut servers = Vec::new();
        for (index, (server, state, workflow)) in self.made.iter().take(count).enumerate() {
            let server = Server { number: number + index as u64, ..server.clone() };
            let now = server.created_at;
            servers::server_insert_in_tx(tx, &server, &self.tags, self.user_data.as_deref())?;
            actions::action_insert_in_tx(tx, &self.action, server.id, now)?;
            jobs.enqueue_in_tx::<BuildServer>(tx, *workflow, &Compute::subject(server.id), state, now)?;
            servers.push(server);
        }
        Ok(servers)
    }

    /// How many of them the quota has room for, at least `least`; their use is taken.
    fn fitting_in_tx(&self, tx: &mut Tx<'_>, defaults: &crate::Quotas) -> Result<usize> {
        let Some((server, ..)) = self.made.first() else { return Ok(0) };
        let amount = |n: u64, count: usize| i64::try_from(n.saturating_mul(count as u64)).unwrap_or(i64::MAX);
        let use_of = |count: usize| quotas::Usage {
            instances: amount(1, count),
            cores: amount(server.flavor.vcpus, count),
            ram: amount(server.flavor.memory_mb, count),
        };
        let mut count = self.made.len();
        if count > self.least {
            let limits = quotas::limits_in_tx(tx, &server.project, defaults)?;
            let used = quotas::usage_in_tx(tx, &server.project)?;
            let fits = |more: quotas::Usage| {
                [
                    (used.instances + more.instances, limits.instances),
                    (used.cores + more.cores, limits.cores),
                    (used.ram + more.ram, limits.ram),
                ]
                .iter()
                .all(|(all, limit)| *limit < 0 || all <= limit)
            };
            while count > self.least && !fits(use_of(count)) {
                count -= 1;
            }
        }
        quotas::usage_take_in_tx(tx, &server.project, use_of(count), defaults)?;
        Ok(count)
    }
}

/// A library's or another service's error as somebody else's source.
#[derive(Debug)]
struct Opaque(String);

impl std::fmt::Display for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Opaque {}

/// Another service's error without that service's name for it, which means nothing in Nova's error bodies.
pub(crate) fn plain(error: Error) -> Error {
    Error::new(error.kind(), error.public().to_owned())
        .with_retryable(error.retryable())
        .with_source(Opaque(error.internal_text()))
}

fn check_image(image: &ImageInfo, flavor: &Flavor) -> Result<GuestImage> {
    if image.status != "active" {
        return Err(Error::invalid(format!("Image {} is not active.", image.id)));
    }
    let copy = &flavor.copy;
    if copy.memory_mb < image.min_ram {
        return Err(Error::invalid("Flavor's memory is too small for requested image."));
    }
    let (flavor_bytes, size) = (copy.root_gb << 30, image.virtual_size.or(image.size).unwrap_or(0));
    // A flavor without a disk takes the image's size, as in Nova.
    if copy.root_gb > 0 {
        if size > flavor_bytes {
            return Err(Error::invalid(format!(
                "Flavor's disk is too small for requested image. Flavor disk is {flavor_bytes} bytes, image is {size} \
                 bytes."
            )));
        }
        if copy.root_gb < image.min_disk {
            let least = image.min_disk << 30;
            return Err(Error::invalid(format!(
                "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is \
                 {flavor_bytes} bytes, minimum size is {least} bytes."
            )));
        }
    }
    let bootable = (image.format, image.size, image.sha512.clone());
    let (Some(format), Some(size), Some(sha512)) = bootable else {
        let format = image.disk_format.as_deref().unwrap_or("none");
        return Err(Error::invalid(format!(
            "Image {} is unacceptable: its disk format {format} cannot be booted from",
            image.id
        )));
    };
    Ok(GuestImage { id: image.id, format, size, sha512 })
}

fn check_zone(tx: &mut Tx<'_>, order: &Order, default_zone: &str) -> Result<Option<String>> {
    if order.zone.is_none() && order.host.is_none() {
        return Ok(None);
    }
    let (zones, hosts) = (aggregates::zones_in_tx(tx)?, nodes::node_list_in_tx(tx)?);
    if let Some(host) = &order.host
        && !hosts.iter().any(|node| node.name == *host)
    {
        return Err(Error::invalid(format!("Compute host {host} could not be found.")));
    }
    if let Some(zone) = &order.zone {
        let there = hosts.iter().any(|n| zones.get(&n.name).map_or(default_zone, String::as_str) == zone);
        if !there {
            return Err(Error::invalid("The requested availability zone is not available"));
        }
    }
    // The default zone is where servers go that do not care.
    Ok(order.zone.clone())
}

fn check_group(tx: &mut Tx<'_>, order: &Order, project: &ProjectId, most: i64) -> Result<()> {
    let Some(id) = &order.group else { return Ok(()) };
    let group = groups::group_fetch_in_tx(tx, id)?.filter(|group| group.project == *project);
    if group.is_none() {
        return Err(Error::invalid(format!("Instance group {id} could not be found.")));
    }
    let members = groups::members_in_tx(tx, &[id])?.remove(id).unwrap_or_default().len() as u64;
    if most >= 0 && members + u64::from(order.count) > most as u64 {
        return Err(Error::new(Kind::OverQuota, "Quota exceeded, too many servers in group"));
    }
    Ok(())
}

/// A host name made of a server's name, by Nova's rules.
pub(crate) fn sanitize_hostname(name: &str, id: ServerId) -> String {
    let mut hostname: String = name
        .chars()
        .filter_map(|c| match c {
            ' ' | '_' | '.' => Some('-'),
            c if c.is_ascii_alphanumeric() || c == '-' => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    hostname = hostname.trim_matches(['.', '-']).to_owned();
    hostname.truncate(63);
    let hostname = hostname.trim_end_matches('-').to_owned();
    if hostname.is_empty() { format!("server-{id}") } else { hostname }
}

/// Servers of a caller: resolved, or 404.
impl Compute {
    /// A live server that the caller's project owns, or any for administrators.
    pub(crate) async fn server_of(self: &Arc<Self>, caller: &Caller, id: &str) -> Result<Server> {
        let parsed = ServerId::parse(id).ok_or_else(|| no_such_server(id))?;
        let found = self.db.read("server_fetch", move |tx| servers::server_fetch_in_tx(tx, parsed)).await?;
        found.filter(|server| may_see(caller, &server.project)).ok_or_else(|| no_such_server(id))
    }
}

/// Whether objects of a project exist for this caller.
pub(crate) fn may_see(caller: &Caller, project: &ProjectId) -> bool {
    caller.has_role("admin") || caller.project_id() == Some(project)
}
