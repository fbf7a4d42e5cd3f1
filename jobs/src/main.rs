//! The one binary: parse, set up, run one command, end with its exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidemill_jobs::sandbox::{self, SandboxOptions};
use tidemill_jobs::serve;

#[derive(Parser)]
#[command(name = "tidemill", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Sandbox {
        #[arg(long, default_value = "data/sandbox")]
        data_dir: std::path::PathBuf,
        #[arg(long, default_value_t = 8080)]
        port: u16,
        #[arg(long, default_value_t = 8081)]
        admin_port: u16,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = serve::runtime().unwrap();
    let done = match cli.command {
        Command::Sandbox { data_dir, port, admin_port } => {
            runtime.block_on(sandbox::run(SandboxOptions { data_dir, port, admin_port }))
        }
    };
    serve::end(runtime);
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidemill: {error:#}");
            ExitCode::FAILURE
        }
    }
}
