//! What a reload would come to, without one: for `check`, `plan` and `status`.

use std::{collections::HashMap, path::PathBuf, time::SystemTime};

use super::{
    plan::{self, Certificate, Given, Plan},
    prepare::files,
    state::InForce,
    watch,
};
use crate::{
    config::{self, Config, Problems},
    runtime::build::build_apart,
    schema::Problem,
    tls::facts::CertificateFacts,
};

/// Keys that a reload does not change.
const NEXT_START: [&str; 2] = ["runtime.workers", "log.format"];

/// Whether `text` would be taken as the configuration file, short of sockets that cannot be had. Takes its
/// time: not for an event loop.
pub fn check(in_force: &InForce, text: &str) -> Result<(), Problems> {
    let mut config = config::parse(text, &in_force.path)?;
    in_force.overrides.kept(&config).apply(&mut config);
    // Apart from what runs: a backend or listener that is only asked about must not be registered.
    build_apart(config)
        .map(drop)
        .map_err(|message| Problems(vec![Problem::with_file(in_force.path.clone(), message, None)]))
}

/// What a reload would change; of `text`, or of the file as it is now. Takes its time.
pub fn plan(in_force: &InForce, text: Option<&str>) -> Result<Plan, Problems> {
    let new = match text {
        Some(text) => config::parse(text, &in_force.path)?,
        None => config::load(&in_force.path)?,
    };
    let mut old = (*in_force.file).clone();
    in_force.overrides.apply(&mut old);
    let mut new_files = files(&in_force.path, &new);
    new_files.extend(in_force.hashes.keys().cloned());
    let given = Given {
        old: &old,
        new: &new,
        overrides: &in_force.overrides,
        old_files: &in_force.hashes,
        new_files: &watch::hashes(&new_files),
        certificates: &facts(&new),
        next_start: &NEXT_START,
        now: now(),
    };
    Ok(plan::plan(&given))
}

/// The certificates that are served. Reads their files.
pub fn certificates(config: &Config) -> Vec<Certificate> {
    plan::served(config, &facts(config), now())
}

fn facts(config: &Config) -> HashMap<PathBuf, CertificateFacts> {
    let chains = config.listener.iter().flat_map(|listener| &listener.certificate).map(|it| &it.chain);
    chains.filter_map(|chain| Some((chain.clone(), CertificateFacts::of_file(chain)?))).collect()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
