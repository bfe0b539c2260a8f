use std::{collections::HashSet, env, fmt::Write as _, fs, path::Path};

use regex::Regex;

use super::{
    super::{ENDPOINTS, spec::Kind},
    *,
};

/// Every `$ref` in a value.
fn references<'v>(value: &'v Value, found: &mut HashSet<&'v str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_row_of_the_table_is_described() {
    let document = document(ENDPOINTS, true);
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = HashSet::new();
    for endpoint in ENDPOINTS {
        let (method, path) = (endpoint.method, endpoint.path);
        let operation = &document["paths"][path][method.to_ascii_lowercase()];
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
        assert_eq!(operation["summary"], endpoint.summary);
        let responses = operation["responses"].as_object().unwrap();
        assert!(!endpoint.about.gives.is_empty(), "{method} {path} gives nothing");
        for given in endpoint.about.gives {
            let content = &responses[&given.status.to_string()]["content"][given.media_type];
            assert!(content["schema"].is_object(), "{method} {path}");
        }
        for status in errors(endpoint).iter().map(ToString::to_string) {
            let schema = &responses[&status]["content"]["application/json"]["schema"]["$ref"];
            let is_given = endpoint.about.gives.iter().any(|given| given.status.to_string() == status);
            assert!(is_given || schema == "#/components/schemas/Error", "{method} {path} {status}");
        }
        let is_locked = operation["security"] == json!([{"token": []}]);
        assert!(
            is_locked != endpoint.is_open && responses.contains_key("401") == is_locked,
            "{method} {path}"
        );
        let parameters = operation["parameters"].as_array().unwrap();
        assert_eq!(parameters.len(), path.matches('{').count() + endpoint.about.parameters.len());
        assert_eq!(operation["requestBody"].is_object(), endpoint.about.body.media_type().is_some());
        assert_eq!(
            endpoint.about.is_change,
            // A connection is ended also while the program stops: it may be what that waits for.
            !matches!(method, "GET") && !is_preview(path) && path != "/api/v1/connections/{id}",
            "{method} {path}"
        );
        assert!(!endpoint.about.is_change || responses.contains_key("503"), "{method} {path}");
        assert_eq!(responses.contains_key("404"), path.contains('{'), "{method} {path}");
    }
    let operations =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len());
    assert_eq!(operations.sum::<usize>(), ENDPOINTS.len(), "nothing else is described");
}

/// What is asked with POST, since it takes a body, and changes nothing.
fn is_preview(path: &str) -> bool {
    path.ends_with("/check") || path.ends_with("/plan")
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = document(ENDPOINTS, false);
    let mut used = HashSet::new();
    references(&document, &mut used);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let there: HashSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(used, there.iter().map(String::as_str).collect());
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|it| it.as_object().unwrap().values())
    {
        assert_eq!(operation["security"], json!([]), "without a token none is asked for");
    }
}

#[test]
fn every_pattern_compiles() {
    for row in ENDPOINTS.iter().flat_map(|endpoint| endpoint.about.parameters) {
        assert!(!row.what.is_empty());
        match row.kind {
            Kind::Text(pattern) | Kind::Needed(pattern) | Kind::Many(pattern) => {
                drop(Regex::new(pattern).unwrap())
            }
            Kind::Count(least, most) => assert!(least < most),
            Kind::Flag | Kind::Address => {}
        }
    }
}

#[test]
fn endpoints_are_in_the_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/admin-api.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, _) = page.split_once("| | endpoint |").unwrap_or((&page, ""));
    let mut expected = format!("{}\n\n| | endpoint | |\n|---|---|---|\n", before.trim_end());
    for endpoint in ENDPOINTS {
        let (method, path, summary) = (endpoint.method, endpoint.path, endpoint.summary);
        writeln!(expected, "| {method} | `{path}` | {summary} |").unwrap();
    }
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
        return;
    }
    assert!(page == expected, "run `UPDATE_DOCS=1 cargo test endpoints_are_in_the_documentation`");
}
