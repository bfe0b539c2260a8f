//! What is allowed and still worth a second look: `check` prints it, and the log has it when a configuration comes into
//! force.

use std::{collections::HashSet, time::SystemTime};

use super::{Config, cross::layer4_upstreams::upstreams, include::is_pattern};
use crate::{
    health::conf::CheckKind,
    route::conf::{Action, PathPattern, RouteConf},
    tls::facts::{self, CertificateFacts},
    writeback::conf::{ServePending, WritePolicy},
};

/// What somebody should think about again, a sentence each. The configuration is good nevertheless.
pub fn notes(config: &Config) -> Vec<String> {
    patterns_without_files(config)
        .chain(policies_without_routes(config))
        .chain(guards_passed_by(config))
        .chain(writes_not_checked(config))
        .chain(checks_of_connections(config))
        .chain(routers_alone(config))
        .chain(hidden_routes(config))
        .chain(folders_not_there(config))
        .chain(ending_certificates(config))
        .collect()
}

/// Certificates of folders that were served, and of which one half is left: the other may be gone by mistake.
pub fn lost_certificates(before: &Config, next: &Config) -> Vec<String> {
    let mut lost = Vec::new();
    for listener in next.listener.iter().filter(|listener| listener.certificates.is_some()) {
        let Some(old) = before.listener.iter().find(|old| old.name == listener.name) else { continue };
        let gone = old.certificate.iter().filter(|pair| !listener.certificate.contains(pair));
        for pair in gone {
            let (left, missing) = match (pair.chain.exists(), pair.key.exists()) {
                (true, false) => (&pair.chain, &pair.key),
                (false, true) => (&pair.key, &pair.chain),
                (true, true) | (false, false) => continue,
            };
            lost.push(format!(
                "the certificate of {} is not served by listener `{}` any more, since {} is gone",
                left.display(),
                listener.name,
                missing.display()
            ));
        }
    }
    lost
}

/// Certificates of listeners that have ended, or will soon. Those that are not good were problems.
fn ending_certificates(config: &Config) -> impl Iterator<Item = String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    config.listener.iter().flat_map(move |listener| {
        listener.certificate.iter().filter_map(move |certificate| {
            let facts = CertificateFacts::of_file(&certificate.chain)?;
            let warning = facts::warning(facts.days_left(now))?;
            let (chain, until) = (certificate.chain.display(), facts.not_after_text());
            Some(format!(
                "the certificate {chain} of listener `{}` must be renewed: {warning} ({until})",
                listener.name
            ))
        })
    })
}

/// Paths of `include` that lead to no file; one without wildcards would be an error.
fn patterns_without_files(config: &Config) -> impl Iterator<Item = String> {
    let include = &config.include;
    let alone = include.patterns.iter().filter(|it| !include.files.iter().any(|file| it.leads_to(file)));
    // One that leads to what another has led to already names no file of its own, and is no mistake.
    let alone = alone.filter(|it| is_pattern(&it.path));
    alone.map(|it| format!("`include` lists `{}`, but there is no such file", it.written))
}

/// Policies that no route names.
fn policies_without_routes(config: &Config) -> impl Iterator<Item = String> {
    let is_named = |name: &String| config.route.iter().any(|route| route.policies.contains(name));
    let alone = config.policy.iter().filter(move |policy| !is_named(&policy.name));
    alone.map(|policy| format!("policy `{}` is not used by any route", policy.name))
}

/// Folders of files that are not there yet.
fn folders_not_there(config: &Config) -> impl Iterator<Item = String> {
    config.route.iter().filter_map(|route| {
        let files = match &route.action {
            Action::Files(files) => files,
            Action::Upstream(_) | Action::Split(_) => route.files.0.as_ref()?,
            Action::Respond(_) | Action::Redirect(_) => return None,
        };
        let (name, root) = (&route.name, &files.root);
        let note = || {
            format!("route `{name}` serves files from {}, which is currently not a folder", root.display())
        };
        (!root.is_dir()).then(note)
    })
}

/// Routes that another, of the same hosts, takes everything from: prefixes come before regular expressions, and both
/// before no path at all, whatever the order of the file.
fn hidden_routes(config: &Config) -> impl Iterator<Item = String> {
    let takes_all = |route: &&RouteConf| {
        let is_root = |path: &PathPattern| matches!(path, PathPattern::Prefix(prefix) if prefix.is_empty());
        route.paths.iter().any(is_root) && is_unconditional(route)
    };
    let is_late = |route: &&RouteConf| {
        // `CONNECT` has no path.
        let has_requests = !route.paths.is_empty() || !route.upgrade.connects;
        let is_late = route.paths.iter().all(|path| matches!(path, PathPattern::Regex(_)));
        is_late && has_requests && !route.listeners.is_empty()
    };
    config.route.iter().filter(is_late).filter_map(move |route| {
        let same = |other: &&RouteConf| {
            let covers = |of: &[String], all: &[String]| of.iter().all(|it| all.contains(it));
            covers(&route.listeners, &other.listeners)
                && match (route.hosts.is_empty(), other.hosts.is_empty()) {
                    (false, false) => covers(&route.hosts, &other.hosts),
                    (is_any, others_any) => is_any && others_any,
                }
        };
        let other = config.route.iter().filter(takes_all).find(same)?;
        Some(format!(
            "route `{}` is never reached: `/*` of `{}` matches every path before {}; remove `paths` from \
             that one, or list prefixes in this one",
            route.name,
            other.name,
            if route.paths.is_empty() { "a route without paths" } else { "a regular expression" },
        ))
    })
}

/// Whether host and path alone decide.
fn is_unconditional(route: &RouteConf) -> bool {
    route.methods.is_empty() && !route.has_more_conditions()
}

/// Virtual routers whose advertisements reach nobody.
fn routers_alone(config: &Config) -> impl Iterator<Item = String> {
    let alone = config.cluster.iter().filter(|cluster| {
        let of_addresses = cluster.virtual_ip.iter().map(|it| &it.interface);
        let interface = cluster.vrrp.interface.as_ref().or(of_addresses.min());
        interface.is_some_and(|interface| interface.0 == "lo")
    });
    alone.map(|_| "advertisements on `lo` reach no other node: use a network interface".into())
}

/// Upstreams that get connections only, and whose checks ask for HTTP at the same port.
fn checks_of_connections(config: &Config) -> impl Iterator<Item = String> {
    let is_http = |name: &String| {
        config.listener.iter().any(|listener| listener.protocol.is_http() && listener.name == *name)
    };
    let (of_requests, of_connections): (Vec<_>, Vec<_>) =
        config.route.iter().partition(|route| route.listeners.iter().any(is_http));
    let [requests, connections] = [of_requests, of_connections]
        .map(|routes| routes.into_iter().flat_map(upstreams).collect::<HashSet<_>>());
    let asks = |conf: &crate::upstream::conf::UpstreamConf| {
        conf.health_check.as_ref().is_some_and(|check| check.kind == CheckKind::Http && check.port.is_none())
    };
    let names = config.upstream.iter().filter(move |upstream| asks(upstream));
    let names = names.map(|upstream| upstream.name.as_str());
    names.filter(move |name| connections.contains(name) && !requests.contains(name)).map(|name| {
        format!(
            "only layer 4 routes use upstream `{name}`, but its health checks use HTTP; if its backends \
             speak something else, set `kind = \"tcp\"`"
        )
    })
}

/// Caches that answer writes in the backend's place.
fn writes_not_checked(config: &Config) -> impl Iterator<Item = String> {
    config.cache.iter().filter_map(|cache| {
        let conf = cache.write_back.as_ref().filter(|_| cache.write_policy == WritePolicy::Back)?;
        let networks: Vec<String> = conf.networks.iter().map(ToString::to_string).collect();
        let who = match conf.serve {
            ServePending::Writer => "the client that wrote them",
            ServePending::All => "everyone",
        };
        let (name, networks) = (&cache.name, networks.join(", "));
        Some(format!(
            "cache `{name}` accepts writes from {networks} that no backend has checked, and serves them to \
             {who}"
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
                "with `paths.merge_slashes = false` a request to listener `{}` for `/{path}` bypasses the \
                 route `{}`",
                listener.name, route.name
            ))
        })
    })
}

/// A path that a route refuses.
fn guarded(route: &RouteConf) -> Option<&str> {
    match &route.action {
        Action::Respond(respond) if respond.status >= 400 => {}
        Action::Respond(_)
        | Action::Upstream(_)
        | Action::Split(_)
        | Action::Redirect(_)
        | Action::Files(_) => return None,
    }
    route.paths.iter().find_map(|path| match path {
        PathPattern::Exact(path) | PathPattern::Prefix(path) if !path.is_empty() => Some(&**path),
        PathPattern::Exact(_) | PathPattern::Prefix(_) | PathPattern::Regex(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::parse;

    #[test]
    fn routes_that_nothing_reaches_are_noted() {
        let noted = |late: &str, all: &str| {
            let text = format!(
                "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n\
                 [[route]]\nname = \"late\"\n{late}\nrespond = {{ status = 200 }}\n\
                 [[route]]\nname = \"all\"\n{all}\nrespond = {{ status = 200 }}\n"
            );
            let config = parse(&text, Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}"));
            let notes = notes(&config);
            assert!(notes.iter().all(|note| note.contains("`late`") && note.contains("`all`")), "{notes:?}");
            notes.len()
        };
        let (regex, every) = ("paths = ['~^/a']", "paths = [\"/*\"]");
        assert_eq!(noted(regex, every), 1);
        assert_eq!(noted("methods = [\"PUT\"]", every), 1, "no path comes after every path");
        assert_eq!(noted(regex, ""), 0);
        assert_eq!(noted("paths = [\"/a\", '~^/a']", every), 0);
        assert_eq!(noted(regex, &format!("{every}\nmethods = [\"PUT\"]")), 0);
        assert_eq!(noted(regex, &format!("{every}\nclients = [\"10.0.0.0/8\"]")), 0);
        assert_eq!(
            noted(&format!("{regex}\nhosts = [\"a.test\"]"), every),
            0,
            "a host comes before any host"
        );
        assert_eq!(
            noted(
                &format!("{regex}\nhosts = [\"a.test\"]"),
                &format!("{every}\nhosts = [\"a.test\", \"b.test\"]")
            ),
            1
        );
    }

    #[test]
    fn checks_of_connections_that_ask_for_http_are_noted() {
        let noted = |check: &str, more: &str| {
            let text = format!(
                "[[listener]]\nname = \"db\"\naddress = \"127.0.0.1:1\"\nprotocol = \"tcp\"\n\
                 [[route]]\nname = \"db\"\nlisteners = [\"db\"]\nupstream = \"u\"\n{more}\
                 [[upstream]]\nname = \"u\"\n{check}\n[[upstream.backend]]\naddress = \"127.0.0.1:2\"\n"
            );
            notes(&parse(&text, Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}"))).len()
        };
        assert_eq!(noted("health_check = {}", ""), 1);
        assert_eq!(noted("health_check = { kind = \"tcp\" }", ""), 0);
        assert_eq!(noted("", ""), 0);
        let http = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:3\"\n[[route]]\nname = \"web\"\nupstream = \"u\"\n";
        assert_eq!(noted("health_check = {}", http), 0, "requests go there, too");
    }

    #[test]
    fn certificate_whose_other_half_went_is_noted() {
        let folder = std::env::temp_dir().join(format!("pointsman-lost-{}", std::process::id()));
        crate::tls::demo::demo_certificates(&folder).unwrap();
        let [chain, key] = ["other.crt", "other.key"].map(|name| folder.join(name));
        fs::copy(folder.join("demo.pem"), &chain).unwrap();
        fs::copy(folder.join("demo.key"), &key).unwrap();
        let text = format!(
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\nprotocol = \"https\"\ncertificates = {folder:?}\n\
             [[route]]\nname = \"all\"\nrespond = {{ status = 200 }}\n"
        );
        let read = || parse(&text, Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}"));
        let before = read();
        fs::remove_file(&key).unwrap();
        let next = read();
        let lost = lost_certificates(&before, &next);
        assert!(lost.len() == 1 && lost[0].contains("other.key is gone"), "{lost:?}");
        assert_eq!(lost_certificates(&next, &next), Vec::<String>::new());
        fs::remove_file(&chain).unwrap();
        assert_eq!(lost_certificates(&before, &read()), Vec::<String>::new(), "it was taken out");
        fs::remove_dir_all(folder).unwrap();
    }
}
