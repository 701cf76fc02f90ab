//! `ferrostack bench`: figures of a cloud of its own, with the fake hypervisor but with real HTTP over loopback, a real
//! database and durable commits. The load generator runs in the same process and on the same processors.

use crate::client::Client;
use crate::config::{Config, HypervisorKind, NetworkKind};
use crate::home::Home;
use crate::http;
use crate::wiring::Cloud;
use ::http::Method;
use axum::body::Body;
use bytes::Bytes;
use ferrostack_types::{Env, Error, Kind, Result, ResultExt};
use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::watch;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many fake hosts.
    #[arg(long, default_value_t = 10)]
    hosts: u32,
    /// How many servers to create, list and delete.
    #[arg(long, default_value_t = 1000)]
    servers: usize,
    /// How many ports to create.
    #[arg(long, default_value_t = 1000)]
    ports: usize,
    /// The image to upload, in MiB.
    #[arg(long, default_value_t = 512)]
    image_mib: usize,
    /// How many requests at a time.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Where the cloud's data directory is made (and removed again); its disk's fsync time is part of the figures.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

/// Runs it.
pub async fn run(args: Args) -> Result<ExitCode> {
    let env = Env::system();
    let dir = tempfile::Builder::new().prefix("ferrostack-bench-").tempdir_in(&args.dir).context("make a directory")?;
    let mut config = Config::default();
    config.api.listen = free_port()?;
    config.compute.hypervisor = HypervisorKind::Fake;
    config.compute.fake_hosts = args.hosts;
    config.network.engine = Some(NetworkKind::None);
    let home = Home::open(dir.path())?;
    let started = env.instant();
    let cloud = Cloud::start(&config, &home, &env).await?;
    let (stop, stopping) = watch::channel(false);
    let server = env.spawn("http", http::serve(config.api.listen, cloud.router(), env.clone(), stopping));
    let password = home.admin_password(&env)?;
    let client = login(&config, &password, &env).await?;
    println!("start to first token, empty data directory: {:.0} ms", started.elapsed().as_secs_f64() * 1000.0);
    println!("memory after the start: {} MiB", resident_mib());
    let bench = Bench { client, env: env.clone(), args };
    bench.tokens().await?;
    let (flavor, image, network) = bench.prepare().await?;
    bench.ports(&network).await?;
    bench.servers(&flavor, &image, &network).await?;
    bench.upload().await?;
    let stats = cloud.db_stats();
    println!("commit groups: {stats}");
    let _ = stop.send(true);
    drop(server.await);
    cloud.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn login(config: &Config, password: &str, env: &Env) -> Result<Client> {
    for _ in 0..200 {
        match Client::login(&config.api.url(), "admin", password, "admin").await {
            Err(error) if error.kind() == Kind::Unavailable => env.sleep(Duration::from_millis(5)).await,
            other => return other,
        }
    }
    Err(Error::unavailable("The cloud does not come up."))
}

fn free_port() -> Result<std::net::SocketAddr> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

/// This process's resident memory.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Latencies in milliseconds.
struct Latencies(Vec<f64>);

impl Latencies {
    fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let index = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }
}

struct Bench {
    client: Client,
    env: Env,
    args: Args,
}

impl Bench {
    /// `count` requests at the set concurrency; requests per second and latencies.
    async fn load<F, Fut>(&self, count: usize, one: F) -> Result<(f64, Latencies)>
    where
        F: Fn(usize) -> Fut,
        Fut: Future<Output = Result<()>>,
    {
        let started = self.env.instant();
        let results: Vec<Result<f64>> = stream::iter(0..count)
            .map(|index| {
                let (before, request) = (self.env.instant(), one(index));
                async move { request.await.map(|()| before.elapsed().as_secs_f64() * 1000.0) }
            })
            .buffer_unordered(self.args.concurrency)
            .collect()
            .await;
        let latencies: Vec<f64> = results.into_iter().collect::<Result<_>>()?;
        Ok((count as f64 / started.elapsed().as_secs_f64(), Latencies(latencies)))
    }

    async fn tokens(&self) -> Result<()> {
        let token = self.client.token().to_owned();
        let one = |_| async {
            let headers = [("x-subject-token", token.as_str())];
            self.client.send(Method::GET, "/identity/v3/auth/tokens", &headers, Body::empty()).await?.json().map(drop)
        };
        self.load(2_000, one).await?;
        let (rate, mut latencies) = self.load(20_000, one).await?;
        println!(
            "token validate: {rate:.0} req/s, p50 {:.2} ms, p99 {:.2} ms",
            latencies.percentile(50),
            latencies.percentile(99)
        );
        Ok(())
    }

    async fn prepare(&self) -> Result<(String, String, String)> {
        let id = |value: &Value| value["id"].as_str().unwrap_or_default().to_owned();
        let quota = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
        let projects = self.client.get("/identity/v3/auth/projects").await?;
        let project = projects["projects"].as_array().and_then(|l| l.first()).map(id).unwrap_or_default();
        self.client.put(&format!("/compute/v2.1/os-quota-sets/{project}"), &quota).await?;
        self.client.put(&format!("/network/v2.0/quotas/{project}"), &json!({"quota": {"port": -1}})).await?;
        let body = json!({"flavor": {"name": "bench", "vcpus": 1, "ram": 64, "disk": 1}});
        let flavor = id(&self.client.post("/compute/v2.1/flavors", &body).await?["flavor"]);
        let body = json!({"name": "bench", "disk_format": "raw", "container_format": "bare"});
        let image = id(&self.client.post("/image/v2/images", &body).await?);
        self.put_image(&image, 1).await?;
        let network =
            id(&self.client.post("/network/v2.0/networks", &json!({"network": {"name": "bench"}})).await?["network"]);
        let body = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}});
        self.client.post("/network/v2.0/subnets", &body).await?;
        Ok((flavor, image, network))
    }

    async fn ports(&self, network: &str) -> Result<()> {
        let body = json!({"port": {"network_id": network}});
        let (rate, mut latencies) = self
            .load(self.args.ports, |_| async { self.client.post("/network/v2.0/ports", &body).await.map(drop) })
            .await?;
        println!(
            "ports created: {rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms",
            latencies.percentile(50),
            latencies.percentile(99)
        );
        Ok(())
    }

    async fn servers(&self, flavor: &str, image: &str, network: &str) -> Result<()> {
        let count = self.args.servers;
        let started = self.env.instant();
        let (_, mut latencies) = self
            .load(count, |index| async move {
                let body = json!({"server": {"name": format!("bench-{index}"), "flavorRef": flavor, "imageRef": image,
                    "networks": [{"uuid": network}]}});
                self.client.post("/compute/v2.1/servers", &body).await.map(drop)
            })
            .await?;
        let accepted = started.elapsed().as_secs_f64();
        self.wait_for("ACTIVE", count).await?;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "servers created, accepted to ACTIVE: {:.0} creates/s ({count} in {seconds:.2} s, all accepted after {accepted:.2} s, \
             POST p50 {:.1} ms, p99 {:.1} ms)",
            count as f64 / seconds,
            latencies.percentile(50),
            latencies.percentile(99)
        );
        println!("memory with {count} servers: {} MiB", resident_mib());
        self.list().await?;
        self.delete_all(count).await
    }

    async fn list(&self) -> Result<()> {
        let mut latencies = Latencies(Vec::new());
        let mut size = 0;
        for _ in 0..30 {
            let before = self.env.instant();
            let answer =
                self.client.send(Method::GET, "/compute/v2.1/servers/detail?limit=1000", &[], Body::empty()).await?;
            latencies.0.push(before.elapsed().as_secs_f64() * 1000.0);
            size = answer.body.len();
        }
        println!(
            "server list of {} with details ({} KiB): p50 {:.1} ms, p99 {:.1} ms",
            self.args.servers.min(1000),
            size / 1024,
            latencies.percentile(50),
            latencies.percentile(99)
        );
        Ok(())
    }

    async fn delete_all(&self, count: usize) -> Result<()> {
        let mut ids = Vec::new();
        loop {
            let marker = ids.last().map(|m: &String| format!("&marker={m}")).unwrap_or_default();
            let page = self.client.get(&format!("/compute/v2.1/servers?limit=1000{marker}")).await?;
            let found = page["servers"].as_array().cloned().unwrap_or_default();
            if found.is_empty() {
                break;
            }
            ids.extend(found.iter().filter_map(|s| s["id"].as_str().map(str::to_owned)));
        }
        let started = self.env.instant();
        let ids = &ids;
        self.load(ids.len(), |index| async move {
            self.client.delete(&format!("/compute/v2.1/servers/{}", ids[index])).await
        })
        .await?;
        self.wait_for("", 0).await?;
        println!("servers deleted, accepted to gone: {:.0}/s", count as f64 / started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until the last page of servers in this status is as long as it should be; asks seldom, so that asking
    /// does not become the load.
    async fn wait_for(&self, status: &str, count: usize) -> Result<()> {
        let filter = if status.is_empty() { String::new() } else { format!("&status={status}") };
        let deadline = self.env.instant() + Duration::from_secs(600);
        while self.env.instant() < deadline {
            let (mut seen, mut marker) = (0, String::new());
            let before = self.env.instant();
            loop {
                let page = self.client.get(&format!("/compute/v2.1/servers?limit=1000{filter}{marker}")).await?;
                let found = page["servers"].as_array().cloned().unwrap_or_default();
                seen += found.len();
                match found.last().and_then(|s| s["id"].as_str()) {
                    Some(last) if found.len() == 1000 => marker = format!("&marker={last}"),
                    _ => break,
                }
            }
            if (status.is_empty() && seen == 0) || (!status.is_empty() && seen >= count) {
                return Ok(());
            }
            self.env.sleep((before.elapsed() * 9).max(Duration::from_millis(20))).await;
        }
        Err(Error::new(Kind::Timeout, format!("not all servers became {status}")))
    }

    async fn upload(&self) -> Result<()> {
        let body = json!({"name": "bench-large", "disk_format": "raw", "container_format": "bare"});
        let image = self.client.post("/image/v2/images", &body).await?;
        let id = image["id"].as_str().unwrap_or_default();
        let started = self.env.instant();
        self.put_image(id, self.args.image_mib).await?;
        let rate = self.args.image_mib as f64 * 1.048_576 / started.elapsed().as_secs_f64();
        println!("image upload: {rate:.0} MB/s ({} MiB, md5 and sha512 while streaming)", self.args.image_mib);
        println!("memory after the upload: {} MiB", resident_mib());
        Ok(())
    }

    async fn put_image(&self, id: &str, mib: usize) -> Result<()> {
        let mut piece = vec![0u8; 1 << 20];
        self.env.fill_random(&mut piece);
        let piece = Bytes::from(piece);
        let stream = stream::iter((0..mib).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
        let headers = [("content-type", "application/octet-stream")];
        self.client
            .send(Method::PUT, &format!("/image/v2/images/{id}/file"), &headers, Body::from_stream(stream))
            .await?
            .json()?;
        Ok(())
    }
}
