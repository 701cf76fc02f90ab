//! The only place that knows all services, and which engines a cloud stands on.
//!
//! Order of a start: the database first; then the services, which only register their work; then the engines, in
//! parallel with that as far as they can; the listener may answer from here on; last the workers and the node agents,
//! which take up what an earlier process left. A stop goes the other way round. Guests and engines outlive both.

mod engines;
mod nodes;

use crate::config::{Accelerator, Config, HypervisorKind, NetworkKind};
use crate::console::{ConsoleTokens, Consoles};
use crate::home::Home;
use crate::http::Front;
use async_trait::async_trait;
use axum::Router;
use ferrostack_bus::{Bus, LocalBus, Subscription};
use ferrostack_compute::Compute;
use ferrostack_contracts::node::{ConsoleKind, NodeReports, Nodes};
use ferrostack_db::{Db, SqliteConfig};
use ferrostack_identity::Identity;
use ferrostack_image::{ImageConfig, Images};
use ferrostack_jobs::{Jobs, JobsConfig};
use ferrostack_network::{Network, NetworkConfig, NoWiring, OvnWiring, Wiring};
use ferrostack_node::hypervisor::fake::FakeOptions;
use ferrostack_node::hypervisor::qemu::{self, Accelerator as QemuAccelerator, QemuConfig};
use ferrostack_node::{Agent, Platform};
use ferrostack_ovn::daemons::Engine;
use ferrostack_ovn::northbound::Northbound;
use ferrostack_ovn::plug::Switch;
use ferrostack_placement::Placement;
use ferrostack_rest::{Kit, ServiceApi};
use ferrostack_types::ids::{NodeId, ServerId};
use ferrostack_types::{Env, Error, Result, ResultExt, Secret};
use std::sync::Arc;
use std::time::Duration;

/// How long steps that run may take at a stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A running cloud.
pub struct Cloud {
    /// The database.
    pub db: Db,
    /// Durable work.
    pub jobs: Jobs,
    /// The services.
    pub services: Services,
    front: Front,
    consoles: Consoles,
    agents: Vec<Agent>,
    _control: Subscription,
    engine: Option<Engine>,
}

/// All services.
#[derive(Clone)]
pub struct Services {
    /// Keystone's API.
    pub identity: Arc<Identity>,
    /// Glance's.
    pub image: Arc<Images>,
    /// Placement's.
    pub placement: Arc<Placement>,
    /// Neutron's.
    pub network: Arc<Network>,
    /// Nova's.
    pub compute: Arc<Compute>,
}

impl Cloud {
    /// Starts everything but the listener.
    pub async fn start(config: &Config, home: &Home, env: &Env) -> Result<Cloud> {
        let host = engines::host_name(config)?;
        // The engines take the longest; they start while the database and identity do.
        let engine = match config.network_kind() {
            NetworkKind::Ovn => {
                let start = Engine::start(engines::config(config, home, &host), env.clone());
                Some(env.spawn("engines", start))
            }
            NetworkKind::None => None,
        };
        let db = open_database(home, env).await?;
        let jobs = Jobs::new(db.clone(), env.clone(), {
            let mut jobs = JobsConfig::new(format!("{host}:{}", env.hex_id()));
            // The data directory's lock proves that no other process works on this database.
            jobs.sole = true;
            jobs
        });
        let identity = identity(config, home, &db, env).await?;
        let engine = match engine {
            Some(task) => Some(task.await.map_err(|e| Error::from_source("start the engines", e))??),
            None => None,
        };
        let wiring: Arc<dyn Wiring> = match &engine {
            Some(engine) => {
                let northbound = Northbound::connect(&engine.northbound_socket(), env.clone()).await?;
                Arc::new(OvnWiring::new(Arc::new(northbound)))
            }
            None => Arc::new(NoWiring),
        };
        let bus: Arc<dyn Bus> = Arc::new(LocalBus::new());
        let nodes: Arc<dyn Nodes> = Arc::new(nodes::BusNodes(Arc::clone(&bus)));
        let services = services(config, home, &db, env, &jobs, identity, wiring, Arc::clone(&nodes), &host).await?;
        let reports: Arc<dyn NodeReports> = Arc::clone(&services.compute) as Arc<dyn NodeReports>;
        let control = bus.respond(nodes::CONTROL, Arc::new(nodes::ControlResponder(reports)));
        let front = Front::new(apis(&services, home, env)?);
        let consoles = Consoles::new(Arc::new(Tokens(Arc::clone(&services.compute))), nodes);
        jobs.start().await?;
        let agents = start_agents(config, home, env, &bus, engine.as_ref(), &host).await?;
        Ok(Cloud { db, jobs, services, front, consoles, agents, _control: control, engine })
    }

    /// What the listener serves.
    pub fn router(&self) -> Router {
        self.front.router(self.consoles.clone().router())
    }

    /// All services' APIs.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// A line on the database's commits.
    pub fn db_stats(&self) -> String {
        use std::sync::atomic::Ordering::Relaxed;
        let stats = self.db.stats();
        let (writes, commits) = (stats.writes.load(Relaxed), stats.commits.load(Relaxed));
        format!("{writes} write transactions in {commits} durable commits, {:.1} a commit", stats.mean_group())
    }

    /// Stops working. Guests, and the engines that carry their packets, run on.
    pub async fn shutdown(self) {
        for agent in self.agents {
            agent.shutdown().await;
        }
        if let Err(error) = self.jobs.shutdown(STOP_LIMIT).await {
            tracing::warn!(?error, "some work did not stop in time; the next start takes it up");
        }
        self.db.close().await;
        // Dropping the handle leaves the daemons alone.
        drop(self.engine);
    }
}

async fn open_database(home: &Home, env: &Env) -> Result<Db> {
    let schemas = [
        ferrostack_jobs::MIGRATIONS,
        ferrostack_identity::MIGRATIONS,
        ferrostack_image::MIGRATIONS,
        ferrostack_placement::MIGRATIONS,
        ferrostack_network::MIGRATIONS,
        ferrostack_compute::MIGRATIONS,
    ];
    Db::sqlite(SqliteConfig::new(home.join("db/ferrostack.sqlite")), &schemas, env).await
}

async fn identity(config: &Config, home: &Home, db: &Db, env: &Env) -> Result<Arc<Identity>> {
    let mut identity = ferrostack_identity::Config::new(home.join("keys/fernet"));
    identity.token_ttl = Duration::from_secs(config.identity.token_seconds);
    identity.bcrypt_cost = config.identity.bcrypt_cost;
    let deps = ferrostack_identity::Deps { db: db.clone(), env: env.clone(), config: identity };
    let service = Identity::new(deps).await?;
    let password = home.admin_password(env)?;
    let url = config.api.url();
    let endpoint = |kind: &str, name: &str, path: &str| (kind.to_owned(), name.to_owned(), format!("{url}{path}"));
    service
        .bootstrap(ferrostack_identity::BootstrapConfig {
            admin_password: Secret::new(password.as_str()),
            region: config.api.region.clone(),
            endpoints: vec![
                endpoint("identity", "keystone", "/identity"),
                endpoint("compute", "nova", "/compute/v2.1"),
                endpoint("image", "glance", "/image"),
                endpoint("network", "neutron", "/network"),
                endpoint("placement", "placement", "/placement"),
            ],
        })
        .await?;
    home.write_credentials(config, &password)?;
    Ok(service)
}

#[expect(clippy::too_many_arguments, reason = "the wiring is where everything meets")]
async fn services(
    config: &Config,
    home: &Home,
    db: &Db,
    env: &Env,
    jobs: &Jobs,
    identity: Arc<Identity>,
    wiring: Arc<dyn Wiring>,
    nodes: Arc<dyn Nodes>,
    host: &str,
) -> Result<Services> {
    let (db, env, jobs) = (|| db.clone(), || env.clone(), || jobs.clone());
    let image = Images::new(ferrostack_image::Deps {
        db: db(),
        env: env(),
        jobs: jobs(),
        blobs: Arc::new(ferrostack_blobs::Directory::open(home.join("images"), env()).await?),
        // As for jobs: nobody else can be uploading.
        config: ImageConfig { sole: true, ..ImageConfig::default() },
    })
    .await?;
    let placement = Placement::new(ferrostack_placement::Deps { db: db(), env: env(), jobs: jobs() }).await?;
    let network = Network::new(ferrostack_network::Deps {
        db: db(),
        env: env(),
        jobs: jobs(),
        wiring,
        config: NetworkConfig {
            physical_networks: vec![config.network.physical_network.clone()],
            gateway_hosts: vec![host.to_owned()],
            ..NetworkConfig::default()
        },
    })
    .await?;
    let compute = Compute::new(ferrostack_compute::Deps {
        db: db(),
        env: env(),
        jobs: jobs(),
        placement: Arc::clone(&placement) as _,
        ports: Arc::clone(&network) as _,
        images: Arc::clone(&image) as _,
        nodes,
        config: ferrostack_compute::Config {
            cpu_ratio: config.compute.cpu_allocation_ratio,
            ..ferrostack_compute::Config::default()
        },
    })
    .await?;
    Ok(Services { identity, image, placement, network, compute })
}

fn apis(services: &Services, home: &Home, env: &Env) -> Result<Vec<Arc<dyn ServiceApi>>> {
    let kit = Kit { env: env.clone(), tokens: Arc::clone(&services.identity) as _ };
    let policy = |service: &str| Some(home.join(&format!("policy/{service}.yaml")));
    Ok(vec![
        ferrostack_identity::api(Arc::clone(&services.identity), kit.clone(), policy("identity"))?,
        ferrostack_image::api(Arc::clone(&services.image), kit.clone(), policy("image"))?,
        ferrostack_placement::api(Arc::clone(&services.placement), kit.clone(), policy("placement"))?,
        ferrostack_network::api(Arc::clone(&services.network), kit.clone(), policy("network"))?,
        ferrostack_compute::api(Arc::clone(&services.compute), kit, policy("compute"))?,
    ])
}

async fn start_agents(
    config: &Config,
    home: &Home,
    env: &Env,
    bus: &Arc<dyn Bus>,
    engine: Option<&Engine>,
    host: &str,
) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    match config.compute.hypervisor {
        HypervisorKind::Qemu => {
            let node = ferrostack_node::Config::new(host, home.join("node"));
            let platform = qemu_platform(config, home, env, engine).await?;
            agents.push(Agent::start(node, env.clone(), Arc::clone(bus), platform).await?);
        }
        HypervisorKind::Fake => {
            for index in 0..config.compute.fake_hosts {
                let name = if config.compute.fake_hosts == 1 { host.to_owned() } else { format!("fake-{index:04}") };
                let dir = home.join(&format!("node/{name}"));
                std::fs::create_dir_all(&dir).context("make a host's directory")?;
                let mut node = ferrostack_node::Config::new(name, dir);
                // Many fake hosts are for load tests: they cost no files, and a new start begins empty.
                node.durable = config.compute.fake_hosts == 1;
                let platform = Platform::fake(FakeOptions::default());
                agents.push(Agent::start(node, env.clone(), Arc::clone(bus), platform).await?);
            }
        }
    }
    Ok(agents)
}

async fn qemu_platform(config: &Config, home: &Home, env: &Env, engine: Option<&Engine>) -> Result<Platform> {
    let mut qemu = QemuConfig::new(home.join("node"));
    qemu.accelerator = match config.compute.accelerator {
        Accelerator::Auto => None,
        Accelerator::Kvm => Some(QemuAccelerator::Kvm),
        Accelerator::Tcg => Some(QemuAccelerator::Tcg),
    };
    let switch = match engine {
        Some(engine) => {
            let bridge = engine.switch().integration_bridge();
            Some(Arc::new(Switch::connect(&engine.switch_socket(), bridge, env.clone()).await?))
        }
        None => None,
    };
    Ok(Platform::qemu(qemu, switch, env.clone()))
}

/// Removes every trace of a cloud from this machine, its data directory excepted.
pub async fn purge(config: &Config, home: &Home, env: &Env) -> Result<()> {
    let host = engines::host_name(config)?;
    qemu::end_all(&home.join("node")).await?;
    if config.network_kind() == NetworkKind::Ovn {
        Engine::purge(&engines::config(config, home, &host), env).await?;
    }
    Ok(())
}

/// Console tokens are compute's.
struct Tokens(Arc<Compute>);

#[async_trait]
impl ConsoleTokens for Tokens {
    async fn redeem(&self, token: &str) -> Result<(NodeId, ServerId, ConsoleKind)> {
        self.0.redeem_console(token).await
    }
}
