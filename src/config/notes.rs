//! What is allowed and still worth a second look: `check` prints it, and the log has it when a configuration comes into
//! force.

use super::Config;
use crate::{
    route::conf::{Action, PathPattern, RouteConf},
    writeback::conf::{ServePending, WritePolicy},
};

/// What somebody should think about again, a sentence each. The configuration is good nevertheless.
pub fn notes(config: &Config) -> Vec<String> {
    guards_passed_by(config).chain(writes_not_checked(config)).collect()
}

/// Caches that answer writes in the backend's place.
fn writes_not_checked(config: &Config) -> impl Iterator<Item = String> {
    config.cache.iter().filter_map(|cache| {
        let conf = cache.write_back.as_ref().filter(|_| cache.write_policy == WritePolicy::Back)?;
        let networks: Vec<String> = conf.networks.iter().map(ToString::to_string).collect();
        let who = match conf.serve {
            ServePending::Writer => "who wrote them",
            ServePending::All => "everybody",
        };
        let (name, networks) = (&cache.name, networks.join(", "));
        Some(format!(
            "cache `{name}` accepts writes of {networks} that no backend has checked, and shows them to {who}"
        ))
    })
}

/// Routes that refuse, on listeners that see several slashes in a row as several.
fn guards_passed_by(config: &Config) -> impl Iterator<Item = String> {
    let open = config.listener.iter().filter(|listener| !listener.paths.merge_slashes);
    open.flat_map(|listener| {
        let is_there = |route: &&RouteConf| route.listeners.contains(&listener.name);
        config.route.iter().filter(is_there).filter_map(|route| {
            let path = guarded(route)?;
            Some(format!(
                "with `paths.merge_slashes = false` a request to listener `{}` for `/{path}` passes by the route `{}`",
                listener.name, route.name
            ))
        })
    })
}

/// A path that a route refuses.
fn guarded(route: &RouteConf) -> Option<&str> {
    match &route.action {
        Action::Respond(respond) if respond.status >= 400 => {}
        Action::Respond(_) | Action::Upstream(_) | Action::Split(_) | Action::Redirect(_) => return None,
    }
    route.paths.iter().find_map(|path| match path {
        PathPattern::Exact(path) | PathPattern::Prefix(path) if !path.is_empty() => Some(&**path),
        PathPattern::Exact(_) | PathPattern::Prefix(_) | PathPattern::Regex(_) => None,
    })
}
