//! `ferrostack quickstart`: a first guest, made through the public API as any client would. Running it again finds
//! what it made before and makes only what is missing.

use crate::client::Client;
use crate::config::Config;
use crate::home::write_private;
use axum::body::Body;
use ferrostack_types::{Env, Error, Kind, Result, ResultExt};
use http::Method;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// Options of `quickstart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A qcow2 image to upload as `guest` if the cloud has none of that name.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The guest's name.
    #[arg(long, default_value = "demo")]
    name: String,
    /// How long to wait for the guest's ssh, in seconds.
    #[arg(long, default_value_t = 180)]
    wait: u64,
}

const FLAVORS: [(&str, u64, u64, u64); 4] =
    [("m1.nano", 1, 128, 1), ("m1.tiny", 1, 512, 1), ("m1.small", 1, 2048, 20), ("m1.medium", 2, 4096, 40)];
const USER: &str = "cirros";
/// How long after its first greeting a guest may take to have its keys.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);

/// Runs it.
pub async fn run(home: &Path, args: Args) -> Result<ExitCode> {
    let env = Env::system();
    let config = Config::load(home)?;
    let password = std::fs::read_to_string(home.join("keys/admin-password"))
        .context("read the administrator's password; has `ferrostack up` been started?")?;
    let client = Client::login(&config.api.url(), "admin", password.trim(), "admin").await?;
    let tour = Quickstart { client, home: home.to_owned(), env, config };
    tour.flavors().await?;
    let image = tour.image(args.image.as_deref()).await?;
    let external = tour.external_network().await?;
    let network = tour.tenant_network(&external).await?;
    let group = tour.security_group().await?;
    let (key, key_file) = tour.keypair().await?;
    let asked = tour.env.instant();
    let server = tour.server(&args.name, &image, &network, &group, &key).await?;
    tour.wait_active(&server).await?;
    println!("server {} is ACTIVE after {:.1} s", args.name, asked.elapsed().as_secs_f64());
    let address = tour.floating_ip(&server, &external).await?;
    tour.wait_ssh(&address, Duration::from_secs(args.wait)).await?;
    println!("ssh answers at {address} after {:.1} s", asked.elapsed().as_secs_f64());
    tour.wait_login(&address, &key_file, LOGIN_LIMIT).await?;
    println!("login by key after {:.1} s", asked.elapsed().as_secs_f64());
    tour.farewell(&args.name, &address, &key_file);
    Ok(ExitCode::SUCCESS)
}

struct Quickstart {
    client: Client,
    home: PathBuf,
    env: Env,
    config: Config,
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| Error::internal(format!("an answer lacks {key}")))
}

impl Quickstart {
    async fn flavors(&self) -> Result<()> {
        for (name, vcpus, ram, disk) in FLAVORS {
            let body = json!({"flavor": {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk}});
            match self.client.post("/compute/v2.1/flavors", &body).await {
                Ok(_) => println!("flavor {name}: {vcpus} vCPU, {ram} MiB, {disk} GiB"),
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn image(&self, file: Option<&Path>) -> Result<String> {
        let found = self.client.get("/image/v2/images?name=guest&status=active").await?;
        if let Some(image) = found["images"].as_array().and_then(|l| l.first()) {
            return Ok(text(image, "id")?.to_owned());
        }
        let file = file.ok_or_else(|| Error::invalid("The cloud has no image `guest`; name a file with --image."))?;
        let body = json!({"name": "guest", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"});
        let image = self.client.post("/image/v2/images", &body).await?;
        let id = text(&image, "id")?;
        let stream = ReaderStream::new(tokio::fs::File::open(file).await.context(format!("open {}", file.display()))?);
        let headers = [("content-type", "application/octet-stream")];
        let path = format!("/image/v2/images/{id}/file");
        self.client.send(Method::PUT, &path, &headers, Body::from_stream(stream)).await?.json()?;
        println!("image guest uploaded");
        Ok(id.to_owned())
    }

    /// The provider network that leads out, with this machine as its gateway.
    async fn external_network(&self) -> Result<String> {
        if let Some(network) = self.client.find("/network/v2.0/networks?name=public", "networks", "public").await? {
            return Ok(text(&network, "id")?.to_owned());
        }
        let body = json!({"network": {"name": "public", "router:external": true,
            "provider:network_type": "flat", "provider:physical_network": self.config.network.physical_network}});
        let network = self.client.post("/network/v2.0/networks", &body).await?;
        let id = text(&network["network"], "id")?.to_owned();
        let range = self.config.network.address;
        let hosts: Vec<_> = range.trunc().hosts().collect();
        let (first, last) = (hosts.get(hosts.len() / 10).copied(), hosts.last().copied());
        let (Some(first), Some(last)) = (first, last) else {
            return Err(Error::invalid("The range of network.address is too small."));
        };
        let body = json!({"subnet": {"network_id": id, "name": "public-subnet", "ip_version": 4,
            "cidr": range.trunc().to_string(), "gateway_ip": range.addr().to_string(), "enable_dhcp": false,
            "allocation_pools": [{"start": first.to_string(), "end": last.to_string()}]}});
        self.client.post("/network/v2.0/subnets", &body).await?;
        println!("external network public: {}", range.trunc());
        Ok(id)
    }

    async fn tenant_network(&self, external: &str) -> Result<String> {
        let networks = "/network/v2.0/networks?name=demo-net";
        let network = match self.client.find(networks, "networks", "demo-net").await? {
            Some(network) => network,
            None => {
                self.client.post("/network/v2.0/networks", &json!({"network": {"name": "demo-net"}})).await?["network"]
                    .take()
            }
        };
        let id = text(&network, "id")?.to_owned();
        let subnets = self.client.get(&format!("/network/v2.0/subnets?network_id={id}")).await?;
        let subnet = match subnets["subnets"].as_array().and_then(|l| l.first()) {
            Some(subnet) => text(subnet, "id")?.to_owned(),
            None => {
                let body = json!({"subnet": {"network_id": id, "name": "demo-subnet", "ip_version": 4, "cidr": "10.10.0.0/24"}});
                let subnet = self.client.post("/network/v2.0/subnets", &body).await?;
                println!("tenant network demo-net: 10.10.0.0/24");
                text(&subnet["subnet"], "id")?.to_owned()
            }
        };
        self.router(external, &subnet).await?;
        Ok(id)
    }

    async fn router(&self, external: &str, subnet: &str) -> Result<()> {
        let routers = "/network/v2.0/routers?name=demo-router";
        let router = match self.client.find(routers, "routers", "demo-router").await? {
            Some(router) => router,
            None => {
                let body =
                    json!({"router": {"name": "demo-router", "external_gateway_info": {"network_id": external}}});
                let router = self.client.post("/network/v2.0/routers", &body).await?["router"].take();
                println!("router demo-router between demo-net and public");
                router
            }
        };
        let id = text(&router, "id")?;
        let ports = format!("/network/v2.0/ports?device_id={id}&device_owner=network:router_interface");
        if self.client.get(&ports).await?["ports"].as_array().is_none_or(Vec::is_empty) {
            let path = format!("/network/v2.0/routers/{id}/add_router_interface");
            self.client.put(&path, &json!({"subnet_id": subnet})).await?;
        }
        Ok(())
    }

    async fn security_group(&self) -> Result<String> {
        let path = "/network/v2.0/security-groups?name=demo-ssh";
        let group = match self.client.find(path, "security_groups", "demo-ssh").await? {
            Some(group) => group,
            None => {
                let body = json!({"security_group": {"name": "demo-ssh", "description": "ssh and ping from anywhere"}});
                println!("security group demo-ssh: ssh and ping from anywhere");
                self.client.post("/network/v2.0/security-groups", &body).await?["security_group"].take()
            }
        };
        let id = text(&group, "id")?.to_owned();
        for rule in
            [json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}), json!({"protocol": "icmp"})]
        {
            let mut rule = rule;
            rule["security_group_id"] = json!(id);
            rule["direction"] = json!("ingress");
            rule["ethertype"] = json!("IPv4");
            let made =
                self.client.post("/network/v2.0/security-group-rules", &json!({"security_group_rule": rule})).await;
            if let Err(error) = made
                && error.kind() != Kind::Conflict
            {
                return Err(error);
            }
        }
        Ok(id)
    }

    /// A keypair whose private half is in the data directory.
    async fn keypair(&self) -> Result<(String, PathBuf)> {
        let (name, file) = ("demo-key", self.home.join("demo-key"));
        let path = format!("/compute/v2.1/os-keypairs/{name}");
        let known = match self.client.get(&path).await {
            Ok(_) => true,
            Err(error) if error.kind() == Kind::NotFound => false,
            Err(error) => return Err(error),
        };
        if known && file.exists() {
            return Ok((name.to_owned(), file));
        }
        self.client.delete(&path).await?;
        let made = self.client.post("/compute/v2.1/os-keypairs", &json!({"keypair": {"name": name}})).await?;
        write_private(&file, text(&made["keypair"], "private_key")?)?;
        println!("keypair {name}, its private half in {}", file.display());
        Ok((name.to_owned(), file))
    }

    async fn server(&self, name: &str, image: &str, network: &str, group: &str, key: &str) -> Result<String> {
        let path = format!("/compute/v2.1/servers/detail?name=^{name}$");
        if let Some(server) = self.client.find(&path, "servers", name).await? {
            if server["status"] == "ERROR" {
                let fault = server["fault"]["message"].as_str().unwrap_or("no reason is given");
                return Err(Error::conflict(format!(
                    "The server {name} is in ERROR: {fault}. Delete it and run this again."
                )));
            }
            return Ok(text(&server, "id")?.to_owned());
        }
        let flavors = self.client.find("/compute/v2.1/flavors", "flavors", "m1.nano").await?;
        let flavor = flavors.ok_or_else(|| Error::internal("the flavor m1.nano is gone"))?;
        let body = json!({"server": {"name": name, "imageRef": image, "flavorRef": flavor["id"], "key_name": key,
            "networks": [{"uuid": network}], "security_groups": [{"name": group}]}});
        let made = self.client.post("/compute/v2.1/servers", &body).await?;
        Ok(text(&made["server"], "id")?.to_owned())
    }

    async fn wait_active(&self, server: &str) -> Result<()> {
        let deadline = self.env.instant() + Duration::from_secs(120);
        loop {
            let shown = self.client.get(&format!("/compute/v2.1/servers/{server}")).await?;
            let server = &shown["server"];
            match server["status"].as_str().unwrap_or_default() {
                "ACTIVE" => return Ok(()),
                "ERROR" => {
                    let fault = server["fault"]["message"].as_str().unwrap_or("no reason is given");
                    return Err(Error::internal(format!("the server went to ERROR: {fault}")));
                }
                "SHUTOFF" => return Err(Error::conflict("The server is powered off; `openstack server start` it.")),
                status if self.env.instant() > deadline => {
                    return Err(Error::new(Kind::Timeout, format!("The server is still {status}.")));
                }
                _ => self.env.sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn floating_ip(&self, server: &str, external: &str) -> Result<String> {
        let ports = self.client.get(&format!("/network/v2.0/ports?device_id={server}")).await?;
        let port = ports["ports"]
            .as_array()
            .and_then(|l| l.first())
            .ok_or_else(|| Error::internal("the server has no port"))?;
        let port = text(port, "id")?;
        let found = self.client.get(&format!("/network/v2.0/floatingips?port_id={port}")).await?;
        if let Some(floating) = found["floatingips"].as_array().and_then(|l| l.first()) {
            return Ok(text(floating, "floating_ip_address")?.to_owned());
        }
        let body = json!({"floatingip": {"floating_network_id": external, "port_id": port}});
        let made = self.client.post("/network/v2.0/floatingips", &body).await?;
        Ok(text(&made["floatingip"], "floating_ip_address")?.to_owned())
    }

    /// Waits until something at port 22 greets as an ssh server does.
    async fn wait_ssh(&self, address: &str, limit: Duration) -> Result<()> {
        let target: SocketAddr =
            format!("{address}:22").parse().map_err(|_| Error::internal("a floating IP is no address"))?;
        let deadline = self.env.instant() + limit;
        while self.env.instant() < deadline {
            let greeting = async {
                let mut stream = tokio::net::TcpStream::connect(target).await.ok()?;
                let mut start = [0; 4];
                stream.read_exact(&mut start).await.ok()?;
                (&start == b"SSH-").then_some(())
            };
            if let Ok(Some(())) = tokio::time::timeout(Duration::from_secs(2), greeting).await {
                return Ok(());
            }
            self.env.sleep(Duration::from_millis(100)).await;
        }
        Err(Error::new(
            Kind::Timeout,
            format!("Nothing answers as ssh at {address}; look at the server's console log."),
        ))
    }

    /// Logs in for real and asks the guest who it is, if this machine has an ssh client. A guest's ssh may greet a
    /// moment before the guest has fetched its keys, so a refusal is not the last word until the time is up.
    async fn wait_login(&self, address: &str, key: &Path, limit: Duration) -> Result<()> {
        let deadline = self.env.instant() + limit;
        loop {
            let attempt = tokio::process::Command::new("ssh")
                .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"])
                .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-i"])
                .arg(key)
                .arg(format!("{USER}@{address}"))
                .arg("hostname; uptime")
                .stdin(Stdio::null())
                .output()
                .await;
            match attempt {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    println!("(no ssh client on this machine: the login itself was not tried)");
                    return Ok(());
                }
                Err(error) => return Err(error).context("run ssh"),
                Ok(output) if output.status.success() => {
                    println!("logged in: {}", String::from_utf8_lossy(&output.stdout).trim().replace('\n', " | "));
                    return Ok(());
                }
                Ok(output) if self.env.instant() > deadline => {
                    let reason = String::from_utf8_lossy(&output.stderr);
                    return Err(Error::new(Kind::Timeout, format!("The login failed: {}", reason.trim())));
                }
                Ok(_) => self.env.sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn farewell(&self, name: &str, address: &str, key: &Path) {
        let home = self.home.display();
        println!(
            "\nYour guest is up:\n  ssh -i {} {USER}@{address}\n\nThe cloud speaks OpenStack; with python-openstackclient installed:\n  \
             source {home}/openrc            # or: export OS_CLIENT_CONFIG_FILE={home}/clouds.yaml OS_CLOUD=ferrostack\n  \
             openstack server list\n  openstack console log show {name}\n  openstack server create --image guest --flavor m1.nano \
             --network demo-net --key-name demo-key --wait second\n\nLogs: {home}/logs/ferrostack.log",
            key.display()
        );
    }
}
