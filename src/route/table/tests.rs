//! The table against a slow scan that spells the precedence out, and the cases of the contract by name.

use std::cmp::Reverse;

use proptest::prelude::*;
use regex::Regex;

use super::*;
use crate::{
    fields::Fields,
    route::condition::{Condition, ValuePattern},
};

/// A request in owned parts.
#[derive(Clone, Debug, Default)]
struct Request {
    host: String,
    path: String,
    method: String,
    query: String,
    headers: Fields,
}

impl Request {
    fn facts(&self) -> Facts<'_> {
        Facts {
            host: &self.host,
            path: &self.path,
            method: &self.method,
            query: &self.query,
            headers: &self.headers,
            exchange: None,
        }
    }

    fn get(host: &str, path: &str) -> Self {
        Self { host: host.into(), path: path.into(), method: "GET".into(), ..Self::default() }
    }
}

/// Writes patterns as the configuration does.
fn path(pattern: &str) -> PathPattern {
    match (pattern.strip_prefix('~'), pattern.strip_suffix("/*")) {
        (Some(regex), _) => PathPattern::Regex(Regex::new(regex).unwrap()),
        (None, Some(prefix)) => PathPattern::Prefix(prefix.into()),
        (None, None) => PathPattern::Exact(pattern.into()),
    }
}

fn rule(index: usize, hosts: &[&str], paths: &[&str]) -> Rule {
    Rule {
        index,
        hosts: hosts.iter().map(|host| HostPattern::of(host).unwrap()).collect(),
        paths: paths.iter().map(|pattern| path(pattern)).collect(),
        ..Rule::default()
    }
}

/// Which route each host and path finds among rules of hosts and paths.
fn check(rules: &[(&[&str], &[&str])], expected: &[(&str, &str, Option<usize>)]) {
    let rules = rules.iter().enumerate();
    let table = Table::build(rules.map(|(i, (hosts, paths))| rule(i, hosts, paths)).collect());
    for (host, path, route) in expected {
        let request = Request::get(host, path);
        assert_eq!(table.find(&request.facts()), *route, "{host}{path}");
    }
}

#[test]
fn nothing_matches_in_an_empty_table() {
    check(&[], &[("a.com", "/", None), ("", "", None)]);
}

#[test]
fn a_wildcard_at_the_end_stands_for_labels() {
    check(
        &[
            (&["jellyfin.*"], &[]),
            (&["media.jellyfin.*"], &[]),
            (&["*.test"], &[]),
            (&["jellyfin.home"], &[]),
            (&[], &["/x"]),
        ],
        &[
            ("jellyfin.lan", "/", Some(0)),
            ("jellyfin.home.arpa", "/x", Some(0)),
            ("jellyfin.home", "/", Some(3)),
            ("media.jellyfin.lan", "/", Some(1)),
            ("jellyfin.test", "/", Some(2)),
            ("jellyfin", "/x", Some(4)),
            ("xjellyfin.lan", "/", None),
            ("a.jellyfin.lan", "/", None),
        ],
    );
}

#[test]
fn the_more_specific_host_wins() {
    check(
        &[(&[], &["/x"]), (&["*.com"], &[]), (&["*.example.com"], &[]), (&["API.example.com."], &["/v1/*"])],
        &[
            ("api.example.com", "/v1", Some(3)),
            ("api.example.com.", "/v1", Some(3)),
            ("api.example.com", "/v2", Some(2)),
            ("b.api.example.com", "/v1", Some(2)),
            ("example.com", "/", Some(1)),
            ("com", "/x", Some(0)),
            ("org", "/", None),
            ("", "/x", Some(0)),
        ],
    );
}

#[test]
fn regular_expressions_of_hosts_come_before_any_host() {
    check(
        &[
            (&[], &["/x"]),
            (&["~^api[0-9]+\\.test$", "~^api1"], &[]),
            (&["~\\.test$"], &["/v1/*"]),
            (&["*.b.test"], &[]),
            (&["api7.test"], &[]),
            (&["api.*"], &[]),
        ],
        &[
            ("api1.test", "/", Some(1)),
            ("api1.test.", "/x", Some(1)),
            // All of them are one place: the path decides between them.
            ("api1.test", "/v1", Some(2)),
            ("api7.test", "/v1", Some(4)),
            ("api1.b.test", "/v1", Some(3)),
            ("api.test", "/v1", Some(5)),
            ("web.test", "/", None),
            ("web.test", "/x", Some(0)),
            ("apix.test", "/x", Some(0)),
            ("", "/x", Some(0)),
        ],
    );
}

#[test]
fn the_more_specific_path_wins() {
    check(
        &[
            (&[], &[]),
            (&[], &["~^/v1/users/[0-9]+$"]),
            (&[], &["/v1/*"]),
            (&[], &["/v1/users/*"]),
            (&[], &["/v1/users/7"]),
        ],
        &[
            ("a", "/v1/users/7", Some(4)),
            ("a", "/v1/users/8", Some(3)),
            ("a", "/v1/users", Some(3)),
            ("a", "/v1/users/", Some(3)),
            ("a", "/v1/usersx", Some(2)),
            ("a", "/v1", Some(2)),
            ("a", "/v1x", Some(0)),
            ("a", "/", Some(0)),
            ("a", "*", Some(0)),
        ],
    );
}

#[test]
fn a_prefix_of_everything_precedes_regular_expressions() {
    check(&[(&[], &["~^/a"]), (&[], &["/*"])], &[("h", "/a", Some(1)), ("h", "*", None)]);
    check(&[(&[], &[]), (&[], &["~^/a"])], &[("h", "/a", Some(1)), ("h", "/b", Some(0))]);
}

#[test]
fn a_request_falls_through_to_next_path_and_host() {
    let mut post = rule(0, &["api.example.com"], &["/v1/users"]);
    post.methods = vec!["POST".into()];
    let mut canary = rule(1, &["api.example.com"], &["/v1/*"]);
    canary.headers = vec![("x-canary".to_owned(), "yes".into())];
    let mut beta = rule(2, &["*.example.com"], &["/v1/*"]);
    beta.query = vec![("beta".into(), "1".into())];
    let table = Table::build(vec![post, canary, beta, rule(3, &[], &[])]);
    let mut request = Request::get("api.example.com", "/v1/users");
    assert_eq!(table.find(&request.facts()), Some(3));
    request.query = "beta=1".into();
    assert_eq!(table.find(&request.facts()), Some(2));
    request.headers.push("x-canary", b"yes");
    assert_eq!(table.find(&request.facts()), Some(1));
    request.method = "POST".into();
    assert_eq!(table.find(&request.facts()), Some(0));
}

#[test]
fn explain_says_why_each_route_was_not_taken() {
    let mut post = rule(0, &["a.com"], &["/v1/*"]);
    post.methods = vec!["POST".into()];
    let rules = vec![
        post,
        rule(1, &["a.com"], &["/v1/*", "/*"]),
        rule(2, &[], &[]),
        rule(3, &["*.b.com"], &[]),
        rule(4, &["a.com"], &["/v2"]),
    ];
    let request = Request::get("a.com", "/v1/x");
    let steps = Table::build(rules).explain(&request.facts());
    let said: Vec<(usize, String)> =
        steps.iter().map(|step| (step.route, step.verdict.to_string())).collect();
    let expected = [
        (0, "the method does not match"),
        (1, "matches"),
        (2, "matches, but a more specific route comes first"),
        (3, "the host does not match"),
        (4, "the path does not match"),
    ];
    assert_eq!(said, expected.map(|(route, why)| (route, why.to_owned())));
}

#[test]
fn absurd_requests_cost_no_absurd_time() {
    let rules = (0..10_000).map(|i| rule(i, &[&format!("*.h{i}.example.com")], &["/a/b/c/*", "/x"]));
    let table = Table::build(rules.collect());
    let request = Request {
        host: "a.".repeat(500_000),
        path: "/a".repeat(500_000),
        query: "&".repeat(500_000),
        ..Request::get("", "")
    };
    let start = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(table.find(&request.facts()), None);
    }
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

/// The precedence of the contract by sorting every match of every rule.
fn scan(rules: &[Rule], request: &Request) -> Option<usize> {
    let mut best = Vec::new();
    for rule in rules {
        if Conditions::new(rule).refusal(&request.facts()).is_some() {
            continue;
        }
        let conditions = (rule.methods.is_empty(), Reverse(rule.headers.len()), Reverse(rule.query.len()));
        for host in host_ranks(rule, &request.host) {
            for path in path_ranks(rule, &request.path) {
                best.push((host, path, conditions, rule.index));
            }
        }
    }
    best.into_iter().min().map(|(.., index)| index)
}

/// (0, _) exact, (1, longest first) wildcard at the start, (2, longest first) at the end, (3, _) regular expression,
/// (4, _) any.
fn host_ranks(rule: &Rule, host: &str) -> Vec<(u8, Reverse<usize>)> {
    if rule.hosts.is_empty() {
        return vec![(4, Reverse(0))];
    }
    let matching = rule.hosts.iter().filter(|pattern| pattern.matches(host));
    matching
        .map(|pattern| match pattern {
            HostPattern::Exact(_) => (0, Reverse(0)),
            HostPattern::Below(parent) => (1, Reverse(parent.len())),
            HostPattern::Open(name) => (2, Reverse(name.len())),
            HostPattern::Regex(_) => (3, Reverse(0)),
            HostPattern::Any => (4, Reverse(0)),
        })
        .collect()
}

/// (0, _) exact, (1, longest first) prefix, (2, _) regular expression, (3, _) any.
fn path_ranks(rule: &Rule, path: &str) -> Vec<(u8, Reverse<usize>)> {
    if rule.paths.is_empty() {
        return vec![(3, Reverse(0))];
    }
    let matching = rule.paths.iter().filter(|pattern| pattern.matches(path));
    matching
        .map(|pattern| match pattern {
            PathPattern::Exact(_) => (0, Reverse(0)),
            PathPattern::Prefix(prefix) => (1, Reverse(prefix.len())),
            PathPattern::Regex(_) => (2, Reverse(0)),
        })
        .collect()
}

const HOSTS: [&str; 11] = [
    "a.com",
    "b.a.com",
    "*.a.com",
    "*.com",
    "*.b.a.com",
    "c.b.a.com",
    "a.*",
    "b.a.*",
    "~^[ab]\\.",
    "~com$",
    "~^d",
];
const PATHS: [&str; 12] =
    ["/", "/a", "/a/b", "/a/", "/*", "/a/*", "/a/b/*", "/a//*", "/a/b/a/*", "~^/a", "~b$", "~^/[ab]/"];
const REQUEST_PATHS: [&str; 12] =
    ["/", "/a", "/a/b", "/a/", "/b", "/ab", "/a/b/a", "/a/b/a/b", "/a//b", "//a", "*", ""];

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    let text = || prop::sample::select(vec!["x", "y"]).prop_map(String::from);
    prop::collection::vec((text(), text()), 0..3)
}

prop_compose! {
    fn any_rule()(
        hosts in prop::collection::vec(prop::sample::select(HOSTS.to_vec()), 0..3),
        paths in prop::collection::vec(prop::sample::select(PATHS.to_vec()), 0..3),
        methods in prop::collection::vec(prop::sample::select(vec!["GET", "POST"]), 0..2),
        headers in pairs(),
        query in pairs(),
    ) -> Rule {
        let headers = headers.into_iter();
        Rule {
            methods: methods.into_iter().map(String::from).collect(),
            headers: headers.map(|(name, value)| (name.parse().unwrap(), value)).collect(),
            query,
            ..rule(0, &hosts, &paths)
        }
    }
}

prop_compose! {
    fn any_request()(
        host in prop::sample::select(vec!["a.com", "b.a.com", "c.b.a.com", "d.com", "com", "", "x"]),
        path in prop::sample::select(REQUEST_PATHS.to_vec()),
        method in prop::sample::select(vec!["GET", "POST", "PUT"]),
        headers in pairs(),
        query in pairs(),
    ) -> Request {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::get(host, path);
        request.method = method.into();
        request.query = query.join("&");
        for (name, value) in headers {
            request.headers.push(&name, value.as_bytes());
        }
        request
    }
}

#[test]
fn a_table_knows_each_header_that_rules_look_at() {
    let header = |name: &str| Condition::Header(name.into(), ValuePattern::Present(true));
    let group = |names: &[&str]| names.iter().map(|name| header(name)).collect::<Box<[_]>>();
    let rules = vec![
        Rule { headers: vec![("x-a".into(), "1".into())], more: vec![header("x-b")], ..Rule::default() },
        Rule {
            more: vec![Condition::Any(Box::new([group(&["x-c", "x-a"]), group(&[])]))],
            ..Rule::default()
        },
        Rule { more: vec![Condition::Not(group(&["x-d"]))], ..Rule::default() },
    ];
    let table = Table::build(rules);
    assert_eq!(table.headers.iter().map(|name| &**name).collect::<Vec<_>>(), ["x-a", "x-b", "x-c", "x-d"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_table_answers_as_the_slow_scan(
        mut rules in prop::collection::vec(any_rule(), 0..12),
        requests in prop::collection::vec(any_request(), 8),
    ) {
        rules.iter_mut().enumerate().for_each(|(index, rule)| rule.index = index);
        let table = Table::build(rules.clone());
        for request in requests {
            let found = table.find(&request.facts());
            prop_assert_eq!(found, scan(&rules, &request), "{:?}", request);
            let steps = table.explain(&request.facts());
            prop_assert_eq!(steps.len(), rules.len());
            let taken = steps.iter().find(|step| step.verdict == StepVerdict::Taken);
            prop_assert_eq!(taken.map(|step| step.route), found);
        }
    }
}
