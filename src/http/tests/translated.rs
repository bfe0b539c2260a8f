//! What responses say of places, as clients know them: from a backend and from a cache.

use super::stage::{Act, Stage, run};

const ROUTE: &str = "[[route]]\nname = \"wiki\"\nupstream = \"app\"\n\
    rewrite = { strip_prefix = \"/wiki\", responses = true }\n";
const CACHE: &str = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n";

/// The one that is asked is known by its name; of what is stored, and of a fetch that others may read, that is not known.
#[test]
fn own_name_of_a_backend_reaches_no_client() {
    let moved = b"HTTP/1.1 301 Moved\r\nCache-Control: max-age=60\r\nLocation: http://B/login\r\n\
        Set-Cookie: c=d; Path=/; Domain=b\r\nContent-Length: 0\r\n\r\n";
    let get = b"GET /wiki/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let cached = format!("{CACHE}store_set_cookie = true\n{ROUTE}cache = \"pages\"\n");
    let with_cookie = b"GET /wiki/ HTTP/1.1\r\nHost: a\r\nCookie: e=f\r\nConnection: close\r\n\r\n";
    for (routes, asked) in [(ROUTE, 3), (&*cached, 1)] {
        run(async || {
            let stage = Stage::new("", routes, &[Act::Send(moved)]);
            for request in [&get[..], get, with_cookie] {
                let answer = stage.talk(request).await.to_ascii_lowercase();
                assert!(answer.contains("\r\nlocation: http://a/wiki/login\r\n"), "{answer}");
                assert!(answer.contains("\r\nset-cookie: c=d; path=/wiki\r\n"), "{answer}");
            }
            assert_eq!(stage.backend.requests.borrow().len(), asked, "{routes}");
        });
    }
}
