//! Servers of gRPC that come and go under load, and many streams at once. Little on every run; `tests/soak/calling` has
//! much.

use std::{fs, process::Command};

use super::grpc::{H2, Python, server};
use crate::{
    collapse::metric,
    support::{
        Proxy, eventually,
        proxy::{config, folder},
    },
};

/// What is logged of a server that says that it will go.
const LEAVING: &str = "backend is down: 1 check failed: NOT_SERVING";

fn of(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |count| count.parse().unwrap())
}

fn terminate(server: &Python) {
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

/// One of two is restarted `POINTSMAN_GRPC_RESTARTS` times, or 5, by turns, as servers are in good order: it is not
/// serving any more by what its health service says, then it sends GOAWAY and ends what is under way.
#[test]
fn servers_that_are_restarted_lose_no_call() {
    let restarts = of("POINTSMAN_GRPC_RESTARTS", 5);
    let (Some(one), Some(two)) = (server("one"), server("two")) else { return };
    let options = format!(
        "{H2}[upstream.health_check]\nkind = \"grpc\"\nservice = \"t.T\"\ninterval = \"50ms\"\ntimeout = \"10s\"\n\
         fall = 1\nrise = 1\n[admin]\naddress = \"127.0.0.1:0\"\n"
    );
    // A file, which is read once at the end: lines of the other log are waited for.
    let folder = folder();
    let file = folder.join("access.log");
    let logged = format!("[log]\naccess = \"{}\"\n", file.display());
    let text = config(&[one.1, two.1], &options).replace("[log]\n", &logged);
    let proxy = Proxy::start_in(folder, &text);
    let length = || fs::metadata(&file).map_or(0, |file| file.len());
    let mut servers = [(one, "one"), (two, "two")];
    let mut client = Python::case("lasts", &proxy);
    assert_eq!(client.line(), "begun");
    for restart in 0..restarts {
        let index = restart % 2;
        let ((leaving, address), name) = &mut servers[index];
        // Both are called: some hundred calls go to them in turn.
        let before = length();
        eventually("calls go on", || length() > before + 50_000);
        let (downs, ups) = (proxy.count_logged(LEAVING), proxy.count_logged("backend is up"));
        terminate(leaving);
        proxy.until_logged(LEAVING, downs + 1);
        // A worker may have picked it a moment before, and the library would answer that call with CANCELLED.
        let under_way = format!("pointsman_backend_in_flight{{upstream=\"u\",backend=\"b{index}\"");
        eventually("nothing is under way", || metric(&proxy, &under_way) == 0);
        terminate(leaving);
        eventually("it ends", || leaving.child.try_wait().unwrap().is_some());
        let port = address.port().to_string();
        *leaving = Python::start(&["serve", name, &port]).unwrap().listening().0;
        proxy.until_logged("backend is up", ups + 1);
    }
    client.go_on();
    let last = client.good();
    println!("{restarts} restarts: {last}");
    assert!(last.ends_with("of one two"), "{last}");
    let lines = fs::read_to_string(&file).unwrap();
    let failed: Vec<_> = lines.lines().filter(|line| line.contains("\"error\":")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_killed_server_fails_its_own_streams_with_14() {
    let (Some((mut first, one)), Some((_second, two))) = (server("one"), server("two")) else { return };
    let text = config(&[one, two], H2).replace("workers = 2", "workers = 1");
    let proxy = Proxy::start(&text);
    let mut client = Python::case("drips", &proxy);
    assert_eq!(client.line(), "open");
    first.child.kill().unwrap();
    let ends: Vec<String> = (0..20).map(|_| client.line()).collect();
    let count = |end: &str| ends.iter().filter(|it| *it == end).count();
    // They went to both in turn.
    assert_eq!((count("one: UNAVAILABLE"), count("two: whole, 99")), (10, 10), "{ends:?}");
}

/// `POINTSMAN_GRPC_STREAMS`, or 200, over four connections.
#[test]
fn many_streams_of_grpc_are_open_at_once() {
    let streams = of("POINTSMAN_GRPC_STREAMS", 200);
    let Some(server) = Python::script("grpc_streams.py", &["serve"]) else { return };
    let (_server, address) = server.listening();
    let own = format!("http2 = {{ max_concurrent_streams = {} }}\n", streams.div_ceil(4));
    let text = config(&[address], H2).replacen(
        "address = \"127.0.0.1:0\"\n",
        &format!("address = \"127.0.0.1:0\"\ntimeouts = {{ body = \"10m\" }}\n{own}"),
        1,
    );
    let text = text.replacen("protocol = \"h2\"\n", "protocol = \"h2\"\nbody_timeout = \"10m\"\n", 1);
    let proxy = Proxy::start(&text);
    let before = proxy.memory();
    let target = proxy.address("web").to_string();
    let mut client = Python::script("grpc_streams.py", &["ask", &target, "4", &streams.to_string()]).unwrap();
    let open = client.line();
    assert!(open.starts_with("open after"), "{open}");
    let each = proxy.memory().saturating_sub(before) / streams as u64;
    client.go_on();
    println!("{streams} streams: {open}, {each} bytes each, {}", client.good());
    proxy.until_logged("\"grpc_status\":0", streams);
    assert_eq!(proxy.count_logged("\"error\":"), 0);
}
