//! A host with an agent, and a control plane that only listens.

use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_bus::{Bus, LocalBus, Responder, Subscription, ask, decode, encode};
use ferrostack_contracts::image::DiskFormat;
use ferrostack_contracts::node::*;
use ferrostack_node::{Agent, Config, Failpoints, Platform};
use ferrostack_types::ids::{ImageId, ServerId};
use ferrostack_types::{Env, Error, Result};
use parking_lot::Mutex;
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the control plane has heard.
#[derive(Default)]
pub struct Control {
    pub seen: Mutex<BTreeMap<ServerId, ObservedGuest>>,
    pub hellos: Mutex<Vec<NodeInfo>>,
    pub images: Mutex<BTreeMap<ImageId, Bytes>>,
    pub reads: Mutex<u64>,
    pub deaf: std::sync::atomic::AtomicBool,
    news: tokio::sync::Notify,
}

#[async_trait]
impl Responder for Control {
    async fn respond(&self, from: &str, body: Bytes) -> Result<Bytes> {
        if self.deaf.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Error::unavailable("deaf"));
        }
        let reply = match decode::<NodeReport>(&body)? {
            NodeReport::Hello(info) => {
                assert_eq!(from, info.id.to_string());
                self.hellos.lock().push(info);
                ReportReply::Done
            }
            NodeReport::Guests(guests) => {
                let mut seen = self.seen.lock();
                for guest in guests {
                    let newer = seen.get(&guest.server).is_none_or(|old| old.sequence < guest.sequence);
                    if newer {
                        seen.insert(guest.server, guest);
                    }
                }
                ReportReply::Done
            }
            NodeReport::ReadImage { image, offset, length } => {
                *self.reads.lock() += 1;
                assert!(length <= 512 << 10);
                let images = self.images.lock();
                let bytes = images.get(&image).ok_or_else(|| Error::not_found("no such image"))?;
                let start = usize::try_from(offset).unwrap().min(bytes.len());
                let end = (start + length as usize).min(bytes.len());
                ReportReply::Bytes(bytes.slice(start..end))
            }
        };
        self.news.notify_waiters();
        encode(&reply)
    }
}

/// A host. The directory, the bus and the control plane outlive its agents.
pub struct Host {
    pub dir: tempfile::TempDir,
    pub bus: LocalBus,
    pub control: Arc<Control>,
    pub agent: Option<Agent>,
    pub env: Env,
    _subscription: Subscription,
}

impl Host {
    pub fn new() -> Host {
        let bus = LocalBus::new();
        let control = Arc::new(Control::default());
        let subscription = bus.respond("control", Arc::clone(&control) as Arc<dyn Responder>);
        let dir = tempfile::Builder::new().prefix("fsn").tempdir().unwrap();
        Host { dir, bus, control, agent: None, env: Env::system(), _subscription: subscription }
    }

    pub fn config(&self, failpoints: Failpoints) -> Config {
        let mut config = Config::new("host", self.dir.path().join("state"));
        config.retry_min = Duration::from_millis(5);
        config.retry_limit = 3;
        config.heartbeat = Duration::from_millis(200);
        config.failpoints = failpoints;
        config
    }

    pub async fn start(&mut self, platform: Platform) {
        self.start_with(self.config(Failpoints::default()), platform).await;
    }

    pub async fn start_with(&mut self, config: Config, platform: Platform) {
        let bus = Arc::new(self.bus.clone());
        self.agent = Some(Agent::start(config, self.env.clone(), bus, platform).await.unwrap());
    }

    /// The agent dies; guests do not.
    pub async fn stop(&mut self) {
        self.agent.take().unwrap().shutdown().await;
    }

    pub async fn request(&self, request: NodeRequest) -> Result<NodeReply> {
        let subject = format!("node.{}", self.agent.as_ref().unwrap().id());
        ask(&self.bus, "control", &subject, &request, Duration::from_secs(30)).await
    }

    pub async fn converge(&self, wanted: &WantedGuest) {
        assert_eq!(self.request(NodeRequest::Converge(vec![wanted.clone()])).await.unwrap(), NodeReply::Done);
    }

    /// Waits until the control plane has heard this of a guest.
    pub async fn until(&self, server: ServerId, what: &str, holds: impl Fn(&ObservedGuest) -> bool) -> ObservedGuest {
        let wait = async {
            loop {
                let news = self.control.news.notified();
                if let Some(seen) = self.control.seen.lock().get(&server)
                    && holds(seen)
                {
                    return seen.clone();
                }
                let _ = tokio::time::timeout(Duration::from_millis(100), news).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), wait).await {
            Ok(seen) => seen,
            Err(_) => panic!("not {what}: {:?}", self.control.seen.lock().get(&server)),
        }
    }

    pub async fn settled(&self, wanted: &WantedGuest) -> ObservedGuest {
        let generation = wanted.generation;
        self.until(wanted.server, "settled", |seen| seen.generation == generation && seen.settled).await
    }

    pub fn publish(&self, bytes: Bytes, format: DiskFormat) -> GuestImage {
        let image = GuestImage {
            id: ImageId(self.env.uuid()),
            format,
            size: bytes.len() as u64,
            sha512: hex::encode(Sha512::digest(&bytes)),
        };
        self.control.images.lock().insert(image.id, bytes);
        image
    }

    pub fn guest(&self, image: GuestImage) -> WantedGuest {
        WantedGuest {
            server: ServerId(self.env.uuid()),
            generation: 1,
            want: Want::Running,
            boot: 1,
            soft_reboot: false,
            spec: Some(GuestSpec {
                name: "instance-00000001".into(),
                vcpus: 1,
                memory_mb: 64,
                root_gb: 0,
                image,
                nics: Vec::new(),
                config_drive: true,
                metadata: GuestMetadata {
                    name: "one".into(),
                    hostname: "one".into(),
                    project_id: "p".into(),
                    availability_zone: "nova".into(),
                    launch_index: 0,
                    public_keys: BTreeMap::new(),
                    meta: BTreeMap::new(),
                    user_data: None,
                    admin_password: None,
                },
                shutdown_timeout_s: 1,
            }),
        }
    }

    /// Whether anything of a guest is left in the state directory.
    pub fn leftovers(&self, server: ServerId) -> Vec<String> {
        let state = self.dir.path().join("state");
        let places = ["guests", "removing"].map(|name| state.join(name).join(server.to_string()));
        places.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
    }
}

/// A test that fails leaves no QEMU behind.
impl Drop for Host {
    fn drop(&mut self) {
        let guests = self.dir.path().join("state/guests").read_dir().into_iter().flatten().flatten();
        for guest in guests {
            let pid = std::fs::read_to_string(guest.path().join("lock")).unwrap_or_default().trim().to_owned();
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&*guest.file_name().to_string_lossy()) {
                let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
            }
        }
    }
}

/// The next wish.
pub fn next(wanted: &WantedGuest, want: Want) -> WantedGuest {
    let mut next = wanted.clone();
    next.generation += 1;
    next.want = want;
    if want == Want::Absent {
        next.spec = None;
    }
    next
}
