//! Sites whose pages are kept.

use std::fs;

use super::{Example, backend, with_fields};
use crate::support::tls;

#[test]
fn wordpress_keeps_pages_of_who_has_not_logged_in() {
    let origin = backend("wordpress", |request| match request.target.as_str() {
        "/with-cookie/" => with_fields("200 OK", "Set-Cookie: a=b\r\n", "mine"),
        _ => None,
    });
    let folder = tls::folder();
    let site = folder.join("site");
    for (name, text) in [
        ("wp-content/themes/t/style.css", "a{}"),
        ("wp-content/plugins/p/p.php", "<?php secret"),
        ("wp-content/uploads/2026/evil.php", "<?php evil"),
        ("wp-content/uploads/2026/cat.jpg", "jpg"),
    ] {
        fs::create_dir_all(site.join(name).parent().unwrap()).unwrap();
        fs::write(site.join(name), text).unwrap();
    }
    let backends = [("127.0.0.1:8080", origin.address().to_string())];
    let texts = [("/var/www/wordpress", site.to_str().unwrap())];
    let example = Example::start_with("wordpress", folder, &backends, &texts);
    assert!(example.is_sent_to_tls("blog.example.com"));
    let page = |path: &str, args: &[&str]| example.curl(&format!("https://blog.example.com{path}"), args);
    let asked = |path: &str, args: &[&str]| {
        let before = origin.requests().len();
        assert_eq!(page(path, args).status, 200, "{path}");
        origin.requests().len() - before
    };
    assert_eq!((asked("/hello/", &[]), asked("/hello/", &[]), asked("/hello/", &[])), (1, 0, 0));
    let cookies = ["wordpress_logged_in_1a2b=x", "a=b; wp-postpass_1a2b=x", "comment_author_1a2b=x"];
    for cookie in cookies.map(|cookie| format!("Cookie: {cookie}")) {
        assert_eq!(
            (asked("/hello/", &["-H", &cookie]), asked("/hello/", &["-H", &cookie])),
            (1, 1),
            "{cookie}"
        );
    }
    assert_eq!(asked("/hello/", &["-H", "Cookie: other=wordpress_logged_in_"]), 0);
    assert_eq!((asked("/?p=1&preview=true", &[]), asked("/?p=1&preview=true", &[])), (1, 1));
    assert_eq!((asked("/with-cookie/", &[]), asked("/with-cookie/", &[])), (1, 1));
    assert_eq!((asked("/wp-admin/", &[]), asked("/wp-admin/", &[])), (1, 1));
    assert_eq!((asked("/wp-comments-post.php", &["-d", "a=b"]), asked("/wp-json/x", &[])), (1, 1));
    assert_eq!(page("/wp-content/themes/t/style.css", &[]).text(), "a{}");
    assert_eq!(page("/wp-content/uploads/2026/cat.jpg", &[]).header("content-type"), Some("image/jpeg"));
    // A program's text is nobody's.
    assert!(page("/wp-content/plugins/p/p.php", &[]).text().starts_with("wordpress\n"));
    for path in ["/xmlrpc.php", "/wp-config.php", "/wp-content/uploads/2026/evil.php"] {
        assert_eq!(page(path, &["-d", "x"]).status, 404, "{path}");
    }
}
