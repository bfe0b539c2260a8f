//! Plans between two texts.

use proptest::prelude::any;
use serde_json::json;

use super::{steps::longest_increasing, *};
use crate::{
    config,
    runtime::{addresses::Addresses, overrides::Change},
    upstream::conf::BackendState,
};

const OLD: &str = r#"
[[listener]]
name = "web"
address = "127.0.0.1:8080"
[[listener]]
name = "old"
address = "127.0.0.1:8081"

[[route]]
name = "one"
hosts = ["one.example"]
upstream = "api"
[[route]]
name = "two"
hosts = ["two.example"]
upstream = "api"
[[route]]
name = "three"
hosts = ["three.example"]
upstream = "api"

[[upstream]]
name = "api"
backend = [{ name = "a", address = "10.0.0.1:80" }, { address = "10.0.0.2:80" }]
"#;

fn parsed(text: &str) -> Config {
    config::parse(text, Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The plan from `old` to `new` where nothing but the file changes.
fn between(old: &str, new: &str) -> Plan {
    with_overrides(old, new, &[])
}

fn with_overrides(old: &str, new: &str, changes: &[Change]) -> Plan {
    let (mut old, new) = (parsed(old), parsed(new));
    let overrides = changes.iter().fold(Overrides::default(), |overrides, change| {
        overrides.with(change, &old, &Addresses::default()).unwrap()
    });
    overrides.apply(&mut old);
    plan(&Given {
        old: &old,
        new: &new,
        overrides: &overrides,
        old_files: &Hashes::new(),
        new_files: &Hashes::new(),
        certificates: &HashMap::new(),
        next_start: &["runtime.workers", "admin"],
        now: 0,
    })
}

/// `OLD` with these replacements.
fn edited(replacements: &[(&str, &str)]) -> String {
    replacements.iter().fold(OLD.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

#[test]
fn the_same_file_changes_nothing() {
    let plan = between(OLD, OLD);
    assert!(plan.is_empty());
    assert_eq!(plan.to_text(), "nothing would change\n");
    assert_eq!(plan.to_json()["changes"], false);
    // Comments and order of keys are no change either.
    assert!(between(OLD, &format!("# Hello.\n{OLD}")).is_empty());
}

#[test]
fn tells_what_comes_goes_and_changes() {
    let new = edited(&[
        ("\"old\"\naddress = \"127.0.0.1:8081\"", "\"new\"\naddress = \"127.0.0.1:8082\""),
        ("127.0.0.1:8080\"", "127.0.0.1:9090\"\nlimits = { headers = 50 }"),
        ("\"two.example\"", "\"zwei.example\""),
        ("name = \"api\"\n", "name = \"api\"\nbalance = \"maglev\"\nhealth_check = { path = \"/up\" }\n"),
        (
            "{ name = \"a\", address = \"10.0.0.1:80\" }",
            "{ name = \"a\", address = \"10.0.0.1:80\", weight = 3 }",
        ),
        ("{ address = \"10.0.0.2:80\" }", "{ address = \"10.0.0.3:80\" }"),
    ]) + "[runtime]\nworkers = 2\ndrain_timeout = \"5s\"\n[admin]\n[log]\nlevel = \"warn\"\n";
    let plan = between(OLD, &new);
    let wanted = "\
~ listener  web              address 127.0.0.1:8080 → 127.0.0.1:9090, limits.headers
+ listener  new              opened
- listener  old              closed; open connections run to their end
~ route     one              listeners
~ route     two              listeners, hosts
~ route     three            listeners
~ upstream  api              balance round-robin → maglev, health_check
~ backend   api/a            weight 1 → 3
+ backend   api/10.0.0.3:80
- backend   api/10.0.0.2:80  drained
~ key       runtime.drain_timeout
~ key       log.level
~ key       runtime.workers  only at the next start or upgrade
~ key       admin            only at the next start or upgrade
";
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeeze(&plan.to_text()), squeeze(wanted), "{}", plan.to_text());
    let json = plan.to_json();
    assert_eq!(json["changes"], true);
    assert_eq!(json["backends"][0], json!({"change": "changed", "name": "api/a", "keys": ["weight 1 → 3"]}));
    assert_eq!(json["next_start"], json!(["runtime.workers", "admin"]));
}

#[test]
fn columns_are_aligned() {
    let new = edited(&[(
        "name = \"a\", address = \"10.0.0.1:80\"",
        "name = \"a\", address = \"10.0.0.1:80\", weight = 3",
    )]);
    let text = between(OLD, &(new + "[log]\nlevel = \"warn\"\n")).to_text();
    assert_eq!(text, "~ backend  api/a      weight 1 → 3\n~ key      log.level\n");
}

#[test]
fn a_route_that_moves_is_listed_once() {
    let three = "[[route]]\nname = \"three\"\nhosts = [\"three.example\"]\nupstream = \"api\"\n";
    let new = edited(&[(three, ""), ("[[route]]", &format!("{three}[[route]]"))]);
    assert_eq!(between(OLD, &new).to_text(), "~ route  three  moved in the order\n");
}

#[test]
fn caches_come_change_and_go() {
    let with = |rest: &str| format!("{OLD}[[cache]]\nname = \"pages\"\n{rest}");
    let (bare, other) = (with(""), with("memory = \"1GiB\"\nkey = { query = \"none\" }\n"));
    assert_eq!(between(OLD, &bare).to_text(), "+ cache  pages\n");
    assert_eq!(between(&bare, &other).to_text(), "~ cache  pages  memory, key.query\n");
    assert_eq!(between(&other, OLD).to_text(), "- cache  pages\n");
    assert!(between(&other, &other).is_empty());
}

#[test]
fn matchers_come_change_and_go() {
    let with = |matchers: &[(&str, &str)]| {
        let tables = matchers
            .iter()
            .map(|(name, methods)| format!("[[matcher]]\nname = \"{name}\"\nmethods = [\"{methods}\"]\n"));
        OLD.to_owned() + &tables.collect::<String>()
    };
    let plan = between(
        &with(&[("a", "GET"), ("b", "GET"), ("c", "GET")]),
        &with(&[("c", "GET"), ("b", "PUT"), ("d", "GET")]),
    );
    assert_eq!(plan.keys, ["matcher.a", "matcher.b", "matcher.d"]);
    assert!(!plan.is_empty());
}

#[test]
fn whole_upstreams_come_and_go_without_their_backends() {
    let more = format!("{OLD}[[upstream]]\nname = \"more\"\nbackend = [{{ address = \"10.1.0.1:80\" }}]\n");
    assert_eq!(between(OLD, &more).to_text(), "+ upstream  more\n");
    assert_eq!(between(&more, OLD).to_text(), "- upstream  more\n");
}

#[test]
fn overrides_stay_or_go() {
    let of = |backend: &str| ("api".to_owned(), backend.to_owned());
    let (upstream, backend) = of("a");
    let weight = Change::Weight { upstream, backend, weight: 5 };
    let (upstream, backend) = of("10.0.0.2:80");
    let state = Change::State { upstream, backend, state: BackendState::Draining };
    let changes = [weight, state];
    let plan = with_overrides(OLD, OLD, &changes);
    assert!(plan.is_empty(), "{}", plan.to_text());
    assert_eq!(plan.to_json()["overrides"]["kept"][1]["value"], "draining");
    let new = edited(&[("name = \"a\", ", "name = \"b\", weight = 2, ")]);
    let text = with_overrides(OLD, &new, &changes).to_text();
    let lines: Vec<_> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "~ backend api/b name a → b, weight 5 → 2",
            "- override api/a: weight 5 instead of 1 the file changes this key",
            "override api/10.0.0.2:80: state draining instead of enabled stays",
        ]
    );
}

#[test]
fn certificates_are_listed_with_their_end() {
    let folder = std::env::temp_dir().join(format!("pointsman-plan-{}", std::process::id()));
    crate::tls::demo::demo_certificates(&folder).unwrap();
    let text = "[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\n\
                certificate = [{ chain = \"demo.pem\", key = \"demo.key\" }]\n";
    let config = config::parse(text, &folder.join("x.toml")).unwrap();
    let chain = folder.join("demo.pem");
    let key = folder.join("demo.key");
    let facts = CertificateFacts::of_file(&chain).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let hashes =
        |chain_hash: u64, key_hash: u64| Hashes::from([(chain.clone(), chain_hash), (key.clone(), key_hash)]);
    let certificates = HashMap::from([(chain.clone(), facts.clone())]);
    let planned = |now: i64, new_files: &Hashes| {
        plan(&Given {
            old: &config,
            new: &config,
            overrides: &Overrides::default(),
            old_files: &hashes(1, 1),
            new_files,
            certificates: &certificates,
            next_start: &[],
            now,
        })
    };
    let day = 86_400;
    let same = planned(facts.not_after - 30 * day, &hashes(1, 1));
    assert!(same.is_empty());
    assert_eq!(same.to_text(), "nothing would change\n", "nothing to say of a certificate that holds");
    assert_eq!(same.to_json()["certificates"][0]["days_left"], 30);
    assert_eq!(same.to_json()["certificates"][0]["names"][0], "localhost");
    let renewed = planned(facts.not_after - 30 * day, &hashes(2, 2));
    assert!(!renewed.is_empty());
    assert!(renewed.certificates[0].is_new && renewed.certificates[0].warning().is_none());
    assert_eq!(renewed.files, std::slice::from_ref(&key));
    let warning = |left: i64| planned(facts.not_after - left, &hashes(1, 1)).certificates[0].warning();
    assert_eq!(warning(14 * day), None);
    assert_eq!(warning(14 * day - 1).as_deref(), Some("it expires in 13 days"));
    assert_eq!(warning(day).as_deref(), Some("it expires in 1 day"));
    assert_eq!(warning(5).as_deref(), Some("it expires within a day"));
    assert_eq!(warning(-1).as_deref(), Some("it has expired"));
    let soon = planned(facts.not_after - 5, &hashes(1, 1)).to_text();
    assert!(soon.starts_with("nothing would change\n! certificate  tls "), "{soon}");
}

proptest::proptest! {
    /// What is not in the longest part in order is what must move, and nothing shorter would do.
    #[test]
    fn the_longest_part_in_order(seed in any::<u64>(), length in 0..9_usize) {
        let mut items: Vec<usize> = (0..length).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut items);
        let longest = longest_increasing(&items);
        assert!(longest.is_sorted());
        let mut rest = items.iter();
        assert!(longest.iter().all(|item| rest.any(|it| it == item)), "a part of {items:?}: {longest:?}");
        let best = (0_u32..1 << length)
            .filter(|set| {
                let part = items.iter().enumerate().filter(|(index, _)| set & (1 << index) != 0);
                part.map(|(_, item)| *item).is_sorted()
            })
            .map(u32::count_ones)
            .max();
        assert_eq!(best, Some(longest.len() as u32));
    }
}
