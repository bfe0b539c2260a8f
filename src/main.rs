//! The program: arguments → configuration → log → limits → the proxy → exit status.

use std::process::{ExitCode, Termination};

use pointsman::{
    app,
    cli::{self, Failure, File, Verb, start},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::arguments().verb {
        Verb::Run(file) => run(file).map_or_else(Termination::report, |()| ExitCode::SUCCESS),
        verb => cli::perform(verb),
    }
}

/// Runs the proxy until it has drained.
fn run(file: File) -> Result<(), Failure> {
    let config = start::load(file)?;
    start::begin_log(&config.log);
    start::raise_descriptor_limit(&config);
    app::run(config).map_err(Failure::new)
}
