//! The agent itself: starts, answers the control plane, spawns a task per guest.

use crate::config::{Config, Platform};
use crate::hypervisor::GuestRef;
use crate::images::{CONTROL, ImageCache};
use crate::store::{Store, Tombstone};
use crate::table::{Sight, Table, gone};
use crate::{guest, metadata, reporter};
use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_bus::{Bus, Responder, Subscription, ask, decode, encode};
use ferrostack_contracts::node::{
    ConsoleKind, NodeInfo, NodeReply, NodeReport, NodeRequest, ReportReply, Want, WantedGuest,
};
use ferrostack_types::ids::{NodeId, PortId, ServerId};
use ferrostack_types::{Env, Error, Result, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many sequence numbers are reserved at once.
const SEQUENCES: u64 = 1 << 20;

/// How often orphaned interfaces are looked for and the hypervisor may clean up.
const SWEEP: Duration = Duration::from_secs(20);

/// The agent on a host. Dropping it, like [`Agent::shutdown`], leaves guests as they are.
pub struct Agent {
    core: Arc<Core>,
    subscription: Option<Subscription>,
}

impl Agent {
    /// Reads what a predecessor has left, adopts its guests, answers on `node.<id>` and says hello.
    pub async fn start(config: Config, env: Env, bus: Arc<dyn Bus>, platform: Platform) -> Result<Agent> {
        let store = Store::open(config.durable.then(|| config.state_dir.clone()))?;
        wait_for_lock(&store, &env).await?;
        let id = match config.node_id {
            Some(id) => id,
            None => store.node_id(&env)?,
        };
        let loaded = store.load(env.now() - config.tombstones)?;
        let core = Arc::new(Core::new(config, env, bus, platform, store, id)?);
        let weak = Arc::downgrade(&core);
        core.platform.hypervisor.on_change(Arc::new(move |server| {
            if let Some(core) = weak.upgrade() {
                core.table.hint(server);
            }
        }));
        for (server, tombstone) in loaded.tombstones {
            core.table.restore_tombstone(server, tombstone);
            core.outbox.put(gone(server, tombstone.generation, core.next_sequence()));
        }
        for wanted in loaded.guests {
            core.adopt(wanted);
        }
        core.spawn("greet", reporter::greet_for_ever(Arc::clone(&core)));
        core.spawn("report", reporter::report_for_ever(Arc::clone(&core)));
        if core.config.durable {
            core.spawn("sweep", sweep_for_ever(Arc::clone(&core)));
        }
        if let Some(options) = core.platform.metadata.clone() {
            core.spawn("metadata", metadata::serve_for_ever(Arc::clone(&core), options));
        }
        let subscription = core.bus.respond(&format!("node.{id}"), Arc::new(Answers(Arc::clone(&core))));
        tracing::info!(node = %id, name = core.config.name, "node agent started");
        Ok(Agent { core, subscription: Some(subscription) })
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.core.id
    }

    /// Ends the agent and waits for its tasks. Guests run on.
    pub async fn shutdown(mut self) {
        self.end();
        self.core.tasks.close();
        self.core.tasks.wait().await;
    }

    fn end(&mut self) {
        self.subscription = None;
        self.core.ended.cancel();
        self.core.platform.hypervisor.detach();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

/// What all of the agent's tasks share.
pub(crate) struct Core {
    pub config: Config,
    pub env: Env,
    pub bus: Arc<dyn Bus>,
    pub platform: Platform,
    pub store: Store,
    pub table: Table,
    pub outbox: reporter::Outbox,
    pub images: ImageCache,
    pub id: NodeId,
    /// The running kernel's boot id.
    pub host_boot: String,
    /// Held while what is wanted is written, and while a guest's directory is removed.
    pub writing: tokio::sync::Mutex<()>,
    /// Shared while interfaces are made, exclusive while orphans are looked for.
    pub plugging: RwLock<()>,
    /// Guests came, went or changed: for the metadata service.
    pub changed: Notify,
    node: String,
    started_at: Timestamp,
    sequence: Mutex<(u64, u64)>,
    ended: CancellationToken,
    tasks: TaskTracker,
}

impl Core {
    fn new(config: Config, env: Env, bus: Arc<dyn Bus>, platform: Platform, store: Store, id: NodeId) -> Result<Core> {
        let node = id.to_string();
        let first = store.reserve_sequence(env.now(), SEQUENCES)?;
        let images = ImageCache::new(
            store.images_dir(),
            Arc::clone(&bus),
            node.clone(),
            config.request_limit,
            config.image_cache_bytes,
        );
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Core {
            started_at: env.now(),
            config,
            env,
            bus,
            platform,
            store,
            table: Table::default(),
            outbox: reporter::Outbox::default(),
            images,
            id,
            host_boot: boot.trim().to_owned(),
            writing: tokio::sync::Mutex::default(),
            plugging: RwLock::default(),
            changed: Notify::new(),
            node,
            sequence: Mutex::new((first, first + SEQUENCES)),
            ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Starts a task that ends with the agent.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        let task = self.tasks.track_future(async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = future => {}
            }
        });
        self.env.spawn(name, task);
    }

    /// The next sequence number; never one that was used before, by whichever agent on this host.
    pub fn next_sequence(&self) -> u64 {
        let mut sequence = self.sequence.lock();
        if sequence.0 + 1 >= sequence.1 {
            match self.store.reserve_sequence(self.env.now(), SEQUENCES) {
                Ok(first) => *sequence = (first, first + SEQUENCES),
                // Goes on above what is reserved: only a restart before the next success could repeat a number.
                Err(error) => tracing::error!(error = error.internal_text(), "sequence numbers cannot be reserved"),
            }
        }
        sequence.0 += 1;
        sequence.0
    }

    /// Asks the control plane.
    pub async fn ask_control(&self, report: &NodeReport) -> Result<ReportReply> {
        ask(self.bus.as_ref(), &self.node, CONTROL, report, self.config.request_limit).await
    }

    /// Notes what a guest's task has seen, and reports it if it is news.
    pub fn observe(&self, server: ServerId, sight: Sight) {
        if let Some(news) = self.table.see(server, sight, || self.next_sequence()) {
            self.outbox.put(news);
        }
    }

    /// Guests came, went or changed.
    pub fn guests_changed(&self) {
        self.changed.notify_one();
    }

    /// Forgets old tombstones.
    pub fn forget_tombstones(&self) {
        for server in self.table.forget_before(self.env.now() - self.config.tombstones) {
            if let Err(error) = self.store.remove_tombstone(server) {
                tracing::warn!(%server, error = error.internal_text(), "a tombstone cannot be removed");
            }
        }
    }

    fn adopt(self: &Arc<Core>, wanted: WantedGuest) {
        let server = wanted.server;
        if self.table.want(wanted) {
            self.spawn("guest", guest::run(Arc::clone(self), server));
        }
        self.guests_changed();
    }

    async fn converge(self: &Arc<Core>, guests: Vec<WantedGuest>) -> Result<NodeReply> {
        if let Some(bad) = guests.iter().find(|guest| guest.spec.is_none() && guest.want != Want::Absent) {
            return Err(Error::invalid("A guest that is to be there needs a spec.").context(bad.server.to_string()));
        }
        let _writing = self.writing.lock().await;
        let mut fresh: BTreeMap<ServerId, WantedGuest> = BTreeMap::new();
        for wanted in guests {
            let known =
                fresh.get(&wanted.server).map(|w| w.generation).or_else(|| self.table.generation(wanted.server));
            if known.is_some_and(|known| known >= wanted.generation) {
                self.repeat_observation(wanted.server);
            } else {
                fresh.insert(wanted.server, wanted);
            }
        }
        let (absent, present): (Vec<WantedGuest>, Vec<WantedGuest>) =
            fresh.into_values().partition(|w| w.want == Want::Absent && self.table.wanted(w.server).is_none());
        for wanted in absent {
            self.bury_unknown(&wanted)?;
        }
        if self.config.durable {
            let (store, guests) = (self.store.clone(), present.clone());
            let saved = tokio::task::spawn_blocking(move || store.save_wanted(&guests)).await;
            let saved = saved.unwrap_or_else(|e| Err(Error::internal(format!("save wanted guests: {e}"))));
            if let Err(error) = saved {
                // A disk that is full must not keep a guest from going: that is what makes room. Not answered with
                // `Done`, so it is asked for again.
                for absent in present.into_iter().filter(|wanted| wanted.want == Want::Absent) {
                    self.adopt(absent);
                }
                return Err(error);
            }
        }
        for wanted in present {
            self.adopt(wanted);
        }
        Ok(NodeReply::Done)
    }

    /// The control plane asks again, so it may have lost what was seen.
    fn repeat_observation(&self, server: ServerId) {
        if let Some(observed) = self.table.observed(server, || self.next_sequence()) {
            self.outbox.put(observed);
        }
    }

    /// A guest that never was here, or no longer is, is to be gone.
    fn bury_unknown(&self, wanted: &WantedGuest) -> Result<()> {
        let tombstone = Tombstone { generation: wanted.generation, at: self.env.now() };
        self.store.save_tombstone(wanted.server, tombstone)?;
        self.table.bury(wanted.server, tombstone);
        self.outbox.put(gone(wanted.server, wanted.generation, self.next_sequence()));
        Ok(())
    }

    /// All guests. Just after the start, waits a little until each was looked at: one that is left out would pass for gone.
    async fn list_guests(&self) -> NodeReply {
        let end = self.env.instant() + Duration::from_secs(5);
        while !self.table.all_seen() && self.env.instant() < end {
            self.env.sleep(Duration::from_millis(10)).await;
        }
        NodeReply::Guests(self.table.all_observed())
    }

    async fn console_log(&self, server: ServerId, lines: Option<u32>) -> Result<NodeReply> {
        let wanted = self.known(server)?;
        let dir = self.store.guest_dir(server);
        let guest = GuestRef { server, dir: dir.as_deref(), wanted: &wanted };
        let log = self.platform.hypervisor.console_log(guest).await?;
        Ok(NodeReply::Text(last_lines(&String::from_utf8_lossy(&log), lines)))
    }

    async fn console(&self, server: ServerId, kind: ConsoleKind) -> Result<NodeReply> {
        let wanted = self.known(server)?;
        let dir = self.store.guest_dir(server);
        let guest = GuestRef { server, dir: dir.as_deref(), wanted: &wanted };
        Ok(NodeReply::Console(self.platform.hypervisor.console(guest, kind).await?))
    }

    fn known(&self, server: ServerId) -> Result<Arc<WantedGuest>> {
        let known = self.table.wanted(server).map(|(wanted, _)| wanted);
        known.ok_or_else(|| Error::not_found("The server is not on this host."))
    }

    /// What the node is and has.
    pub async fn info(&self) -> NodeInfo {
        let hypervisor = self.platform.hypervisor.info().await;
        let asked = &self.config.capacity;
        let has = &hypervisor.capacity;
        let (disk_gb, disk_free_gb) = match asked.disk_gb.or(has.disk_gb) {
            Some(all) => (all, all),
            None => disk_of(&self.config.state_dir),
        };
        NodeInfo {
            id: self.id,
            name: self.config.name.clone(),
            address: self.config.address.clone(),
            hypervisor_type: hypervisor.kind.to_owned(),
            hypervisor_version: hypervisor.version,
            accelerator: hypervisor.accelerator.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            cpu_model: cpu_model(),
            vcpus: asked.vcpus.or(has.vcpus).unwrap_or_else(processors),
            memory_mb: asked.memory_mb.or(has.memory_mb).unwrap_or_else(memory_mb),
            disk_gb,
            disk_free_gb,
            running_guests: u32::try_from(self.table.running()).unwrap_or(u32::MAX),
            started_at: self.started_at,
        }
    }
}

/// Answers the control plane.
struct Answers(Arc<Core>);

#[async_trait]
impl Responder for Answers {
    async fn respond(&self, _from: &str, body: Bytes) -> Result<Bytes> {
        let reply = match decode::<NodeRequest>(&body)? {
            NodeRequest::Converge(guests) => self.0.converge(guests).await?,
            NodeRequest::ListGuests => self.0.list_guests().await,
            NodeRequest::ConsoleLog { server, lines } => self.0.console_log(server, lines).await?,
            NodeRequest::Console { server, kind } => self.0.console(server, kind).await?,
        };
        encode(&reply)
    }
}

/// Waits until a predecessor on the same directory has ended.
async fn wait_for_lock(store: &Store, env: &Env) -> Result<()> {
    let end = env.instant() + Duration::from_secs(10);
    while !store.lock()? {
        if env.instant() > end {
            return Err(Error::conflict("another node agent runs on the same state directory"));
        }
        env.sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Removes interfaces whose guest is gone: at the start and then now and again.
async fn sweep_for_ever(core: Arc<Core>) {
    loop {
        {
            let _alone = core.plugging.write().await;
            let keep: BTreeSet<PortId> = core
                .table
                .all_wanted()
                .iter()
                .flat_map(|wanted| wanted.spec.iter().flat_map(|spec| spec.nics.iter().map(|port| port.id)))
                .collect();
            if let Err(failure) = core.platform.plumbing.sweep(&keep).await {
                tracing::warn!(error = failure.error.internal, "orphaned interfaces cannot be removed");
            }
        }
        core.platform.hypervisor.tick().await;
        core.env.sleep(SWEEP).await;
    }
}

/// The last lines of a text; what a message can carry of it in any case.
fn last_lines(text: &str, lines: Option<u32>) -> String {
    const MOST: usize = 900 << 10;
    let text = &text[text.ceil_char_boundary(text.len().saturating_sub(MOST))..];
    let Some(lines) = lines else { return text.to_owned() };
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    let body = text.strip_suffix('\n').unwrap_or(text);
    let start = body.rmatch_indices('\n').nth(wanted.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
    if wanted == 0 { String::new() } else { text[start..].to_owned() }
}

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

fn memory_mb() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram * u64::from(info.mem_unit)) >> 20
}

fn disk_of(path: &std::path::Path) -> (u64, u64) {
    match rustix::fs::statvfs(path) {
        Ok(disk) => ((disk.f_blocks * disk.f_frsize) >> 30, (disk.f_bavail * disk.f_frsize) >> 30),
        Err(_) => (0, 0),
    }
}

fn cpu_model() -> String {
    // Asked with every heartbeat, and reading it makes the kernel write pages of text.
    static MODEL: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let read = || {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = info.lines().find_map(|line| line.strip_prefix("model name"));
        line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, model)| model.trim()).to_owned()
    };
    MODEL.get_or_init(read).clone()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What an agent has before it starts anything.
    pub async fn bare_core() -> Arc<Core> {
        let config = Config { durable: false, ..Config::new("host", "/nonexistent") };
        let (env, bus) = (Env::system(), Arc::new(ferrostack_bus::LocalBus::new()));
        let platform = Platform::fake(crate::hypervisor::fake::FakeOptions::default());
        let id = NodeId(env.uuid());
        Arc::new(Core::new(config, env, bus, platform, Store::open(None).unwrap(), id).unwrap())
    }

    #[test]
    fn cuts_a_log_from_its_end() {
        assert_eq!(last_lines("a\nb\nc\n", Some(2)), "b\nc\n");
        assert_eq!(last_lines("a\nb\nc", Some(1)), "c");
        assert_eq!(last_lines("a\nb\n", Some(9)), "a\nb\n");
        assert_eq!(last_lines("a\nb\n", Some(0)), "");
        assert_eq!(last_lines("a\nb\n", None), "a\nb\n");
    }
}
