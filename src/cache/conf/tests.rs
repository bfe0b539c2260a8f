//! What is read from `[[cache]]`, and what its decisions get. What is refused is in `tests/broken/`.

use std::path::Path;

use super::*;
use crate::{cache::key::QueryKey, schema::json};

fn read(options: serde_json::Value) -> CacheConf {
    json::read(&options, "cache", Path::new("conf/x.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn what_is_not_written_is_what_decisions_take_for_granted() {
    let conf = read(serde_json::json!({"name": "pages"}));
    assert_eq!(conf.policy(), Policy::default());
    assert_eq!(conf.key_settings(), KeySettings::default());
    assert_eq!((conf.memory, conf.max_object), (Size(256 << 20), Size(16 << 20)));
    assert_eq!((conf.eviction, conf.admission), (Eviction::default(), Admission::default()));
    assert_eq!((conf.disk, conf.journal), (None, None));
    assert!(conf.collapse.enabled && !conf.collapse.credentials);
}

/// Those that are counted in seconds are refused where they are not whole: `tests/broken/cache-seconds.toml`.
#[test]
fn durations_below_a_second_arrive_where_they_can() {
    let conf = read(serde_json::json!({
        "name": "pages", "inactive": "300ms", "collapse": {"timeout": "1ms500us"},
    }));
    assert_eq!(conf.inactive, Duration::from_millis(300));
    assert_eq!(conf.collapse.timeout, Duration::from_micros(1500));
}

#[test]
fn what_is_written_arrives() {
    let conf = read(serde_json::json!({
        "name": "pages",
        "heuristic": 0,
        "default_ttl": "1m",
        "stale_while_revalidate": "2s",
        "stale_if_error": "1h",
        "store_set_cookie": true,
        "key": {"query": ["q", "page"], "headers": ["X-Tenant"], "sorted": true},
        "purge_header": "Cache-Tag",
        "disk": {"path": "store", "size": "1GiB"},
    }));
    let policy = Policy {
        heuristic: 0.0,
        default_ttl: 60,
        stale_while_revalidate: 2,
        stale_if_error: 3600,
        store_set_cookie: true,
        ..Policy::default()
    };
    assert_eq!(conf.policy(), policy);
    let query = QueryKey::Names(vec!["q".to_owned(), "page".to_owned()]);
    assert_eq!(
        conf.key_settings(),
        KeySettings { query, sorted: true, headers: vec!["x-tenant".to_owned()] }
    );
    assert_eq!(conf.purge_header, "cache-tag");
    assert_eq!(&*conf.disk.unwrap().path, Path::new("conf/store"), "from the folder of the file");
    assert_eq!(conf.journal, None, "a journal is only for write-back");
    let none = read(serde_json::json!({"name": "pages", "key": {"query": "none"}}));
    assert_eq!(none.key.query, QueryKey::None);
}

#[test]
fn a_journal_is_beside_the_disk_by_default() {
    let disk = serde_json::json!({"path": "/store", "size": "1GiB"});
    let write_back = serde_json::json!({"networks": ["10.0.0.0/8"]});
    let back = |journal: Option<serde_json::Value>| {
        let mut options = serde_json::json!({"name": "pages", "write_policy": "back", "write_back": write_back, "disk": disk});
        if let Some(journal) = journal {
            options["journal"] = journal;
        }
        read(options).journal.unwrap()
    };
    let beside = back(None);
    assert_eq!(&*beside.path, Path::new("/store/journal"));
    let elsewhere = back(Some(serde_json::json!({"path": "/log"})));
    assert_eq!(&*elsewhere.path, Path::new("/log"));
    assert_eq!(beside.size, elsewhere.size, "the default is that of the row");
}

#[test]
fn what_a_cache_writes_is_not_watched() {
    let conf = read(serde_json::json!({
        "name": "pages", "write_policy": "back", "write_back": {"networks": ["10.0.0.0/8"]},
        "disk": {"path": "/store", "size": "1GiB"}, "journal": {"path": "/log"},
    }));
    let mut files = Vec::new();
    crate::schema::Value::files(&conf, &mut files);
    assert!(files.is_empty(), "{files:?}");
}
