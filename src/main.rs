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
    let loaded = start::load(file)?;
    start::begin_log(&loaded.config.log);
    start::raise_descriptor_limit(&loaded.config);
    app::run(loaded).map_err(Failure::new)
}
