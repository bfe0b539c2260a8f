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
    let mut config = parse(in_force, text)?;
    in_force.overrides.kept(&config).apply(&mut config);
    // Apart from what runs: a backend or listener that is only asked about must not be registered.
    build_apart(config)
        .map(drop)
        .map_err(|message| Problems(vec![Problem::with_file(in_force.path.clone(), message, None)]))
}

/// What a reload would change; of `text`, or of the file as it is now. Takes its time.
pub fn plan(in_force: &InForce, text: Option<&str>) -> Result<Plan, Problems> {
    let new = match text {
        Some(text) => parse(in_force, text)?,
        None => parse(in_force, &config::read_text(&in_force.path)?)?,
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

fn parse(in_force: &InForce, text: &str) -> Result<Config, Problems> {
    config::parse_with(text, &in_force.path, in_force.beside()).map(|(config, _)| config)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::reload::Reloader;

    const TEXT: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n\
                        [[route]]\nname = \"all\"\nrespond = { status = 200 }\n";

    /// The nodes refuse it, each of which has other files.
    #[test]
    fn what_nodes_share_is_checked_as_including_nothing() {
        let folder = std::env::temp_dir().join(format!("pointsman-preview-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("more.toml"), "").unwrap();
        let including = format!("include = [\"more.toml\"]\n{TEXT}");
        let mut in_force = (*Reloader::without_engine(TEXT, HashMap::new()).in_force()).clone();
        in_force.path = folder.join("test.toml");
        fs::write(&in_force.path, &including).unwrap();
        for store in [None, Some("etcd://127.0.0.1/config".into())] {
            in_force.store = store;
            let is_good = [
                check(&in_force, &including).is_ok(),
                plan(&in_force, Some(&including)).is_ok(),
                plan(&in_force, None).is_ok(),
            ];
            assert_eq!(is_good, [in_force.store.is_none(); 3]);
            assert!(check(&in_force, TEXT).is_ok() && plan(&in_force, Some(TEXT)).is_ok());
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
