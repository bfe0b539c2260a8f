//! The program's own log, on standard error. Its level can be changed while it runs.

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Begins the log. With standard error closed, lines are lost and nothing else is. `is_json` says how lines
/// are written; when it is not said, as text on a terminal.
pub fn begin(level: LevelFilter, is_json: Option<bool>) {
    let is_terminal = io::stderr().is_terminal();
    let (filter, handle) = reload::Layer::new(level);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(is_terminal).log_internal_errors(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match is_json.unwrap_or(!is_terminal) {
        true => lines.json().flatten_event(true).boxed(),
        false => lines.with_target(false).boxed(),
    };
    // Only a second beginning can fail, and the first one holds.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Changes the level from here on.
pub fn set_level(level: LevelFilter) {
    if let Some(handle) = LEVEL.get() {
        // It fails only when the log is gone, with the program.
        let _ = handle.modify(|filter| *filter = level);
    }
}

/// The level that holds; `None` before the log began.
pub fn level() -> Option<LevelFilter> {
    LEVEL.get()?.with_current(|filter| *filter).ok()
}
