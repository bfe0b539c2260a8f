//! Paths that backends read in another way than routes do: no spelling passes by a guard.

use crate::support::{Origin, Proxy, proxy::config_of};

/// A proxy whose route `guard` answers `/admin/*` with 403 before the route `all` takes the rest.
fn guarded(paths: &str) -> (Origin, Proxy) {
    let origin = Origin::named("app");
    let guard = "[[route]]\nname = \"guard\"\npaths = [\"/admin/*\"]\nrespond = { status = 403 }\n\
                 [[route]]\nname = \"api\"\npaths = [\"/api/*\"]\nrewrite = { strip_prefix = \"/api\" }\nupstream = \"u\"\n";
    let listener = format!("[listener.paths]\n{paths}\n");
    let config = config_of(&[origin.address().to_string()], &listener, guard);
    (origin, Proxy::start(&config))
}

fn status(proxy: &Proxy, target: &str) -> u16 {
    proxy.connect().get_with(target, "a", "").status
}

#[test]
fn no_spelling_of_a_path_passes_by_a_guard() {
    let (origin, proxy) = guarded("");
    for (target, expected) in [
        ("/admin/x", 403),
        ("//admin/x", 403),
        ("/admin//x", 403),
        ("///admin", 403),
        ("/./admin/x", 403),
        ("/x/../admin/x", 403),
        ("/x/%2e%2e/admin/x", 403),
        ("//x/..//admin/x", 403),
        ("/x/..%2fadmin/x", 400),
        ("/x%2F..%2Fadmin/x", 400),
        ("/x/..%5cadmin", 400),
        ("/admin%2Fx", 400),
        ("/admin%5Cx", 400),
        ("/%2Fadmin/x", 400),
        ("/admin;/x", 400),
        ("/admin;a=b/x", 400),
        ("/;/admin/x", 400),
        ("/x/..;/admin/x", 400),
        ("/x/..;a=b/admin/x", 400),
        ("/x/.;/y", 400),
        ("/admin;", 400),
        // Parameters are dropped before slashes are decoded, or after.
        ("/;%2Fx/admin/x", 400),
        ("/;%5Cx/admin/x", 400),
        ("/admin;%2Fq/x", 400),
        ("http://a//admin/x", 403),
    ] {
        assert_eq!(status(&proxy, target), expected, "{target}");
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    assert_eq!(proxy.logged("/admin;/x")["error"], "malformed");
}

#[test]
fn paths_that_pass_by_nothing_go_on_as_they_came() {
    let (origin, proxy) = guarded("");
    for target in [
        "/projects/group%2Fproject",
        "/a//b",
        "//cdn/http://other/x",
        "/cars;color=red/x",
        "/x;jsessionid=1?a=%2F..%2F;b",
        "/%252Fadmin",
        "/x%5Cy",
        "/a;b/..b/c",
        "/a%2F..b",
    ] {
        assert_eq!(status(&proxy, target), 200, "{target}");
        assert_eq!(origin.last().target, target);
    }
    // A prefix is stripped of the path that was matched.
    assert_eq!(status(&proxy, "//api//v1/a%2Fb"), 200);
    assert_eq!(origin.last().target, "//v1/a%2Fb");
    assert_eq!(status(&proxy, "/api//v1"), 200);
    assert_eq!(origin.last().target, "//v1");
}

#[test]
fn encoded_slashes_are_decoded_or_refused_as_configured() {
    let (origin, proxy) = guarded("encoded_slash = \"decode\"");
    for target in ["/admin%2Fx", "/x/..%2fadmin/x", "/%2Fadmin/x"] {
        assert_eq!(status(&proxy, target), 403, "{target}");
    }
    assert_eq!(status(&proxy, "/x%5C..%5Cadmin"), 400);
    assert_eq!(status(&proxy, "/group%2fproject?x=%2F"), 200);
    assert_eq!(origin.last().target, "/group/project?x=%2F");
    let (origin, proxy) = guarded("encoded_slash = \"refuse\"");
    for target in ["/group%2Fproject", "/x%5cy"] {
        assert_eq!(status(&proxy, target), 400, "{target}");
    }
    assert!(origin.requests().is_empty());
    assert_eq!(status(&proxy, "/x?y=%2F"), 200);
}

#[test]
fn slashes_are_kept_apart_where_a_listener_says_so() {
    let (origin, proxy) = guarded("merge_slashes = false");
    assert_eq!(status(&proxy, "//admin/x"), 200);
    assert_eq!(origin.last().target, "//admin/x");
    assert_eq!(status(&proxy, "/admin//x"), 403);
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .arg("check")
        .arg("--config")
        .arg(proxy.folder().join("pointsman.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success() && said.contains("`//admin`") && said.contains("`guard`"), "{said}");
}

#[test]
fn http2_paths_pass_by_no_guard() {
    let (origin, proxy) = guarded("");
    for (target, expected) in
        [("//admin/x", "403"), ("/admin%2Fx", "400"), ("/admin;/x", "400"), ("/x/..;/y", "400")]
    {
        let address = proxy.address("web");
        let output = std::process::Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--http2-prior-knowledge", "--path-as-is"])
            .arg(format!("http://{address}{target}"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{target}");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_guard_takes_its_path_in_every_spelling() {
    let origin = Origin::named("app");
    let guard = "[[route]]\nname = \"guard\"\nrespond = { status = 403 }\n\
        paths = [\"/assets/@private/*\", \"/wiki/Special:Export\", \"/caf%c3%a9/*\", \"/%41b\", \"/a|b/*\", \"/a+b%20c\"]\n\
        [[route]]\nname = \"scope\"\npaths = [\"/%40npm/*\"]\nrewrite = { strip_prefix = \"/%40npm\" }\nupstream = \"u\"\n";
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], "", guard));
    for target in [
        "/assets/@private/x",
        "/assets/%40private/x",
        "/assets//%40private",
        "/wiki/Special:Export",
        "/wiki/Special%3AExport",
        "/wiki/Special%3aExport?page=x",
        "/caf%C3%A9/x",
        "/caf%c3%a9/x",
        "/Ab",
        "/a|b/x",
        "/a%7Cb/x",
        "/a%2Bb%20c",
    ] {
        assert_eq!(status(&proxy, target), 403, "{target}");
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    for (target, forwarded) in [
        ("/x/%40y/%3a|", "/x/%40y/%3A|"),
        ("/@npm/a%2Fb", "/a%2Fb"),
        ("/%40npm/a%2Fb", "/a%2Fb"),
        ("/%40npm/a%2Bb%3Bc%26d//e", "/a%2Bb%3Bc%26d//e"),
        ("/assets/%2540private/x", "/assets/%2540private/x"),
    ] {
        assert_eq!(status(&proxy, target), 200, "{target}");
        assert_eq!(origin.last().target, forwarded);
    }
}

#[test]
fn no_destination_leads_out_of_a_prefix() {
    for rewrite in ["add_prefix = \"/tenants/a\"", "path = \"/tenants/a{path}\""] {
        let origin = Origin::named("app");
        let tenant = format!(
            "[[route]]\nname = \"tenant\"\nhosts = [\"a\"]\nupstream = \"u\"\nrewrite = {{ {rewrite} }}\n"
        );
        let proxy = Proxy::start(&config_of(&[origin.address().to_string()], "", &tenant));
        let copied = |field: &str| {
            let mut client = proxy.connect();
            client.send(format!("COPY /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
            client.response("COPY").status
        };
        for field in [
            "Destination: /../b/stolen.txt",
            "Destination: http://a/%2e%2e/b/stolen.txt",
            "Destination: /..%2fb",
            "Destination: http://backend/b/stolen.txt",
            "Destination: /x\r\nDestination: /../b",
        ] {
            assert_eq!(copied(field), 400, "{field}");
        }
        assert!(origin.requests().is_empty(), "{:?}", origin.requests());
        assert_eq!(copied("Destination: http://a/y/../z"), 200);
        let asked = origin.last();
        assert_eq!((&*asked.target, asked.header("destination")), ("/tenants/a/x", Some("/tenants/a/z")));
    }
}
