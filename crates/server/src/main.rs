//! The binary `ferrostack`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ferrostack_server::cli::main()
}
