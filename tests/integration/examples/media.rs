//! Programs whose users talk to each other, and at home.

use std::fs;

use super::{Example, backend, plain, with_fields};
use crate::support::tls;

#[test]
fn mastodon_has_its_files_its_streams_and_its_cache() {
    let puma = backend("puma", |request| match request.target.as_str() {
        "/broken" => with_fields("500 Internal Server Error", "", "its own words"),
        "/@private" => with_fields("200 OK", "Cache-Control: private, no-store\r\n", "mine"),
        _ => None,
    });
    let streaming = plain("streaming");
    let folder = tls::folder();
    let public = folder.join("public");
    for (name, text) in [
        ("packs/app-1f2e.js", "x".repeat(4096)),
        ("system/media/cat.png", "png".into()),
        ("sw.js", "worker".into()),
        ("emoji/a.svg", "<svg/>".into()),
        ("500.html", "sorry".into()),
    ] {
        fs::create_dir_all(public.join(name).parent().unwrap()).unwrap();
        fs::write(public.join(name), text).unwrap();
    }
    let backends =
        [("127.0.0.1:3000", puma.address().to_string()), ("127.0.0.1:4000", streaming.address().to_string())];
    let texts = [("/home/mastodon/live/public", public.to_str().unwrap())];
    let example = Example::start_with("mastodon", folder, &backends, &texts);
    assert!(example.is_sent_to_tls("social.example"));
    let page = |args: &[&str]| example.curl("https://social.example/@somebody", args);
    let first = page(&[]);
    assert!(first.text().starts_with("puma\nGET /@somebody"), "{}", first.text());
    assert!(first.text().to_lowercase().contains("x-forwarded-proto: https"));
    assert_eq!(first.header("strict-transport-security"), Some("max-age=63072000; includeSubDomains"));
    assert_eq!(page(&[]).text(), first.text());
    assert_eq!(puma.requests().len(), 1, "the second is stored");
    page(&["-H", "Cookie: _session_id=1"]);
    assert_eq!(puma.requests().len(), 2, "who has logged in is asked for");
    for count in [3, 4] {
        assert_eq!(example.get("https://social.example/@private").text(), "mine");
        assert_eq!(puma.requests().len(), count);
    }
    assert!(example.socket("social.example", "/api/v1/streaming").ends_with("streaming speaks"));
    let pack = example.curl("https://social.example/packs/app-1f2e.js", &["-H", "Accept-Encoding: gzip"]);
    assert_eq!(pack.header("content-encoding"), Some("gzip"));
    assert_eq!(pack.header("cache-control"), Some("public, max-age=2419200, immutable"));
    let media = example.get("https://social.example/system/media/cat.png");
    assert_eq!((&*media.text(), media.header("x-content-type-options")), ("png", Some("nosniff")));
    assert!(media.header("content-security-policy").unwrap().contains("default-src 'none'"));
    let worker = example.get("https://social.example/sw.js");
    assert_eq!(worker.header("cache-control"), Some("public, max-age=604800, must-revalidate"));
    assert_eq!(example.get("https://social.example/system/none.png").status, 404);
    let broken = example.get("https://social.example/broken");
    assert_eq!(broken.status, 500);
    assert!(!broken.text().contains("its own words"), "{}", broken.text());
    let large = "POST /api/v2/media HTTP/1.1\r\nHost: social.example\r\nContent-Length: 104857600\r\nConnection: close\r\n\r\n";
    assert!(example.raw(large).starts_with("HTTP/1.1 413"));
}

#[test]
fn home_assistant_keeps_its_socket_and_bounds_webhooks() {
    let origin = plain("home");
    let example = Example::start("home-assistant", &[("127.0.0.1:8123", &origin)]);
    assert!(example.is_sent_to_tls("home.example.com"));
    assert!(example.socket("home.example.com", "/api/websocket").ends_with("home speaks"));
    assert!(example.socket("home.example.com", "/api/hassio_ingress/abc/ws").ends_with("home speaks"));
    let head = origin.requests()[0].clone();
    assert_eq!(head.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.header("x-forwarded-proto"), Some("https"));
    assert!(example.get("https://home.example.com/lovelace").text().starts_with("home\nGET /lovelace"));
    let hook = "POST /api/webhook/abc HTTP/1.1\r\nHost: home.example.com\r\nContent-Length: 70000\r\nConnection: close\r\n\r\n";
    assert!(example.raw(hook).starts_with("HTTP/1.1 413"));
    assert_eq!(example.get("https://elsewhere.example.com/").status, 404);
}

#[test]
fn a_home_lab_finds_its_programs_by_the_first_label() {
    let (whoami, jellyfin, router) = (plain("whoami"), plain("jellyfin"), plain("router"));
    let paperless = backend("paperless", |request| match request.target.as_str() {
        "/login" => with_fields("302 Found", "Location: /dashboard\r\nSet-Cookie: s=1; Path=/\r\n", ""),
        _ => None,
    });
    let folder = tls::folder();
    fs::create_dir_all(folder.join("acme/.well-known/acme-challenge")).unwrap();
    fs::write(folder.join("acme/.well-known/acme-challenge/token"), "token.key").unwrap();
    let backends = [
        ("127.0.0.1:8081", &whoami),
        ("127.0.0.1:8096", &jellyfin),
        ("127.0.0.1:8000", &paperless),
        ("127.0.0.1:8082", &router),
    ];
    let backends = backends.map(|(address, origin)| (address, origin.address().to_string()));
    let acme = folder.join("acme");
    let texts = [("/var/www/acme", acme.to_str().unwrap())];
    let example = Example::start_with("home-lab-from-traefik", folder, &backends, &texts);
    for (host, name) in
        [("whoami.example.com", "whoami"), ("whoami.lan", "whoami"), ("jellyfin.a.example", "jellyfin")]
    {
        let response = example.get(&format!("https://{host}/a"));
        assert!(response.text().starts_with(name), "{host}: {}", response.text());
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{host}");
    }
    let token = example.get("http://whoami.lan/.well-known/acme-challenge/token");
    assert_eq!((token.status, &*token.text()), (200, "token.key"));
    assert!(example.is_sent_to_tls("whoami.lan"));
    assert!(example.get("https://home.example.com/paperless/docs").text().contains("GET /docs "));
    let login = example.get("https://home.example.com/paperless/login");
    assert_eq!(login.header("location"), Some("/paperless/dashboard"));
    assert_eq!(login.header("set-cookie"), Some("s=1; Path=/paperless"));
    assert_eq!(example.stranger("https://home.example.com/paperless/docs").status, 403);
    assert!(example.get("https://router.lan/").text().to_lowercase().contains("host: fritz.box\r\n"));
    assert_eq!(example.stranger("https://router.lan/").status, 403);
    let nothing = example.get("https://other.lan/");
    assert_eq!((nothing.status, &*nothing.text()), (404, "other.lan is not here\n"));
}

#[test]
fn nextcloud_moves_within_its_path() {
    let origin = backend("cloud", |request| match request.target.as_str() {
        "/index.php/login" => {
            with_fields("303 See Other", "Location: /apps/files\r\nX-Powered-By: PHP\r\n", "")
        }
        _ => None,
    });
    let example = Example::start("nextcloud", &[("127.0.0.1:8080", &origin)]);
    for (path, to) in [
        ("/.well-known/carddav", "/cloud/remote.php/dav/"),
        ("/.well-known/caldav", "/cloud/remote.php/dav/"),
        ("/.well-known/webfinger?resource=acct:a", "/cloud/index.php/.well-known/webfinger?resource=acct:a"),
    ] {
        let response = example.get(&format!("https://www.example.com{path}"));
        assert_eq!((response.status, response.header("location")), (301, Some(to)), "{path}");
        assert_eq!(response.header("x-robots-tag"), Some("noindex, nofollow"), "{path}");
    }
    let login = example.get("https://www.example.com/cloud/index.php/login");
    assert_eq!((login.header("location"), login.header("x-powered-by")), (Some("/cloud/apps/files"), None));
    let to = "Destination: https://www.example.com/cloud/remote.php/dav/files/a/new%20name.txt";
    let url = "https://www.example.com/cloud/remote.php/dav/files/a/old.txt";
    example.curl(url, &["-X", "MOVE", "-H", to]);
    // Health checks come when they come.
    let asked = || origin.requests().into_iter().filter(|request| request.target != "/status.php");
    let moved = asked().next_back().unwrap();
    assert_eq!((&*moved.method, &*moved.target), ("MOVE", "/remote.php/dav/files/a/old.txt"));
    assert_eq!(moved.header("destination"), Some("/remote.php/dav/files/a/new%20name.txt"));
    assert_eq!(example.get("https://www.example.com/cloud/data/a").status, 404);
    assert_eq!(example.get("https://www.example.com/cloud/config/config.php").status, 404);
    let before = asked().count();
    assert_eq!(example.get("https://www.example.com/cloud/%64ata/a").status, 404, "another spelling");
    assert_eq!(asked().count(), before);
}
