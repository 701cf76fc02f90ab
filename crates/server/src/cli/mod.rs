//! The commands.

mod bench;
mod doctor;
mod down;
mod quickstart;
mod up;

use crate::config;
use clap::{Parser, Subcommand};
use ferrostack_types::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// A cloud operating system that speaks OpenStack's APIs, in one binary.
#[derive(Debug, Parser)]
#[command(name = "ferrostack", version, about)]
struct Cli {
    /// The data directory. Everything that a cloud keeps on this machine is in it.
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the cloud in the foreground until it is told to stop (SIGTERM, SIGINT). Guests run on.
    Up(up::Args),
    /// Stops guests and engines that outlive `up`. With --purge removes every trace from this machine.
    Down(down::Args),
    /// Checks this machine: what is there, what is missing, what that costs.
    Doctor,
    /// Makes a first guest on a running cloud, through its public API, and says how to reach it.
    Quickstart(quickstart::Args),
    /// Measures a cloud of its own with the fake hypervisor, real HTTP and durable commits, and prints figures.
    Bench(bench::Args),
}

/// The binary's `main`.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_log(&cli.command);
    let home = cli.home.unwrap_or_else(config::default_home);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ferrostack: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command, home)) {
        Ok(code) => code,
        Err(error) => {
            // At the command line the reader is the operator.
            eprintln!("ferrostack: {}", error.internal_text());
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, home: PathBuf) -> Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(&home, args).await,
        Command::Down(args) => down::run(&home, args).await,
        Command::Doctor => doctor::run(&home).await,
        Command::Quickstart(args) => quickstart::run(&home, args).await,
        Command::Bench(args) => bench::run(args).await,
    }
}

fn init_log(command: &Command) {
    use tracing_subscriber::EnvFilter;
    let default = match command {
        Command::Up(_) => "info",
        _ => "warn",
    };
    let filter = EnvFilter::try_from_env("FERROSTACK_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var("FERROSTACK_LOG_FORMAT").as_deref() == Ok("json") {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
}
