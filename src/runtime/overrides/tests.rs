//! Changes over a file, and what a new file leaves of them.

use std::{path::Path, time::Duration};

use serde_json::json;

use super::*;
use crate::{config, moment::Moment, upstream::discover::Discovered};

/// A file whose upstream `api` has these backends: name, weight, further keys.
fn file(backends: &[(&str, u32, &str)]) -> Config {
    let mut text = String::from(
        "listener = [{ name = \"web\", address = \"127.0.0.1:0\" }]\n[[upstream]]\nname = \"api\"\n",
    );
    for (index, (name, weight, more)) in backends.iter().enumerate() {
        let address = format!("10.0.0.{}:80", index + 1);
        text += &format!(
            "[[upstream.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n{more}\n"
        );
    }
    config::parse(&text, Path::new("x.toml")).unwrap()
}

/// An upstream whose backend `app` is a name.
fn named(address: &str, more: &str) -> Config {
    let text = format!(
        "[[upstream]]\nname = \"api\"\n[[upstream.backend]]\nname = \"app\"\naddress = \"{address}\"\n{more}\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n"
    );
    config::parse(&text, Path::new("x.toml")).unwrap()
}

fn weight(backend: &str, weight: u32) -> Change {
    Change::Weight { upstream: "api".into(), backend: backend.into(), weight }
}

fn state(backend: &str, state: BackendState) -> Change {
    Change::State { upstream: "api".into(), backend: backend.into(), state }
}

fn remove(backend: &str) -> Change {
    Change::Remove { upstream: "api".into(), backend: backend.into() }
}

fn add(json: serde_json::Value) -> Change {
    let backend = BackendConf::from_json(&json, Path::new("x.toml")).unwrap();
    Change::Add { upstream: "api".into(), backend }
}

/// The overrides after all these changes.
fn after(config: &Config, changes: &[Change]) -> Overrides {
    changes.iter().fold(Overrides::default(), |overrides, change| {
        overrides.with(change, config, &Addresses::default()).unwrap()
    })
}

/// "name weight state" of each backend.
fn effective(config: &Config, overrides: &Overrides) -> Vec<String> {
    let mut config = config.clone();
    overrides.apply(&mut config);
    let backends = config.upstream[0].backend.iter();
    backends.map(|it| format!("{} {} {}", it.name, it.weight, it.state.name())).collect()
}

fn lines(overrides: &Overrides) -> Vec<String> {
    overrides.lines().iter().map(ToString::to_string).collect()
}

#[test]
fn overrides_apply_over_the_file_and_name_their_base() {
    let config = file(&[("a", 1, ""), ("b", 2, "")]);
    let overrides = after(
        &config,
        &[
            weight("a", 5),
            state("10.0.0.1:80", BackendState::Draining),
            add(json!({"address": "10.0.0.9:80", "weight": 4})),
            remove("b"),
            weight("10.0.0.9:80", 6),
            state("10.0.0.9:80", BackendState::Disabled),
        ],
    );
    assert_eq!(effective(&config, &overrides), ["a 5 draining", "10.0.0.9:80 6 disabled"]);
    assert_eq!(
        lines(&overrides),
        [
            "api/a: weight 5 instead of 1",
            "api/a: state draining instead of enabled",
            "api/10.0.0.9:80: added",
            "api/b: removed"
        ]
    );
    assert_eq!(overrides.lines_of("api", "10.0.0.1:80").len(), 2);
    assert!(overrides.lines_of("other", "10.0.0.1:80").is_empty());
    assert_eq!(Overrides::from_json(&overrides.to_json()), Ok(overrides));
    assert_eq!(
        effective(&config, &Overrides::default()),
        ["a 1 enabled", "b 2 enabled"],
        "the file is untouched"
    );
}

#[test]
fn what_the_file_says_anyway_is_no_override() {
    let config = file(&[("a", 1, ""), ("b", 2, "")]);
    let b = config.upstream[0].backend[1].clone();
    let changed = [weight("a", 5), state("a", BackendState::Disabled), remove("b")];
    let back = [weight("a", 1), state("a", BackendState::Enabled), add(b.to_json())];
    assert!(!after(&config, &changed).is_empty());
    assert_eq!(after(&config, &[changed, back].concat()), Overrides::default());
    let added = [add(json!({"address": "10.0.0.9:80"})), remove("10.0.0.9:80")];
    assert!(after(&config, &added).is_empty());
    assert!(after(&config, &[weight("a", 1)]).is_empty());
}

#[test]
fn a_removed_backend_can_come_back_as_another() {
    let config = file(&[("a", 1, ""), ("b", 2, "")]);
    let other = json!({"address": "10.0.0.2:80", "name": "c", "weight": 7});
    let overrides = after(&config, &[remove("b"), add(other), weight("c", 8)]);
    assert_eq!(effective(&config, &overrides), ["a 1 enabled", "c 8 enabled"]);
    assert_eq!(overrides.kept(&config), overrides);
    assert_eq!(Overrides::from_json(&overrides.to_json()), Ok(overrides.clone()));
    let without = overrides.with(&remove("c"), &config, &Addresses::default()).unwrap();
    assert_eq!(effective(&config, &without), ["a 1 enabled"]);
}

#[test]
fn overrides_a_file_could_not_hold_are_refused() {
    let config = file(&[("a", 1, ""), ("b", 0, ""), ("c", 1, "backup = true")]);
    let refused = |overrides: &Overrides, change: &Change| {
        let refusal = overrides.with(change, &config, &Addresses::default()).unwrap_err();
        assert!(!refusal.hint.is_empty());
        (refusal.reason, refusal.code)
    };
    let none = Overrides::default();
    let elsewhere = Change::Remove { upstream: "apu".into(), backend: "a".into() };
    assert_eq!(refused(&none, &elsewhere), (Reason::NotFound, "no_such_upstream"));
    assert_eq!(refused(&none, &weight("d", 1)), (Reason::NotFound, "no_such_backend"));
    assert_eq!(refused(&none, &weight("a", 65536)), (Reason::Invalid, "bad_weight"));
    assert_eq!(refused(&none, &add(json!({"address": "10.0.0.1:80"}))), (Reason::Conflict, "backend_exists"));
    assert_eq!(
        refused(&none, &add(json!({"address": "10.0.0.9:80", "name": "b"}))),
        (Reason::Conflict, "backend_exists")
    );
    // However it is written.
    let added = after(&config, &[add(json!({"address": "[::1]:80"}))]);
    assert_eq!(refused(&added, &add(json!({"address": "[0:0:0:0:0:0:0:1]:80"}))).1, "backend_exists");
    assert!(added.with(&remove("[0:0:0:0:0:0:0:1]:80"), &config, &Addresses::default()).unwrap().is_empty());
    let removed = after(&config, &[remove("b")]);
    assert_eq!(refused(&removed, &remove("b")), (Reason::NotFound, "no_such_backend"));
    assert_eq!(
        refused(&removed, &remove("a")),
        (Reason::Conflict, "last_backend"),
        "only a backup would be left"
    );
    let without_backup = after(&config, &[remove("c")]);
    assert_eq!(refused(&without_backup, &weight("a", 0)), (Reason::Conflict, "last_backend"));
    assert_eq!(
        refused(&without_backup, &remove("a")),
        (Reason::Conflict, "last_backend"),
        "weight 0 would be left"
    );
    // All may be out on purpose: that is what maintenance is.
    let states = ["a", "b", "c"].map(|name| state(name, BackendState::Disabled));
    assert_eq!(after(&config, &states).lines().len(), 3);
}

#[test]
fn an_override_lasts_until_the_file_changes_its_key() {
    let config = file(&[("a", 1, ""), ("b", 2, "")]);
    let all = [
        weight("a", 5),
        state("a", BackendState::Draining),
        remove("b"),
        add(json!({"address": "10.0.0.3:80", "name": "c"})),
    ];
    let overrides = after(&config, &all);
    assert_eq!(overrides.kept(&config), overrides);
    let left = |backends: &[(&str, u32, &str)]| lines(&overrides.kept(&file(backends)));
    let (a_weight, a_state) = ("api/a: weight 5 instead of 1", "api/a: state draining instead of enabled");
    let (b, c) = ("api/b: removed", "api/c: added");
    assert_eq!(left(&[("a", 3, ""), ("b", 2, "")]), [a_state, b, c], "the weight was changed");
    assert_eq!(left(&[("a", 1, "state = \"disabled\""), ("b", 2, "")]), [a_weight, b, c]);
    assert_eq!(
        left(&[("a", 1, "max_connections = 9"), ("b", 2, "")]),
        [a_weight, a_state, b, c],
        "another key"
    );
    assert_eq!(left(&[("a", 1, ""), ("b", 3, "")]), [a_weight, a_state, c], "the removed one was changed");
    assert_eq!(left(&[("a", 1, "")]), [a_weight, a_state, c], "the file has it no longer");
    assert_eq!(
        left(&[("a", 1, ""), ("b", 2, ""), ("d", 1, "")]),
        [a_weight, a_state, b],
        "the address is taken"
    );
    assert_eq!(left(&[("a", 1, ""), ("c", 2, "")]), [a_weight, a_state], "the name is taken");
    assert_eq!(
        left(&[("z", 1, ""), ("b", 2, "")])[0],
        "api/z: weight 5 instead of 1",
        "the address is the identity"
    );
    let text = "listener = [{ name = \"web\", address = \"127.0.0.1:0\" }]";
    let gone = config::parse(text, Path::new("x.toml")).unwrap();
    assert!(overrides.kept(&gone).is_empty(), "the upstream is gone");
}

/// A program before this one wrote addresses as its file does; else what was disabled there takes requests again.
#[test]
fn overrides_hold_however_their_addresses_are_written() {
    for (spelled, same) in [
        ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
        ("unix:/run//./app.sock", "unix:/run/app.sock"),
        ("srv:_HTTP._tcp.App.test", "srv:_http._tcp.app.test"),
    ] {
        let config = named(spelled, "");
        let overrides = after(&config, &[state("app", BackendState::Disabled)]);
        let json = overrides.to_json().to_string();
        assert!(json.contains(same), "{json}");
        let json = serde_json::from_str(&json.replace(same, spelled)).unwrap();
        let handed = Overrides::from_json(&json).unwrap();
        assert_eq!(effective(&config, &handed.kept(&config)), ["app 1 disabled"], "{spelled}");
        assert_eq!(after(&config, &[state(spelled, BackendState::Disabled)]), overrides, "{spelled}");
    }
}

#[test]
fn one_address_of_a_name_is_overridden_alone() {
    let config = named("app.test:80", "");
    let now = Moment::now();
    let mut names = Addresses::default();
    let mut found = |servers: &[&str]| {
        let servers = servers.iter().map(|it| it.parse().unwrap()).collect();
        let (upstream, address) = ("api".to_owned(), "app.test:80".to_owned());
        names.note(Discovered { upstream, address, servers, left_out: 0 }, now);
        names.clone()
    };
    let names = found(&["10.0.0.1:80", "10.0.0.2:80"]);
    let effective = |config: &Config, overrides: &Overrides, names: &Addresses| {
        let mut config = config.clone();
        overrides.apply_with(&mut config, names);
        let backends = config.upstream[0].backend.iter();
        backends.map(|it| format!("{} {} {}", it.name, it.weight, it.state.name())).collect::<Vec<_>>()
    };
    let made = |changes: &[Change]| {
        changes.iter().fold(Overrides::default(), |all, change| all.with(change, &config, &names).unwrap())
    };
    let overrides =
        made(&[weight("app", 5), weight("app@10.0.0.1", 1), state("10.0.0.2:80", BackendState::Draining)]);
    let expected = ["app@10.0.0.1 1 enabled", "app@10.0.0.2 5 draining"];
    assert_eq!(effective(&config, &overrides, &names), expected);
    assert_eq!(
        lines(&overrides),
        [
            "api/app: weight 5 instead of 1",
            "api/app@10.0.0.1: weight 1 instead of 1",
            "api/app@10.0.0.2: state draining instead of enabled"
        ]
    );
    assert_eq!(Overrides::from_json(&overrides.to_json()), Ok(overrides.clone()));
    assert_eq!(overrides.kept(&config), overrides);
    assert!(made(&[weight("app@10.0.0.1", 3), weight("app@10.0.0.1", 1)]).is_empty());
    let refused = |change: &Change| overrides.with(change, &config, &names).unwrap_err().code;
    assert_eq!(refused(&remove("app@10.0.0.1")), "address_of_name");
    assert_eq!(refused(&weight("app@10.0.0.3", 1)), "no_such_backend");
    assert_eq!(refused(&add(json!({"address": "10.0.0.1:80"}))), "backend_exists");
    // The name has its addresses no more, for a while, and for good.
    let gone = found(&["10.0.0.8:80", "10.0.0.9:80"]);
    assert_eq!(effective(&config, &overrides, &gone), ["app@10.0.0.8 5 enabled", "app@10.0.0.9 5 enabled"]);
    let soon = now.plus(Duration::from_secs(3500));
    assert_eq!(overrides.clone().without_forgotten(&gone, soon), overrides);
    let later = overrides.clone().without_forgotten(&gone, now.plus(Duration::from_secs(3700)));
    assert_eq!(lines(&later), ["api/app: weight 5 instead of 1"]);
    // The file says something else of the name, or has it no more.
    let other = named("app.test:80", "weight = 7");
    assert_eq!(lines(&overrides.kept(&other)), ["api/app@10.0.0.2: state draining instead of enabled"]);
    assert!(overrides.kept(&named("other.test:80", "")).is_empty());
    assert_eq!(lines(&overrides.kept(&named("app.test:80", "addresses = \"one\""))).len(), 1);
    // Those that are left never have nothing.
    let nothing = made(&[weight("app@10.0.0.1", 0)]);
    let left = found(&["10.0.0.1:80", "10.0.0.1:80"]);
    assert_eq!(effective(&config, &nothing, &left), ["app@10.0.0.1 1 enabled"]);
}

#[test]
fn what_is_left_never_leaves_an_upstream_without_anything() {
    let config = file(&[("a", 1, ""), ("b", 1, ""), ("c", 1, "")]);
    let overrides = after(&config, &[weight("a", 0), remove("b")]);
    let new = file(&[("a", 1, ""), ("b", 1, "")]);
    let left = overrides.kept(&new);
    assert_eq!(lines(&left), ["api/a: weight 0 instead of 1"], "the youngest goes first");
    assert_eq!(effective(&new, &left), ["a 0 enabled", "b 1 enabled"]);
    assert!(overrides.kept(&file(&[("a", 1, "")])).is_empty());
}

#[test]
fn json_that_is_wrong_is_refused() {
    for bad in [
        json!({}),
        json!([{}]),
        json!([{"upstream": "api", "backend": "a", "address": "10.0.0.1:80", "key": "colour"}]),
        json!([{"upstream": "api", "backend": "a", "address": "10.0.0.1:80", "key": "weight", "base": 1}]),
        json!([{"upstream": "api", "backend": "a", "address": "10.0.0.1:80", "key": "weight", "base": 1, "value": 70000}]),
        json!([{"upstream": "api", "backend": "a", "address": "10.0.0.1:80", "key": "added", "value": {}}]),
    ] {
        assert!(Overrides::from_json(&bad).is_err(), "{bad}");
    }
}

proptest::proptest! {
    /// Whatever is asked for in whatever order: no panic, a usable upstream, JSON there and back, and
    /// nothing lost while the file stays.
    #[test]
    fn any_changes(steps in proptest::collection::vec((0..4_u8, 0..5_u8, 0..3_u32), 0..12)) {
        let config = file(&[("a", 1, ""), ("b", 0, ""), ("c", 2, "backup = true")]);
        let mut overrides = Overrides::default();
        for (kind, which, number) in steps {
            let called = format!("10.0.0.{}:80", which + 1);
            let change = match kind {
                0 => weight(&called, number),
                1 => state(&called, BackendState::ALL[number as usize].0),
                2 => remove(&called),
                _ => add(json!({"address": called, "weight": number})),
            };
            overrides = overrides.with(&change, &config, &Addresses::default()).unwrap_or(overrides);
            let mut now = config.clone();
            overrides.apply(&mut now);
            assert_eq!(unusable(&now.upstream[0]), None);
            assert_eq!(Overrides::from_json(&overrides.to_json()), Ok(overrides.clone()));
            assert_eq!(overrides.kept(&config), overrides);
            for other in [file(&[("a", 1, "")]), file(&[("a", 0, ""), ("b", 1, "")])] {
                let left = overrides.kept(&other);
                let mut now = other.clone();
                left.apply(&mut now);
                assert_eq!(unusable(&now.upstream[0]), None);
                assert_eq!(left.kept(&other), left);
            }
        }
    }
}
