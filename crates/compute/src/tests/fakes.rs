//! The other services and the hosts, in memory. They keep their contracts: repeats find their own effects, capacity is
//! never exceeded, generations and sequences are what the node agent's are.

use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_contracts::identity::{Caller, Scope, TokenVerifier};
use ferrostack_contracts::image::{DiskFormat, ImageInfo, Images};
use ferrostack_contracts::network::{FixedIp, NicRequest, NicsRequest, PlannedNic, PortInfo, Ports};
use ferrostack_contracts::node::*;
use ferrostack_contracts::placement::*;
use ferrostack_types::ids::*;
use ferrostack_types::{Env, Error, Kind, Result, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Tokens `admin`, `member`, `reader` (project `p1`) and `other` (project `p2`).
pub(super) struct Tokens;

#[async_trait]
impl TokenVerifier for Tokens {
    async fn verify(&self, token: &str) -> Result<Arc<Caller>> {
        let (project, roles): (&str, &[&str]) = match token {
            "admin" => ("admin", &["admin", "member", "reader"]),
            "member" => ("p1", &["member", "reader"]),
            "reader" => ("p1", &["reader"]),
            "other" => ("p2", &["member", "reader"]),
            _ => return Err(Error::unauthenticated("The request you have made requires authentication.")),
        };
        Ok(Arc::new(caller(token, project, roles)))
    }
}

fn caller(user: &str, project: &str, roles: &[&str]) -> Caller {
    Caller {
        user_id: UserId::new(user),
        user_name: user.to_owned(),
        user_domain_id: DomainId::new("default"),
        user_domain_name: "Default".to_owned(),
        scope: Scope::Project {
            id: ProjectId::new(project),
            name: project.to_owned(),
            domain_id: DomainId::new("default"),
            domain_name: "Default".to_owned(),
        },
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        audit_ids: Vec::new(),
        expires_at: Timestamp::from_secs(4_000_000_000),
        methods: vec!["password".to_owned()],
        application_credential: None,
    }
}

/// Providers and claims.
#[derive(Default)]
pub(super) struct FakePlacement(Mutex<PlacementState>);

#[derive(Default)]
struct PlacementState {
    providers: BTreeMap<ProviderId, (String, BTreeMap<String, Inventory>)>,
    claims: BTreeMap<ServerId, (ProviderId, Resources)>,
    /// The sum of the claims.
    used: BTreeMap<ProviderId, Resources>,
}

impl PlacementState {
    fn capacity(&self, provider: ProviderId) -> Resources {
        let inventory = self.providers.get(&provider).map(|p| &p.1);
        let of = |i: &Inventory| ((i.total - i.reserved) as f64 * i.allocation_ratio) as u64;
        inventory.into_iter().flatten().map(|(class, inventory)| (class.clone(), of(inventory))).collect()
    }

    fn used(&self, provider: ProviderId, except: Option<ServerId>) -> Resources {
        let mut used = self.used.get(&provider).cloned().unwrap_or_default();
        let own = except.and_then(|server| self.claims.get(&server)).filter(|claim| claim.0 == provider);
        for (class, amount) in own.iter().flat_map(|claim| &claim.1) {
            *used.entry(class.clone()).or_default() -= amount;
        }
        used
    }

    fn drop_claim(&mut self, server: ServerId) {
        let Some((provider, resources)) = self.claims.remove(&server) else { return };
        for (class, amount) in resources {
            *self.used.entry(provider).or_default().entry(class).or_default() -= amount;
        }
    }

    fn lacks(&self, provider: ProviderId, wanted: &Resources, except: Option<ServerId>) -> Option<String> {
        let (capacity, used) = (self.capacity(provider), self.used(provider, except));
        let free = |class: &str| {
            capacity.get(class).copied().unwrap_or(0).saturating_sub(used.get(class).copied().unwrap_or(0))
        };
        wanted.iter().find(|(class, amount)| free(class) < **amount).map(|(class, _)| format!("not enough {class}"))
    }
}

#[async_trait]
impl Placement for FakePlacement {
    async fn ensure_provider(&self, id: ProviderId, name: &str, inventory: &BTreeMap<String, Inventory>) -> Result<()> {
        self.0.lock().providers.insert(id, (name.to_owned(), inventory.clone()));
        Ok(())
    }

    async fn candidates(&self, wanted: &Resources) -> Result<Candidates> {
        let state = self.0.lock();
        let mut candidates = Candidates { hosts: state.providers.len(), ..Candidates::default() };
        for (id, (name, _)) in &state.providers {
            match state.lacks(*id, wanted, None) {
                Some(reason) => *candidates.refused.entry(reason).or_default() += 1,
                None => candidates.fitting.push(Candidate {
                    provider: *id,
                    name: name.clone(),
                    generation: 0,
                    capacity: state.capacity(*id),
                    used: state.used(*id, None),
                }),
            }
        }
        Ok(candidates)
    }

    async fn claim(&self, consumer: &Consumer, provider: ProviderId, wanted: &Resources) -> Result<Claim> {
        let mut state = self.0.lock();
        if state.lacks(provider, wanted, Some(consumer.server)).is_some() {
            return Ok(Claim::NoRoom);
        }
        state.drop_claim(consumer.server);
        for (class, amount) in wanted {
            *state.used.entry(provider).or_default().entry(class.clone()).or_default() += amount;
        }
        state.claims.insert(consumer.server, (provider, wanted.clone()));
        Ok(Claim::Held)
    }

    async fn release(&self, server: ServerId) -> Result<()> {
        self.0.lock().drop_claim(server);
        Ok(())
    }

    async fn holders(&self) -> Result<Vec<(ServerId, ProviderId, Resources)>> {
        Ok(self.0.lock().claims.iter().map(|(server, (at, r))| (*server, *at, r.clone())).collect())
    }
}

/// One network `private` that everybody may use.
pub(super) struct FakePorts {
    pub(super) network: NetworkId,
    env: Env,
    ports: Mutex<BTreeMap<PortId, (ServerId, PortInfo)>>,
}

impl FakePorts {
    pub(super) fn new(env: &Env) -> FakePorts {
        FakePorts { network: NetworkId::from_uuid(env.uuid()), env: env.clone(), ports: Mutex::default() }
    }

    /// Puts a port there that nobody has planned.
    pub(super) fn litter(&self, server: ServerId) {
        let nic = self.nic(self.network, None);
        self.ports.lock().insert(nic.port_id, (server, info(&nic, 250)));
    }

    fn nic(&self, network_id: NetworkId, fixed_ip: Option<IpAddr>) -> PlannedNic {
        let port_id = PortId::from_uuid(self.env.uuid());
        PlannedNic { port_id, network_id, fixed_ip, security_groups: Vec::new(), preexisting: false }
    }
}

fn info(nic: &PlannedNic, number: usize) -> PortInfo {
    let address = nic.fixed_ip.unwrap_or_else(|| IpAddr::from([10, 0, (number / 250) as u8, (number % 250) as u8 + 2]));
    PortInfo {
        id: nic.port_id,
        network_id: nic.network_id,
        network_name: "private".to_owned(),
        mac: format!("fa:16:3e:00:{:02x}:{:02x}", number / 256, number % 256),
        mtu: 1442,
        fixed_ips: vec![FixedIp {
            subnet_id: SubnetId::from_uuid(nic.network_id.0),
            address,
            prefix: 16,
            gateway: Some(IpAddr::from([10, 0, 0, 1])),
            dns: Vec::new(),
            floating: Vec::new(),
        }],
        security_groups: vec!["default".to_owned()],
        metadata: None,
        preexisting: nic.preexisting,
    }
}

#[async_trait]
impl Ports for FakePorts {
    async fn plan(&self, _: &Caller, nics: &NicsRequest, groups: &[String]) -> Result<Vec<PlannedNic>> {
        if let Some(group) = groups.iter().find(|group| *group != "default") {
            return Err(Error::not_found(format!("Security group {group} not found.")));
        }
        let list = match nics {
            NicsRequest::None => return Ok(Vec::new()),
            NicsRequest::Auto => return Ok(vec![self.nic(self.network, None)]),
            NicsRequest::List(list) => list,
        };
        list.iter()
            .map(|nic| match nic {
                NicRequest::Network { id, fixed_ip } if *id == self.network => Ok(self.nic(*id, *fixed_ip)),
                NicRequest::Network { id, .. } => Err(Error::not_found(format!("Network {id} could not be found."))),
                NicRequest::Port(id) => Err(Error::not_found(format!("Port {id} could not be found."))),
            })
            .collect()
    }

    async fn ensure(&self, _: &ProjectId, server: ServerId, _: (&NodeId, &str), nic: &PlannedNic) -> Result<PortInfo> {
        let mut ports = self.ports.lock();
        let number = ports.len();
        Ok(ports.entry(nic.port_id).or_insert_with(|| (server, info(nic, number))).1.clone())
    }

    async fn wired(&self, _: ServerId) -> Result<bool> {
        Ok(true)
    }

    async fn release(&self, server: ServerId) -> Result<()> {
        self.ports.lock().retain(|_, (owner, _)| *owner != server);
        Ok(())
    }

    async fn of_servers(&self, servers: &[ServerId]) -> Result<HashMap<ServerId, Vec<PortInfo>>> {
        let mut found: HashMap<ServerId, Vec<PortInfo>> = HashMap::new();
        let wanted: BTreeSet<&ServerId> = servers.iter().collect();
        for (server, port) in self.ports.lock().values().filter(|(owner, _)| wanted.contains(owner)) {
            found.entry(*server).or_default().push(port.clone());
        }
        Ok(found)
    }

    async fn owners(&self) -> Result<Vec<(PortId, ServerId)>> {
        Ok(self.ports.lock().iter().map(|(port, (server, _))| (*port, *server)).collect())
    }
}

/// Images by id.
#[derive(Default)]
pub(super) struct FakeImages(pub(super) Mutex<BTreeMap<ImageId, ImageInfo>>);

impl FakeImages {
    pub(super) fn add(&self, env: &Env, change: impl FnOnce(&mut ImageInfo)) -> ImageId {
        let id = ImageId::from_uuid(env.uuid());
        let mut image = ImageInfo {
            id,
            name: Some("tiny".to_owned()),
            status: "active".to_owned(),
            format: Some(DiskFormat::Qcow2),
            disk_format: Some("qcow2".to_owned()),
            size: Some(1 << 20),
            virtual_size: Some(16 << 20),
            min_disk: 0,
            min_ram: 0,
            sha512: Some("00".repeat(64)),
            properties: BTreeMap::new(),
        };
        change(&mut image);
        self.0.lock().insert(id, image);
        id
    }
}

#[async_trait]
impl Images for FakeImages {
    async fn image(&self, _: &Caller, id: ImageId) -> Result<ImageInfo> {
        self.0.lock().get(&id).cloned().ok_or_else(|| Error::not_found("No image"))
    }

    async fn read(&self, _: ImageId, _: u64, length: u32) -> Result<Bytes> {
        Ok(Bytes::from(vec![7; length as usize]))
    }
}

/// Hosts with guests. What they see waits in an outbox until [`FakeNodes::pump`] has delivered it.
pub(super) struct FakeNodes {
    env: Env,
    hosts: Mutex<BTreeMap<NodeId, Host>>,
    /// What the first start of each server fails with, wherever that is, and which servers have had theirs.
    first: Mutex<(Option<GuestError>, BTreeSet<ServerId>)>,
}

struct Host {
    info: NodeInfo,
    up: bool,
    /// What the next starts fail with.
    failure: Option<GuestError>,
    guests: BTreeMap<ServerId, (WantedGuest, ObservedGuest)>,
    tombstones: BTreeMap<ServerId, u64>,
    outbox: BTreeMap<ServerId, ObservedGuest>,
    sequence: u64,
}

impl FakeNodes {
    pub(super) fn new(env: &Env) -> FakeNodes {
        FakeNodes { env: env.clone(), hosts: Mutex::default(), first: Mutex::default() }
    }

    pub(super) fn add(&self, name: &str, vcpus: u32) -> NodeId {
        let id = NodeId::from_uuid(self.env.uuid());
        let info = NodeInfo {
            id,
            name: name.to_owned(),
            address: "127.0.0.1".to_owned(),
            hypervisor_type: "fake".to_owned(),
            hypervisor_version: 1_000_000,
            accelerator: "fake".to_owned(),
            architecture: "x86_64".to_owned(),
            cpu_model: "fake".to_owned(),
            vcpus,
            memory_mb: u64::from(vcpus) * 8192 + 512,
            disk_gb: 10_000,
            disk_free_gb: 10_000,
            running_guests: 0,
            started_at: self.env.now(),
        };
        let (guests, tombstones, outbox) = Default::default();
        let host = Host { info, up: true, failure: None, guests, tombstones, outbox, sequence: 0 };
        self.hosts.lock().insert(id, host);
        id
    }

    pub(super) fn set_up(&self, node: NodeId, up: bool) {
        self.hosts.lock().get_mut(&node).unwrap().up = up;
    }

    pub(super) fn fail_starts(&self, node: NodeId, failure: Option<GuestError>) {
        self.hosts.lock().get_mut(&node).unwrap().failure = failure;
    }

    pub(super) fn fail_all_starts(&self, failure: Option<GuestError>) {
        for host in self.hosts.lock().values_mut() {
            host.failure = failure.clone();
        }
    }

    pub(super) fn fail_first_starts(&self, failure: GuestError) {
        self.first.lock().0 = Some(failure);
    }

    /// Why this start fails, if it is the server's first and such starts do.
    fn first_failure(&self, wanted: &WantedGuest) -> Option<GuestError> {
        let mut first = self.first.lock();
        let failure = first.0.clone().filter(|_| wanted.want == Want::Running)?;
        first.1.insert(wanted.server).then_some(failure)
    }

    /// The host of a guest, if there is just one that has it.
    pub(super) fn host_of(&self, server: ServerId) -> Option<NodeId> {
        let hosts = self.hosts.lock();
        let mut having = hosts.iter().filter(|(_, host)| host.guests.contains_key(&server)).map(|(id, _)| *id);
        having.next().filter(|_| having.next().is_none())
    }

    pub(super) fn guest(&self, server: ServerId) -> Option<(WantedGuest, ObservedGuest)> {
        self.hosts.lock().values().find_map(|host| host.guests.get(&server).cloned())
    }

    pub(super) fn count(&self) -> usize {
        self.hosts.lock().values().map(|host| host.guests.len()).sum()
    }

    /// Something happens to a guest from inside.
    pub(super) fn ends(&self, server: ServerId, state: GuestState) {
        let mut hosts = self.hosts.lock();
        let host = hosts.values_mut().find(|host| host.guests.contains_key(&server)).unwrap();
        host.see(server, |seen| {
            seen.state = state;
            seen.settled = false;
        });
    }

    /// A guest that the control plane knows nothing of.
    pub(super) fn stray(&self, node: NodeId, server: ServerId) {
        let mut hosts = self.hosts.lock();
        let host = hosts.get_mut(&node).unwrap();
        let wanted =
            WantedGuest { server, generation: 3, want: Want::Running, boot: 1, soft_reboot: false, spec: None };
        host.converge(wanted);
        host.outbox.clear();
    }

    /// Says hello and delivers what waits.
    pub(super) async fn pump(&self, reports: &dyn NodeReports) {
        let hosts: Vec<(NodeId, NodeInfo, Vec<ObservedGuest>)> = {
            let hosts = self.hosts.lock();
            let up = hosts.iter().filter(|(_, host)| host.up);
            up.map(|(id, host)| (*id, host.info.clone(), host.outbox.values().take(250).cloned().collect())).collect()
        };
        for (node, info, seen) in hosts {
            let _ = reports.report(node, NodeReport::Hello(info)).await;
            if seen.is_empty() {
                continue;
            }
            if reports.report(node, NodeReport::Guests(seen.clone())).await.is_ok() {
                let mut hosts = self.hosts.lock();
                let outbox = &mut hosts.get_mut(&node).unwrap().outbox;
                for sent in seen {
                    if outbox.get(&sent.server).is_some_and(|now| now.sequence == sent.sequence) {
                        outbox.remove(&sent.server);
                    }
                }
            }
        }
    }
}

impl Host {
    fn see(&mut self, server: ServerId, change: impl FnOnce(&mut ObservedGuest)) {
        self.sequence += 1;
        let (_, seen) = self.guests.get_mut(&server).unwrap();
        change(seen);
        seen.sequence = self.sequence;
        self.outbox.insert(server, seen.clone());
    }

    fn converge(&mut self, wanted: WantedGuest) {
        let server = wanted.server;
        let known = self.guests.get(&server).map(|(w, _)| w.generation);
        let known = known.or_else(|| self.tombstones.get(&server).copied());
        if known.is_some_and(|known| known >= wanted.generation) {
            match self.guests.get(&server) {
                Some((_, seen)) => drop(self.outbox.insert(server, seen.clone())),
                None => self.say_gone(server, known.unwrap_or(0)),
            }
            return;
        }
        if wanted.want == Want::Absent {
            self.guests.remove(&server);
            self.tombstones.insert(server, wanted.generation);
            self.say_gone(server, wanted.generation);
            return;
        }
        let fresh = !self.guests.contains_key(&server);
        let seen = ObservedGuest {
            server,
            generation: wanted.generation,
            settled: true,
            state: GuestState::Stopped,
            boot: 0,
            sequence: 0,
            error: None,
        };
        let (generation, want, boot) = (wanted.generation, wanted.want, wanted.boot);
        let entry = self.guests.entry(server).or_insert((wanted.clone(), seen));
        entry.0 = wanted;
        let was_off = fresh || entry.1.state == GuestState::Stopped || entry.1.state == GuestState::Crashed;
        let starts = want == Want::Running && (was_off || entry.1.boot < boot);
        let failure = self.failure.clone().filter(|_| starts);
        self.see(server, |seen| {
            seen.generation = generation;
            seen.settled = true;
            seen.error = failure.clone();
            seen.state = match (want, &failure) {
                (_, Some(_)) | (Want::Stopped | Want::Absent, None) => GuestState::Stopped,
                (Want::Running, None) => GuestState::Running,
                (Want::Paused, None) => GuestState::Paused,
            };
            if failure.is_none() && want != Want::Stopped {
                seen.boot = boot;
            }
        });
    }

    fn say_gone(&mut self, server: ServerId, generation: u64) {
        self.sequence += 1;
        let sequence = self.sequence;
        let state = GuestState::Absent;
        let seen = ObservedGuest { server, generation, settled: true, state, boot: 0, sequence, error: None };
        self.outbox.insert(server, seen);
    }
}

#[async_trait]
impl Nodes for FakeNodes {
    async fn request(&self, node: NodeId, request: NodeRequest) -> Result<NodeReply> {
        let mut hosts = self.hosts.lock();
        let away = || Error::new(Kind::Unavailable, "The host is not there.");
        let host = hosts.get_mut(&node).filter(|host| host.up).ok_or_else(away)?;
        Ok(match request {
            NodeRequest::Converge(guests) => {
                for guest in guests {
                    let usual = host.failure.clone();
                    host.failure = self.first_failure(&guest).or_else(|| usual.clone());
                    host.converge(guest);
                    host.failure = usual;
                }
                NodeReply::Done
            }
            NodeRequest::ListGuests => NodeReply::Guests(host.guests.values().map(|(_, seen)| seen.clone()).collect()),
            NodeRequest::ConsoleLog { server, lines } => {
                host.guests.get(&server).ok_or_else(|| Error::not_found("no guest"))?;
                NodeReply::Text(format!("login: {lines:?}"))
            }
            NodeRequest::Console { .. } => NodeReply::Console(ConsoleAddress::Tcp("127.0.0.1".to_owned(), 1)),
        })
    }
}
