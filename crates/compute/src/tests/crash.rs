//! The process is killed at every point of the workflows; whatever happens, the laws hold in the end.

use super::{World, drive};
use crate::api::servers::body;
use crate::microversions::RANGE;
use crate::model::VmState;
use crate::store::servers::{ServerFilter, server_fetch_in_tx, servers_where_in_tx};
use crate::{Compute, Config};
use async_trait::async_trait;
use ferrostack_contracts::identity::TokenVerifier;
use ferrostack_contracts::network::Ports;
use ferrostack_contracts::node::GuestError;
use ferrostack_contracts::placement::Placement;
use ferrostack_db::Db;
use ferrostack_jobs::testing::{Scenario, crash_everywhere, kill, repeat_everywhere};
use ferrostack_jobs::{Jobs, JobsConfig};
use ferrostack_types::ids::{ImageId, WorkflowId};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

struct CrashWorld {
    world: World,
    image: ImageId,
    compute: Mutex<Option<Arc<Compute>>>,
}

impl CrashWorld {
    fn compute(&self) -> Arc<Compute> {
        self.compute.lock().clone().expect("a process is there")
    }
}

/// What happens to the servers.
#[derive(Clone, Copy, PartialEq)]
enum Story {
    /// Built.
    Build,
    /// Built on the second host that is tried, as the first cannot.
    Retry,
    /// No host can.
    Fail,
    /// Built, then deleted.
    Delete,
    /// Deleted while they are built.
    DeleteEarly,
}

struct Servers(Story);

const SERVERS: usize = 2;

async fn world_of(story: Story) -> CrashWorld {
    let world = World::new().await;
    let image = world.images.add(&world.env, |_| {});
    for index in 0..2 {
        world.nodes.add(&format!("host-{index}"), 8);
    }
    let broken = GuestError { public: "broken".into(), internal: "broken".into(), elsewhere: true };
    if story == Story::Fail {
        world.nodes.fail_all_starts(Some(broken.clone()));
    }
    if story == Story::Retry {
        world.nodes.fail_first_starts(broken);
    }
    CrashWorld { world, image, compute: Mutex::new(None) }
}

/// Orders the servers, which a process that works then builds.
async fn order(world: &CrashWorld, compute: &Arc<Compute>) {
    world.world.nodes.pump(compute.as_ref()).await;
    flavor(&world.world).await;
    let body = json!({"server": {"name": "s", "flavorRef": "1", "imageRef": world.image.to_string(),
        "networks": "auto", "max_count": SERVERS, "min_count": SERVERS}});
    let order = body::read(&body, RANGE.max, "secret".to_owned()).unwrap().order;
    let caller = super::fakes::Tokens.verify("member").await.unwrap();
    compute.servers_create(&caller, "req-1", order).await.unwrap();
}

/// Lets a process that nothing happens to build them.
async fn built(world: &CrashWorld, scenario: &Servers) {
    let jobs = scenario.process(world, JobsConfig::new("builder")).await;
    jobs.start().await.unwrap();
    let compute = world.compute();
    order(world, &compute).await;
    finish(world, &compute).await;
    kill(&jobs);
}

/// Lets hosts report until no workflow is left.
async fn finish(world: &CrashWorld, compute: &Arc<Compute>) {
    for _ in 0..5000 {
        world.world.nodes.pump(compute.as_ref()).await;
        if compute.jobs.backlog().await.unwrap().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("workflows are left: {:?}", compute.jobs.backlog().await.unwrap());
}

async fn live(world: &CrashWorld) -> Vec<crate::model::Server> {
    let mut filter = ServerFilter::default();
    filter.plain("deleted_at IS NULL");
    world.world.db.db.read("live", move |tx| servers_where_in_tx(tx, &filter)).await.unwrap()
}

async fn delete_all(world: &CrashWorld, compute: &Arc<Compute>) {
    for server in live(world).await {
        let (service, workflow) = (Arc::clone(compute), WorkflowId::from_uuid(world.world.env.uuid()));
        let now = world.world.env.now();
        let work = move |tx: &mut ferrostack_db::Tx<'_>| match server_fetch_in_tx(tx, server.id)? {
            Some(server) => service.server_delete_in_tx(tx, &server, None, workflow, now),
            None => Ok(()),
        };
        world.world.db.db.write("delete", work).await.unwrap();
    }
}

#[async_trait]
impl Scenario for Servers {
    type World = CrashWorld;

    async fn world(&self) -> CrashWorld {
        let world = world_of(self.0).await;
        if self.0 == Story::Delete {
            built(&world, self).await;
        }
        world
    }

    fn db<'a>(&self, world: &'a CrashWorld) -> &'a Db {
        &world.world.db.db
    }

    async fn process(&self, world: &CrashWorld, config: JobsConfig) -> Jobs {
        let repeat_after = Duration::from_millis(100);
        let config_of = Config { repeat_after, cpu_ratio: 1.0, ..Config::default() };
        let (jobs, compute) = world.world.process(config, config_of).await;
        *world.compute.lock() = Some(compute);
        jobs
    }

    async fn begin(&self, world: &CrashWorld, _: &Jobs) {
        let compute = world.compute();
        if self.0 == Story::Delete {
            return delete_all(world, &compute).await;
        }
        order(world, &compute).await;
        if self.0 == Story::DeleteEarly {
            delete_all(world, &compute).await;
        }
    }

    async fn drive(&self, world: &CrashWorld, _: &Jobs) {
        let compute = world.compute();
        drive(&world.world.nodes, compute.as_ref()).await;
    }

    async fn check(&self, world: &CrashWorld, how: &str) {
        let compute = world.compute();
        let servers = live(world).await;
        let wanted = match self.0 {
            Story::Delete | Story::DeleteEarly => {
                assert!(servers.is_empty(), "{how}: {servers:?}");
                None
            }
            Story::Fail => Some(VmState::Error),
            _ => Some(VmState::Active),
        };
        for server in &servers {
            assert_eq!(Some(server.vm_state), wanted, "{how}: {server:?}");
            assert_eq!(server.task_state, None, "{how}");
        }
        let there = if wanted == Some(VmState::Active) { SERVERS } else { 0 };
        assert_eq!(world.world.nodes.count(), there, "{how}: guests");
        assert_eq!(world.world.placement.holders().await.unwrap().len(), there, "{how}: allocations");
        assert_eq!(world.world.ports.owners().await.unwrap().len(), there, "{how}: ports");
        assert_eq!(compute.audit().await.unwrap(), [], "{how}");
    }
}

async fn flavor(world: &World) {
    use crate::model::{Flavor, FlavorCopy};
    let copy = FlavorCopy {
        id: "1".into(),
        name: "tiny".into(),
        vcpus: 1,
        memory_mb: 512,
        root_gb: 1,
        ephemeral_gb: 0,
        swap_mb: 0,
        extra_specs: Default::default(),
    };
    let flavor = Flavor { copy, rxtx_factor: 1.0, is_public: true, disabled: false, description: None };
    let now = world.env.now();
    world.db.db.write("flavor", move |tx| crate::store::flavors::flavor_insert_in_tx(tx, &flavor, now)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn building_survives_a_crash_at_every_point() {
    assert!(crash_everywhere(&Servers(Story::Build)).await >= 3 * 3);
    repeat_everywhere(&Servers(Story::Build)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trying_another_host_survives_a_crash_at_every_point() {
    crash_everywhere(&Servers(Story::Retry)).await;
    repeat_everywhere(&Servers(Story::Retry)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_survives_a_crash_at_every_point() {
    crash_everywhere(&Servers(Story::Fail)).await;
    repeat_everywhere(&Servers(Story::Fail)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_survives_a_crash_at_every_point() {
    crash_everywhere(&Servers(Story::Delete)).await;
    repeat_everywhere(&Servers(Story::Delete)).await;
}

/// What is deleted while it is built passes other points each time: so it is killed at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_early_survives_a_crash_at_any_time() {
    let scenario = Servers(Story::DeleteEarly);
    repeat_everywhere(&scenario).await;
    for micros in (0..12_000).step_by(400) {
        let world = scenario.world().await;
        let config = |owner: &str| JobsConfig { poll: Duration::from_millis(20), sole: true, ..JobsConfig::new(owner) };
        let first = scenario.process(&world, config("first")).await;
        first.start().await.unwrap();
        let compute = world.compute();
        order(&world, &compute).await;
        let later = tokio::time::sleep(Duration::from_micros(micros));
        tokio::select! {
            () = drive(&world.world.nodes, compute.as_ref()) => {}
            () = later => {}
        }
        delete_all(&world, &compute).await;
        tokio::time::sleep(Duration::from_micros(micros / 2)).await;
        kill(&first);
        drop(compute);
        let second = scenario.process(&world, config("second")).await;
        second.start().await.unwrap();
        finish(&world, &world.compute()).await;
        kill(&second);
        scenario.check(&world, &format!("killed after {micros} µs")).await;
    }
}
