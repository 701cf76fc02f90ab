//! `ferrostack down`: stops what outlives `up`, and with `--purge` removes every trace from this machine.

use crate::config::Config;
use crate::home::Home;
use crate::wiring;
use ferrostack_types::{Env, Error, Kind, Result, ResultExt};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Options of `down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Removes guests, bridges, ports, namespaces, engines and the data directory itself.
    #[arg(long)]
    purge: bool,
}

/// How long `up` may take to finish what is under way.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Runs it.
pub async fn run(home: &Path, args: Args) -> Result<ExitCode> {
    let env = Env::system();
    if !home.exists() {
        println!("nothing at {}", home.display());
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::load(home)?;
    let locked = stop_process(home, &env).await?;
    println!("the control plane is stopped");
    if args.purge {
        wiring::purge(&config, &locked, &env).await?;
        let path = locked.path().to_owned();
        drop(locked);
        std::fs::remove_dir_all(&path).context(format!("remove {}", path.display()))?;
        println!("guests, engines, bridges and {} are gone", path.display());
    } else {
        println!("guests and their network run on; `down --purge` would remove them with all data");
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the process that holds the lock to stop, and takes the lock over.
async fn stop_process(home: &Path, env: &Env) -> Result<Home> {
    let deadline = env.instant() + STOP_LIMIT;
    let mut asked = false;
    loop {
        match Home::open(home) {
            Ok(home) => return Ok(home),
            Err(error) if error.kind() != Kind::Unavailable => return Err(error),
            Err(error) if env.instant() > deadline => return Err(error),
            Err(_) => {}
        }
        if !asked {
            // The lock is held, so the process that wrote its number into it is alive: the number cannot be another's.
            let text = std::fs::read_to_string(home.join("lock")).context("read the lock")?;
            let pid = text.trim().parse::<i32>().ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| Error::internal("the lock does not name its process"))?;
            kill_process(pid, Signal::TERM).map_err(|e| Error::from_source("stop the control plane", e))?;
            asked = true;
        }
        env.sleep(Duration::from_millis(100)).await;
    }
}
