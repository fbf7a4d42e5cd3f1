//! The bench's binary: parse, run one scenario, end with its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tidemill_bench::cli::Cli;
use tokio::runtime::Builder;

/// As the shipped program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut runtime = if cli.needs_one_thread() { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    match runtime.enable_all().build().map(|runtime| runtime.block_on(cli.run())) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("tidemill-bench: {error:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidemill-bench: no threads to run on: {error}");
            ExitCode::FAILURE
        }
    }
}
