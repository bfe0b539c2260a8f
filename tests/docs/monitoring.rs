//! Dashboard and alert rules ask for series that the program has.

use std::collections::BTreeSet;

use super::files::{files, read};

/// The names of metrics in a text, without what a histogram adds.
fn named(text: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_of_name(c));
    let metrics = words.filter(|word| word.starts_with("pointsman_") || word.starts_with("process_"));
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    metrics.map(base).collect()
}

/// The texts in quotes of the files that make metrics: names of families are among them.
fn known() -> BTreeSet<String> {
    let texts =
        files("src/admin/metrics").into_iter().filter(|file| !file.ends_with("tests.rs")).map(|it| read(&it));
    texts.flat_map(|text| text.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_series_that_is_asked_for_is_there() {
    let known = known();
    let is_known = |name: &String| {
        known.contains(name) || name.strip_prefix("pointsman_").is_some_and(|name| known.contains(name))
    };
    for file in ["docs/monitoring/grafana.json", "docs/monitoring/alerts.yml", "docs/monitoring.md"] {
        let names = named(&read(file));
        assert!(names.len() >= 8, "{file} names {} series", names.len());
        let unknown: Vec<_> = names.iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{file} asks for series that are not there: {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_json_with_a_query_in_each_panel() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("docs/monitoring/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(
            targets.iter().all(|target| !target["expr"].as_str().unwrap().is_empty()),
            "{}",
            panel["title"]
        );
    }
    assert!(panels.len() >= 15);
}
