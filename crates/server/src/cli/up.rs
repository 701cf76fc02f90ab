//! `ferrostack up`: the whole cloud as one process.

use crate::client::Client;
use crate::config::{Config, HypervisorKind};
use crate::home::Home;
use crate::http;
use crate::wiring::Cloud;
use ::http::Method;
use axum::body::Body;
use ferrostack_types::{Env, Error, Result, ResultExt};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Options of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only asks whether a cloud of this data directory answers; starts nothing.
    #[arg(long)]
    check: bool,
    /// The API's address and port, over the configuration.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Guests in name only: no QEMU, no OVN, no root needed.
    #[arg(long)]
    fake: bool,
}

/// How long a predecessor may take to be gone.
const LOCK_LIMIT: Duration = Duration::from_secs(3);

/// Runs it.
pub async fn run(home: &Path, args: Args) -> Result<ExitCode> {
    let mut config = Config::load(home)?;
    if let Some(listen) = args.listen {
        config.api.listen = listen;
    }
    if args.fake {
        config.compute.hypervisor = HypervisorKind::Fake;
    }
    if args.check {
        return check(&config).await;
    }
    let env = Env::system();
    let started = env.instant();
    let home = Home::open_when_free(home, &env, LOCK_LIMIT).await?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let cloud = Cloud::start(&config, &home, &env).await?;
    let (stop, stopping) = watch::channel(false);
    let mut server = env.spawn("http", http::serve(config.api.listen, cloud.router(), env.clone(), stopping));
    let millis = started.elapsed().as_millis();
    tracing::info!(url = config.api.url(), millis, "the cloud is up");
    let early = tokio::select! {
        biased;
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = &mut server => Some(ended),
    };
    if let Some(ended) = early {
        cloud.shutdown().await;
        return match ended {
            Ok(Err(error)) => Err(error),
            _ => Err(Error::internal("the listener ended by itself")),
        };
    }
    tracing::info!("stopping; guests run on");
    let _ = stop.send(true);
    drop(server.await);
    cloud.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Whether the API answers a request that needs the database.
async fn check(config: &Config) -> Result<ExitCode> {
    let client = Client::anonymous(&config.api.url());
    let answer = client.send(Method::GET, "/identity/v3", &[], Body::empty()).await?;
    Ok(if answer.status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
