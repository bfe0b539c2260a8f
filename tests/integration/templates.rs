//! Placeholders in headers, redirects, rewrites, bodies and the log.

use std::process::Command;

use crate::support::{Origin, Proxy, proxy::config_of};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]\n";

/// A proxy whose one route has these keys besides its upstream.
fn proxied(origin: &Origin, listener: &str, route: &str) -> Proxy {
    let text = config_of(&[origin.address().to_string()], listener, "");
    Proxy::start(&text.replace("upstream = \"u\"\n", &format!("upstream = \"u\"\n{route}\n")))
}

/// A proxy whose routes these are.
fn own(routes: &str, more: &str) -> Proxy {
    Proxy::start(&format!(
        "[runtime]\nworkers = 1\n[log]\nformat = \"json\"\n{more}\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         {TRUSTED}{routes}"
    ))
}

#[test]
fn fields_of_requests_and_responses_are_filled_in() {
    let origin = Origin::named("hello");
    let proxy = proxied(
        &origin,
        "",
        "paths = ['~^/users/([0-9]+)', '/*']\n\
         request_headers = { set = { x-real-ip = '{client_ip}', x-user = '{path.1}', x-plain = 'a' }, \
         set_if_missing = { x-theirs = 'mine' }, add = { x-by = '{listener}/{route}' } }\n\
         response_headers = { set = { x-id = '{request_id}', x-from = '{backend}', x-asked = '{method} {query.q}' } }",
    );
    let response = proxy.connect().get_with(
        "/users/7?q=a%0d%0aset-cookie:+x",
        "a.example",
        "X-Real-IP: 6.6.6.6\r\nX-User: admin\r\nX-Theirs: yes\r\n",
    );
    assert_eq!(response.status, 200);
    let request = origin.last();
    for (name, value) in [
        ("x-real-ip", "127.0.0.1"),
        ("x-user", "7"),
        ("x-plain", "a"),
        ("x-theirs", "yes"),
        ("x-by", "web/all"),
    ] {
        assert_eq!(request.all(name), [value], "{name}");
    }
    assert_eq!(response.header("x-from"), Some("b0"));
    assert_eq!(response.header("x-asked"), Some("GET aset-cookie: x"));
    assert_eq!(response.header("set-cookie"), None, "no value begins a field");
    assert_eq!(response.header("x-id"), request.header("x-request-id"));
    // What a client says stands for nothing that is not there.
    proxy.connect().get_with("/other", "a", "X-User: admin\r\n");
    assert_eq!(origin.last().header("x-user"), None);
    assert_eq!(origin.last().header("x-theirs"), Some("mine"));
}

#[test]
fn responses_of_our_own_are_filled_in_and_escaped() {
    let proxy = own(
        "[[route]]\nname = \"html\"\npaths = [\"/html\"]\n\
         respond = { status = 200, body = '<p>{query.name} of {client_ip}</p>', content_type = \"text/html\" }\n\
         response_headers = { set = { x-route = '{route}' } }\n\
         [[route]]\nname = \"json\"\npaths = [\"/json\"]\n\
         respond = { status = 200, body = '{\"you\":\"{header.x-a}\"}', content_type = \"application/json\" }\n\
         [[route]]\nname = \"plain\"\npaths = [\"/plain\"]\nrespond = { status = 200, body = 'a {1} {{host}' }\n",
        "",
    );
    let mut client = proxy.connect();
    let html = client.get("/html?name=%3Cscript%3E");
    assert_eq!(html.text(), "<p>&lt;script&gt; of 127.0.0.1</p>");
    assert_eq!(html.header("x-route"), Some("html"));
    assert_eq!(client.get_with("/json", "a", "X-A: \"a\\b\"\r\n").text(), "{\"you\":\"\\\"a\\\\b\\\"\"}");
    assert_eq!(client.get("/plain").text(), "a {1} {host}");
}

#[test]
fn redirects_stay_where_they_are_told_to_go() {
    let proxy = own(
        "[[route]]\nname = \"user\"\npaths = ['~^/u/(?P<name>[^/]+)$']\nredirect = { to = '/users/{path.name}?from={query.from}' }\n\
         [[route]]\nname = \"all\"\nredirect = { to = '{scheme}://{host}/x{path_and_query}' }\n",
        "",
    );
    let mut client = proxy.connect();
    let mut location = |target: &str, fields: &str| {
        client.get_with(target, "a.example", fields).header("location").map(str::to_owned)
    };
    assert_eq!(location("/u/ann?from=a%26b=c%23", "").as_deref(), Some("/users/ann?from=a%26b%3Dc%23"));
    // A trusted proxy says that its client came by TLS.
    assert_eq!(location("/a?b", "X-Forwarded-Proto: https\r\n").as_deref(), Some("https://a.example/x/a?b"));
    assert_eq!(location("/a?b", "").as_deref(), Some("http://a.example/x/a?b"));
}

#[test]
fn rewrites_are_filled_in_and_lead_nowhere_else() {
    let origin = Origin::named("hello");
    let proxy = proxied(
        &origin,
        "",
        "paths = ['~^/t/([^/]*)/(.*)$', '/*']\nrewrite = { path = '/tenants/{header.x-tenant}/{path.1}', host = '{header.x-tenant}.internal' }",
    );
    let mut client = proxy.connect();
    for (target, tenant, path, host) in [
        ("/t/a/b?q=1", "one", "/tenants/one/a?q=1", "one.internal"),
        // Also as a backend reads it that decodes the slash.
        ("/t/a/b", "../admin", "/tenants/a", "a.example"),
        ("/t/a/b", "..", "/tenants/a", "a.example"),
        ("/t/a/b", "a?b#c", "/tenants/a%3Fb%23c/a", "a.example"),
    ] {
        client.get_with(target, "a.example", &format!("X-Tenant: {tenant}\r\n"));
        let request = origin.last();
        assert_eq!((&*request.target, request.header("host")), (path, Some(host)), "{target} {tenant}");
    }
}

#[test]
fn prefixes_and_queries_are_rewritten() {
    let origin = Origin::named("hello");
    let proxy = proxied(
        &origin,
        "",
        "rewrite = { strip_prefix = '/api', add_prefix = '/v2/', query = { set = { ip = '{client_ip}' }, remove = ['debug'], rename = { q = 'search' } } }",
    );
    let mut client = proxy.connect();
    for (target, expected) in [
        ("/api/users?q=a+b&ip=6.6.6.6&debug", "/v2/users?search=a+b&ip=127.0.0.1"),
        ("/api", "/v2/?ip=127.0.0.1"),
        ("/apix", "/v2/apix?ip=127.0.0.1"),
    ] {
        client.get(target);
        assert_eq!(origin.last().target, expected);
    }
}

#[test]
fn lines_of_the_log_have_fields_of_ones_own() {
    let origin = Origin::named("hello");
    let text = config_of(&[origin.address().to_string()], "", "");
    let proxy = Proxy::start(&text.replace(
        "[log]\n",
        "[log]\nfields = { tenant = '{header.x-tenant|lower|default:none}', at = '{backend}' }\n",
    ));
    proxy.connect().get_with("/first", "a", "X-Tenant: A\"B\r\n");
    proxy.connect().get("/second");
    let line = proxy.logged("/first");
    assert_eq!((line["tenant"].as_str(), line["at"].as_str()), (Some("a\"b"), Some("b0")), "{line}");
    assert_eq!(proxy.logged("/second")["tenant"], "none");
}

#[test]
fn explain_shows_what_placeholders_give() {
    let folder = crate::support::proxy::folder();
    let file = folder.join("pointsman.toml");
    let text = config_of(&["127.0.0.1:9".to_owned()], "", "");
    let text = text.replace(
        "upstream = \"u\"\n",
        "upstream = \"u\"\nrequest_headers = { set = { x-ip = '{client_ip}' } }\n",
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let command = command.args(["explain", "--from", "192.0.2.7", "GET", "http://a/", "--config"]).arg(&file);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("x-ip: 192.0.2.7"), "{text}");
    std::fs::remove_dir_all(folder).unwrap();
}
