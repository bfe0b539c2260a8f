//! `alt_svc` of a listener: on each of its responses over TLS, and nowhere else.

use crate::support::{
    Origin, Proxy, Request,
    client::OPENING,
    h2::{Http2, request, run},
    nobody,
    origin::Reply,
    tls::{self, Manner, SECURE, TlsClient},
};

const VALUE: &str = "h3=\":443\"; ma=86400";

/// What every backend says of itself; behind a proxy it is not true.
const OF_BACKEND: &str = "Alt-Svc: h2=\"backend:8443\"\r\n";

fn answer(request: &Request) -> Reply {
    let response = match request.target.as_str() {
        "/stored" => format!(
            "200 OK\r\n{OF_BACKEND}Cache-Control: max-age=60\r\nETag: \"1\"\r\nContent-Length: 2\r\n\r\nok"
        ),
        "/hints" => format!(
            "103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n{OF_BACKEND}Content-Length: 2\r\n\r\nok"
        ),
        "/tunnel" => {
            let head = request.switching();
            return Reply::Take(Box::new(move |connection| connection.send(head)));
        }
        _ => format!("200 OK\r\n{OF_BACKEND}Alt-Svc: clear\r\nContent-Length: 2\r\n\r\nok"),
    };
    Reply::Bytes(format!("HTTP/1.1 {response}").into_bytes())
}

/// Listeners with the option, over TLS without it, and without TLS.
fn start() -> (Origin, Proxy) {
    let origin = Origin::start(answer);
    let text = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nalt_svc = '{VALUE}'\n{SECURE}\
         [[listener]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\n{SECURE}\
         [[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n\
         [[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n\
         [[route]]\nname = \"stored\"\npaths = [\"/stored\"]\nupstream = \"live\"\ncache = \"pages\"\n\
         [[route]]\nname = \"moved\"\npaths = [\"/moved\"]\nredirect = {{ to = \"/new\" }}\n\
         [[route]]\nname = \"own\"\npaths = [\"/own\"]\nrespond = {{ status = 200, body = \"ok\" }}\n\
         [[route]]\nname = \"edited\"\npaths = [\"/edited\"]\nupstream = \"live\"\n\
         response_headers = {{ remove = [\"alt-svc\"] }}\n\
         [[route]]\nname = \"dead\"\npaths = [\"/dead\"]\nupstream = \"dead\"\n\
         [[route]]\nname = \"live\"\npaths = [\"/live\", \"/hints\", \"/tunnel\"]\nupstream = \"live\"\n\
         [[upstream]]\nname = \"dead\"\n[[upstream.backend]]\naddress = \"{}\"\n\
         [[upstream]]\nname = \"live\"\n[[upstream.backend]]\naddress = \"{}\"\n",
        nobody(),
        origin.address()
    );
    (origin, Proxy::start_in(tls::folder(), &text))
}

/// All that comes over TLS in answer to one request.
fn ask(proxy: &Proxy, listener: &str, path: &str, more: &str) -> String {
    let config = Manner::default().config(proxy.folder());
    let client = TlsClient::connect(proxy.address(listener), "localhost", &config).unwrap();
    client.last(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")).unwrap()
}

/// The status and the Alt-Svc of each head that is in there.
fn seen(text: &str) -> Vec<(u16, Vec<&str>)> {
    let heads = text.split("\r\n\r\n").filter(|part| part.trim_start().starts_with("HTTP/1.1 "));
    heads
        .map(|head| {
            let fields = head.lines().filter_map(|line| line.split_once(": "));
            let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case("alt-svc"));
            (head[9..12].parse().unwrap(), values.map(|(_, value)| value).collect())
        })
        .collect()
}

const CLOSE: &str = "Connection: close\r\n";

#[test]
fn an_alternative_is_on_every_response_over_tls() {
    let (origin, proxy) = start();
    for (path, more, status) in [
        ("/live", "", 200),
        ("/stored", "", 200),
        ("/stored", "", 200),
        ("/stored", "If-None-Match: \"1\"\r\n", 304),
        ("/moved", "", 308),
        ("/own", "", 200),
        ("/dead", "", 502),
        ("/nowhere", "", 404),
        ("/live", "Content-Length: x\r\n", 400),
    ] {
        let text = ask(&proxy, "web", path, &format!("{CLOSE}{more}"));
        assert_eq!(seen(&text), [(status, vec![VALUE])], "{path} {more}");
    }
    let asked = origin.requests().iter().filter(|request| request.target == "/stored").count();
    assert_eq!(asked, 1, "the others are hits");
}

#[test]
fn an_alternative_is_on_responses_over_http2() {
    let (_origin, proxy) = start();
    run(async {
        let client = Http2::connect_tls(&proxy).await;
        for (path, status) in [("/live", 200), ("/stored", 200), ("/moved", 308), ("/dead", 502)] {
            let response = client.ask(request("GET", path)).await.unwrap();
            let values: Vec<_> =
                response.headers().get_all("alt-svc").iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!((response.status().as_u16(), values), (status, vec![VALUE]), "{path}");
        }
    });
}

#[test]
fn an_alternative_is_nowhere_else() {
    let (_origin, proxy) = start();
    // Interim responses and a switch of protocols say nothing of it.
    let hints = ask(&proxy, "web", "/hints", CLOSE);
    assert_eq!(seen(&hints), [(103, vec![]), (200, vec![VALUE])]);
    let tunnel = ask(&proxy, "web", "/tunnel", OPENING);
    assert_eq!(seen(&tunnel), [(101, vec![])]);
    // What a route edits comes after it.
    assert_eq!(seen(&ask(&proxy, "web", "/edited", CLOSE)), [(200, vec![])]);
    // Other listeners pass on what the backend says, and say nothing themselves.
    let of_backend = vec!["h2=\"backend:8443\"", "clear"];
    assert_eq!(seen(&ask(&proxy, "other", "/live", CLOSE)), [(200, of_backend.clone())]);
    assert_eq!(seen(&ask(&proxy, "other", "/own", CLOSE)), [(200, vec![])]);
    let mut client = crate::support::Client::connect(proxy.address("plain"));
    assert_eq!(client.get("/own").header("alt-svc"), None);
    let live = client.get("/live");
    let values: Vec<_> =
        live.headers.iter().filter(|(name, _)| name == "alt-svc").map(|(_, value)| value).collect();
    assert_eq!(values, of_backend);
}
