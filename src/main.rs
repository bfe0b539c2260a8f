//! The program: arguments → configuration → log → limits → the proxy → exit status.

use std::process::ExitCode;

use pointsman::{
    app,
    cli::{self, Failure, File, Verb, start},
    control::Early,
    listen::{activation::Activated, handover::Predecessor},
    reload::upgrade::Origin,
    telemetry::program_log::LastLines,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::arguments().verb {
        Verb::Run(file) => run(file).map_or_else(Failure::report_in_time, |()| ExitCode::SUCCESS),
        verb => cli::perform(verb),
    }
}

/// Runs the proxy until it has drained.
fn run(file: File) -> Result<(), Failure> {
    let _written_at_the_end = LastLines;
    start::leave_huge_pages();
    start::raise_descriptor_limit();
    let activated = Activated::take();
    // Not before: what a service manager opened has the first descriptors.
    let early = Early::new().map_err(Failure::new)?;
    let origin = Origin::of_process();
    let before = start::take_over()?;
    let voice = before.as_ref().and_then(Predecessor::voice);
    let is_json = start::is_json(&file);
    let result = start::load(file).and_then(|loaded| {
        let loaded = match &before {
            None => start::servable(loaded, |loaded| app::rehearse(loaded, &activated)),
            // Where this one does not come to serve, that one goes on.
            Some(_) => loaded,
        };
        start::begin_log(&loaded.config.log)?;
        start::log_descriptor_limit(&loaded.config);
        start::log_notes(&loaded.config);
        app::run(early, loaded, before, activated, origin).map_err(Failure::new)
    });
    if let (Err(failure), Some(voice)) = (&result, voice) {
        voice.refuse(failure.text());
    }
    result.map_err(|failure| if is_json { failure.as_line() } else { failure })
}
