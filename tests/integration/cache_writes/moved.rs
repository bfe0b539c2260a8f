//! Writes of a URI whose route gets another cache, or none, while an earlier one waits.

use super::*;

/// A configuration with those of two caches that are to be there, each with its journal, and what its route has.
fn config_of(folders: [&Path; 2], caches: [bool; 2], origin: SocketAddr, route: &str) -> String {
    let mut config = config(&[origin], "[admin]\naddress = \"127.0.0.1:0\"\n[[cache]]\nname = \"plain\"\n");
    for ((name, folder), _) in
        ["one", "two"].iter().zip(folders).zip(caches).filter(|(_, is_there)| *is_there)
    {
        config += &format!(
            "[[cache]]\nname = {name:?}\nwrite_policy = \"back\"\njournal = {{ path = {folder:?} }}\n\
             write_back = {{ networks = [\"127.0.0.0/8\"], serve = \"all\" }}\n"
        );
    }
    config.replace("upstream = \"u\"", &format!("upstream = \"u\"\n{route}"))
}

/// Else the origin gets the newer one first, and has the older one in the end.
#[test]
fn writes_go_behind_those_that_another_cache_accepted() {
    let (both, other, none) = ([true, true], [false, true], [false, false]);
    thread::scope(|scope| {
        for (caches, route) in [
            (both, "cache = \"two\""),
            (other, "cache = \"two\""),
            (both, ""),
            (both, "mirror = { upstream = \"u\", percent = 0.0 }"),
            (none, ""),
            (none, "cache = \"plain\""),
            (none, "collapse = true"),
        ] {
            scope.spawn(move || assert_order(caches, route));
        }
    });
}

/// Asserts that a write waits for an earlier one when its route has become this, and these caches are left.
fn assert_order(caches: [bool; 2], route: &str) {
    let folders = [proxy::folder(), proxy::folder()];
    let folders = [&*folders[0], &*folders[1]];
    let gate = Gate::default();
    let pass = gate.clone();
    let origin = Origin::start(move |request| {
        if copy_of(request) == Some("older") {
            pass.pass();
        }
        answer(204, "", "")
    });
    let proxy = Proxy::start(&config_of(folders, [true; 2], origin.address(), "cache = \"one\""));
    assert_eq!(put(&mut proxy.connect(), "/a", "older").status, 202, "{route}");
    proxy.edit(&config_of(folders, caches, origin.address(), route));
    proxy.until_logged("configuration in force", 1);
    thread::scope(|scope| {
        let newer = scope.spawn(|| put(&mut proxy.connect(), "/a", "newer").status);
        let other = put(&mut proxy.connect(), "/b", "other").status;
        assert!((200..300).contains(&other), "what waits for another URI holds up nothing: {route}");
        // The origin takes its time for longer than that.
        assert_eq!(newer.join().unwrap(), 503, "{route}");
    });
    let newest = thread::scope(|scope| {
        let newest = scope.spawn(|| put(&mut proxy.connect(), "/a", "newest").status);
        gate.open();
        newest.join().unwrap()
    });
    assert!((200..300).contains(&newest), "{newest}: {route}");
    let arrived = || {
        let all = origin.requests();
        let of_url = all.iter().filter(|it| it.target == "/a" && it.method == "PUT");
        of_url.map(|it| copy_of(it).unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("both are there", || arrived().len() > 1);
    assert_eq!(arrived(), ["older", "newest"], "{route}");
}

fn copy_of(request: &Request) -> Option<&str> {
    request.header("copy")
}
