//! What is written into the file, and what replaces it.

use super::*;

#[test]
fn a_persisted_change_alters_nothing_else_in_the_file() {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::named("x")).collect();
    let added = origins[2].address();
    let text = config(&addresses(&origins[..2]), ADMIN)
        .replace("[[upstream]]\n", "# the application\n[[upstream]]\n")
        .replace("name = \"b1\"\n", "name = \"b1\"  # the second\n");
    let proxy = Proxy::start(&text);
    let mut expected = text;
    let mut check = |generation_now: u64, change: &dyn Fn(&str) -> String| {
        expected = change(&expected);
        assert_eq!(file(&proxy), expected);
        assert_eq!(generation(&proxy), generation_now);
        assert_eq!(good(&proxy, "GET", "/api/v1/status", "")["overrides"], json!([]));
    };
    let weight = good(&proxy, "PATCH", &format!("{BACKENDS}/b1?persist=true"), "{\"weight\": 3}");
    assert_eq!(
        (&weight["weight"], &weight["override"], &weight["generation"]),
        (&3.into(), &Value::Null, &2.into())
    );
    let line = format!("address = \"{}\"\n", origins[1].address());
    check(2, &|text| text.replace(&line, &format!("{line}weight = 3\n")));
    good(&proxy, "POST", &format!("{BACKENDS}/b0/drain?persist=true"), "");
    let line = format!("address = \"{}\"\n", origins[0].address());
    check(3, &|text| text.replace(&line, &format!("{line}state = \"draining\"\n")));
    let body = format!("{{\"address\": \"{added}\", \"name\": \"c\", \"weight\": 2}}");
    let (status, answer) = ask(&proxy, "POST", &format!("{BACKENDS}?persist=true"), &body);
    assert_eq!((status, &answer["weight"], &answer["generation"]), (201, &2.into(), &4.into()));
    let with = file(&proxy);
    assert!(with.contains(&format!("address = \"{added}\"")) && with.contains("# the second"), "{with}");
    let gone = good(&proxy, "DELETE", &format!("{BACKENDS}/{added}?persist=true"), "");
    assert_eq!((&gone["name"], &gone["generation"]), (&"c".into(), &5.into()));
    check(5, &|text| text.to_owned());
    // An edit by hand: were the writes above taken for edits too, the generation would be another.
    proxy.edit(&format!("{}# by hand\n", file(&proxy)));
    eventually("the edit is seen", || generation(&proxy) > 5);
    assert_eq!(generation(&proxy), 6);
    proxy.until_logged("configuration in force", 5);
    assert_eq!(proxy.count_logged("configuration in force"), 5);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::named("x")).collect();
    let text = config(&addresses(&origins), ADMIN);
    let proxy = Proxy::start(&text);
    let same = format!("{{\"address\": \"{}\"}}", origins[0].address());
    let b0 = &format!("{BACKENDS}/b0");
    for (method, target, body, status, word) in [
        ("POST", &format!("{b0}/drain?persist=yes"), "", 400, "bad_query"),
        ("POST", &format!("{b0}/drain?persits=true"), "", 400, "bad_query"),
        ("POST", &format!("{b0}/drain"), "{}", 400, "unexpected_body"),
        ("POST", &format!("{BACKENDS}/none/drain"), "", 404, "no_such_backend"),
        ("POST", &"/api/v1/upstreams/none/backends/b0/drain".to_owned(), "", 404, "no_such_upstream"),
        ("POST", &format!("{b0}/stop"), "", 404, "not_found"),
        ("GET", &format!("{b0}/drain"), "", 405, "method_not_allowed"),
        ("PATCH", b0, "", 400, "no_body"),
        ("PATCH", b0, "{\"weight\": 3", 400, "bad_json"),
        ("PATCH", b0, "{\"weight\": 65536}", 422, "bad_weight"),
        ("PATCH", b0, "{\"wieght\": 1}", 422, "unknown_key"),
        ("PATCH", b0, "[]", 422, "bad_body"),
        ("POST", &BACKENDS.to_owned(), &same, 409, "backend_exists"),
        ("POST", &BACKENDS.to_owned(), "{\"address\": \"nowhere\"}", 422, "bad_backend"),
        ("POST", &BACKENDS.to_owned(), "{\"name\": \"c\"}", 422, "bad_backend"),
        ("PUT", &"/api/v1/log/level".to_owned(), "{\"level\": \"loud\"}", 422, "bad_level"),
        ("GET", &"/api/v1/explain".to_owned(), "", 400, "bad_query"),
        ("GET", &"/api/v1/connections?limit=1001".to_owned(), "", 400, "bad_query"),
        ("GET", &"/api/v1/status?verbose=1".to_owned(), "", 400, "bad_query"),
    ] {
        assert_eq!(code(&proxy, method, target, body), (status, word.to_owned()), "{method} {target} {body}");
    }
    let wrong = send(&proxy, "PATCH", b0, "Content-Type: text/plain\r\n", "{\"weight\": 3}");
    assert_eq!(wrong.status, 415);
    let long = format!("{{\"weight\": {}3}}", " ".repeat(70_000));
    assert_eq!(code(&proxy, "PATCH", b0, &long), (413, "too_large".to_owned()));
    good(&proxy, "DELETE", &format!("{BACKENDS}/b1"), "");
    for (method, body) in [("DELETE", ""), ("PATCH", "{\"weight\": 0}")] {
        assert_eq!(code(&proxy, method, b0, body), (409, "last_backend".to_owned()));
    }
    assert_eq!((generation(&proxy), file(&proxy)), (2, text));
    assert_eq!(proxy.get("/").text(), "x");
}

#[test]
fn a_configuration_is_read_checked_planned_and_replaced() {
    let origins: Vec<Origin> = (0..2).map(|_| Origin::named("x")).collect();
    let text = config(&addresses(&origins[..1]), ADMIN);
    let proxy = Proxy::start(&text);
    let read = || {
        let response = send(&proxy, "GET", "/api/v1/config", "", "");
        assert_eq!(response.header("content-type"), Some("application/toml"));
        (response.header("etag").unwrap().to_owned(), response.text())
    };
    let put = |tag: &str, text: &str| {
        let fields = format!("{TOML}If-Match: {tag}\r\n");
        send(&proxy, "PUT", "/api/v1/config", &fields, text).status
    };
    let (tag, given) = read();
    assert_eq!(given, text);
    let next = config(&addresses(&origins), ADMIN);
    let broken = text.replace("[[route]]", "[[rout]]");
    assert_eq!(ask(&proxy, "POST", "/api/v1/config/check", &next), (200, json!({"ok": true})));
    assert_eq!(ask(&proxy, "POST", "/api/v1/config/check", ""), (200, json!({"ok": true})));
    for (method, target) in
        [("POST", "/api/v1/config/check"), ("POST", "/api/v1/config/plan"), ("PUT", "/api/v1/config")]
    {
        let (status, answer) = ask(&proxy, method, target, &broken);
        assert_eq!((status, &answer["error"]["code"]), (422, &"bad_config".into()), "{answer}");
        let problem = &answer["problems"][0];
        assert!(problem["line"].as_u64() > Some(1) && problem["message"].is_string(), "{problem}");
    }
    let plan = good(&proxy, "POST", "/api/v1/config/plan", &next);
    assert!(
        plan["backends"].as_array().unwrap().iter().any(|it| it["name"] == "u/b1" && it["change"] == "added"),
        "{plan}"
    );
    assert_eq!((generation(&proxy), read().1), (1, text.clone()), "nothing of this changed anything");
    assert_eq!(put("\"0000000000000000\"", &next), 412);
    assert_eq!(put(&tag, &next), 200);
    let (new_tag, given) = read();
    assert!(given == next && file(&proxy) == next && new_tag != tag && generation(&proxy) == 2);
    assert_eq!(good(&proxy, "GET", "/api/v1/upstreams/u", "")["backends"].as_array().unwrap().len(), 2);
    assert_eq!(put(&tag, &text), 412, "who read it before that must read it again");
    // An edit that is not in force, since it is broken, is not written over unseen.
    proxy.edit(&broken);
    proxy.until_logged("configuration refused", 1);
    assert_eq!((put(&new_tag, &text), file(&proxy)), (412, broken));
    assert_eq!(code(&proxy, "POST", "/api/v1/reload", ""), (422, "bad_config".to_owned()));
    let status = good(&proxy, "GET", "/api/v1/status", "");
    assert!(
        status["reloads"]["failed"].as_u64() >= Some(2) && status["last_reload"]["ok"] == false,
        "{status}"
    );
    assert_eq!(put("*", &text), 200);
    assert_eq!(
        (good(&proxy, "POST", "/api/v1/reload", "")["changed"].clone(), generation(&proxy)),
        (false.into(), 3)
    );
    // Whoever opens the endpoint to everyone without a token is refused, on every way.
    let open = text.replace(ADMIN, "[admin]\naddress = \"0.0.0.0:0\"\n");
    assert_eq!(code(&proxy, "PUT", "/api/v1/config", &open), (422, "bad_config".to_owned()));
    let before = proxy.count_logged("configuration refused");
    proxy.edit(&open);
    proxy.until_logged("configuration refused", before + 1);
    assert_eq!(code(&proxy, "POST", "/api/v1/reload", "").0, 422);
    assert_eq!((generation(&proxy), proxy.get("/").status), (3, 200));
}
