//! Programs that people log in to.

use super::{Example, plain};
use crate::support::{Origin, eventually, nobody, tls};

#[test]
fn programs_that_watch_share_a_host() {
    let (grafana, prometheus, alertmanager) = (plain("grafana"), plain("prometheus"), plain("alertmanager"));
    let example = Example::start(
        "monitoring",
        &[("127.0.0.1:3000", &grafana), ("127.0.0.1:9090", &prometheus), ("127.0.0.1:9093", &alertmanager)],
    );
    assert!(example.is_sent_to_tls("monitor.example.com"));
    let start = example.get("https://monitor.example.com/");
    assert_eq!((start.status, start.header("location")), (302, Some("/grafana/")));
    for (path, seen) in [
        ("/grafana/d/abc?orgId=1", "grafana\nGET /grafana/d/abc?orgId=1 "),
        ("/prometheus/api/v1/query?query=up", "prometheus\nGET /prometheus/api/v1/query?query=up "),
        ("/alertmanager/api/v2/alerts", "alertmanager\nGET /api/v2/alerts "),
    ] {
        let response = example.get(&format!("https://monitor.example.com{path}"));
        assert!(response.text().starts_with(seen), "{path}: {}", response.text());
    }
    assert!(example.socket("monitor.example.com", "/grafana/api/live/ws").ends_with("grafana speaks"));
    for path in ["/prometheus/-/reload", "/prometheus/api/v1/admin/tsdb/delete_series", "/prometheus//-/quit"]
    {
        let refused = example.curl(&format!("https://monitor.example.com{path}"), &["-X", "POST"]);
        assert_eq!(refused.status, 403, "{path}");
    }
    assert_eq!(example.stranger("https://monitor.example.com/prometheus/graph").status, 403);
    assert_eq!(example.stranger("https://monitor.example.com/alertmanager/").status, 403);
    assert_eq!(example.stranger("https://monitor.example.com/grafana/").status, 200);
}

#[test]
fn keycloak_shows_strangers_its_logins_only() {
    let (one, two) = (plain("kc1"), plain("kc2"));
    let backends =
        [("127.0.0.1:8080", one.address().to_string()), ("127.0.0.2:8080", two.address().to_string())];
    let example = Example::start_with("keycloak", tls::folder(), &backends, &[("port = 9000\n", "")]);
    let first =
        example.curl("https://login.example.com/realms/a/account", &["-H", "X-Forwarded-For: 1.2.3.4"]);
    let head = first.text().to_lowercase();
    assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n"), "what strangers say is not believed: {head}");
    assert!(
        head.contains("x-forwarded-proto: https\r\n")
            && head.contains("x-forwarded-host: login.example.com\r\n")
    );
    let cookie = first.header("set-cookie").unwrap();
    assert!(cookie.starts_with("KC_ROUTE=") && cookie.contains("SameSite=None") && cookie.contains("Secure"));
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    for _ in 0..4 {
        let again = example.curl("https://login.example.com/realms/a/account", &["-H", &cookie]);
        assert_eq!(again.text()[..3], first.text()[..3]);
    }
    for path in ["/admin/master/console/", "/metrics", "/health/ready", "/", "/realms/../admin/"] {
        assert_eq!(example.get(&format!("https://login.example.com{path}")).status, 404, "{path}");
    }
    assert_eq!(example.get("https://login-admin.example.com/admin/master/console/").status, 200);
    assert_eq!(example.stranger("https://login-admin.example.com/admin/master/console/").status, 403);
}

#[test]
fn a_shop_goes_on_as_haproxy_had_it() {
    let names = ["shop1", "shop2", "reserve"];
    let shops: Vec<Origin> = names.map(plain).into();
    let (api, next) = (plain("api"), plain("next"));
    let example = Example::start(
        "shop-from-haproxy",
        &[
            ("127.0.0.1:8001", &shops[0]),
            ("127.0.0.1:8002", &shops[1]),
            ("127.0.0.1:8003", &shops[2]),
            ("127.0.0.1:8011", &api),
            ("127.0.0.1:8012", &next),
        ],
    );
    assert!(example.is_sent_to_tls("shop.example.com"));
    let first = example.get("https://www.shop.example.com/cart");
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("SRV="), "{cookie}");
    for _ in 0..6 {
        let again = example.curl("https://shop.example.com/cart", &["-H", &format!("Cookie: {cookie}")]);
        assert_eq!(again.text()[..5], first.text()[..5]);
        assert_eq!(again.header("set-cookie"), None);
    }
    let url = "https://shop.example.com/api/items";
    assert!(example.get(url).text().starts_with("api\n"));
    assert!(example.curl(url, &["-H", "X-Canary: true"]).text().starts_with("next\n"));
    assert!(example.curl(url, &["-H", "X-Canary: no"]).text().starts_with("api\n"));
    let large = "POST /api/items HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 2000000\r\nConnection: close\r\n\r\n";
    assert!(example.raw(large).starts_with("HTTP/1.1 413"));
    assert_eq!(example.get("https://shop.example.com/admin/orders").status, 403);
    let closed = example.get("https://outlet.example.com/");
    assert_eq!((closed.status, closed.header("retry-after")), (503, Some("3600")));
    assert!(closed.text().contains("Closed"));
}

#[test]
fn the_reserve_of_a_shop_comes_last() {
    let reserve = plain("reserve");
    let (dead, gone) = (nobody(), nobody());
    let backends = [
        ("127.0.0.1:8001", dead.to_string()),
        ("127.0.0.1:8002", gone.to_string()),
        ("127.0.0.1:8003", reserve.address().to_string()),
    ];
    let texts = [("interval = \"2s\"", "interval = \"50ms\"")];
    let example = Example::start_with("shop-from-haproxy", tls::folder(), &backends, &texts);
    eventually("the reserve is used", || {
        example.get("https://shop.example.com/").text().starts_with("reserve\n")
    });
    drop(reserve);
    eventually("the page says sorry", || {
        let response = example.get("https://shop.example.com/");
        response.status == 503 && response.header("content-type") == Some("text/html; charset=utf-8")
    });
}
