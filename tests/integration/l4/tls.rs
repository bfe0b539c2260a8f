//! TLS that is passed on by the name that its client asks for.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use super::{connect, lines, logged};
use crate::support::{
    Origin, Proxy, eventually,
    proxy::{config_of, folder},
    tls::{Authority, Manner, TlsClient, certificate},
};

/// Two servers with certificates of their own, and a listener that leads to them by name.
struct World {
    folder: std::path::PathBuf,
    servers: Vec<(Origin, Proxy)>,
    proxy: Proxy,
}

fn server(folder: &Path, name: &'static str) -> (Origin, Proxy) {
    let origin = Origin::named(name);
    let secure = format!(
        "protocol = \"https\"\n[[listener.certificate]]\nchain = \"{name}.pem\"\nkey = \"{name}.key\"\n"
    );
    let own = crate::support::proxy::folder();
    for file in [format!("{name}.pem"), format!("{name}.key")] {
        std::fs::copy(folder.join(&file), own.join(&file)).unwrap();
    }
    let config = config_of(&[origin.address().to_string()], &secure, "");
    (origin, Proxy::start_in(own, &config))
}

impl World {
    fn start(more_routes: &str) -> Self {
        let folder = folder();
        let authority = Authority::new(&folder);
        let servers: Vec<_> = ["one", "two"]
            .into_iter()
            .map(|name| {
                let names = [format!("{name}.test"), format!("a.{name}.test")];
                authority.issue(&folder, name, &names.each_ref().map(String::as_str));
                server(&folder, name)
            })
            .collect();
        let upstreams: String = ["one", "two"]
            .iter()
            .zip(&servers)
            .map(|(name, (_, proxy))| {
                let address = proxy.address("web");
                format!(
                    "[[route]]\nname = \"{name}\"\nlisteners = [\"web\"]\nupstream = \"{name}\"\n\
                     server_names = [\"{name}.test\", \"*.{name}.test\"]\n\
                     [[upstream]]\nname = \"{name}\"\n[[upstream.backend]]\naddress = \"{address}\"\n"
                )
            })
            .collect();
        let config = format!(
            "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"web\"\nprotocol = \"tls\"\naddress = \"127.0.0.1:0\"\n\
             max_connections = 30000\n{upstreams}{more_routes}"
        );
        let proxy = Proxy::start(&config);
        Self { folder, servers, proxy }
    }

    fn ask(&self, name: &str) -> std::io::Result<(String, Vec<u8>)> {
        let manner = Manner { ca: "own-ca.pem", alpn: &["http/1.1"], ..Manner::default() };
        let mut client = TlsClient::connect(self.proxy.address("web"), name, &manner.config(&self.folder))?;
        let text = client.get(name, "/")?;
        Ok((text, client.shown().to_vec()))
    }
}

/// What a connection is answered after these bytes, to its end.
fn answer(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let _ = stream.write_all(bytes);
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    read
}

#[test]
fn the_name_decides_and_no_key_is_needed_here() {
    let world = World::start("");
    for (name, file) in
        [("one.test", "one"), ("two.test", "two"), ("a.two.test", "two"), ("a.one.test", "one")]
    {
        let (text, shown) = world.ask(name).unwrap();
        assert!(text.ends_with(file), "{name}: {text}");
        assert_eq!(shown, certificate(&world.folder.join(format!("{file}.pem"))).to_vec(), "{name}");
    }
    let names: Vec<_> =
        logged(&world.proxy, 4).iter().map(|line| line["server_name"].as_str().unwrap().to_owned()).collect();
    assert!(names.contains(&"a.two.test".to_owned()), "{names:?}");
    assert!(lines(&world.proxy).iter().all(|line| line["protocol"] == "tls"));
}

#[test]
fn a_name_that_leads_nowhere_gets_its_alert() {
    let world = World::start("");
    let error = world.ask("three.test").unwrap_err().to_string();
    assert!(error.contains("UnrecognisedName") || error.contains("unrecognized"), "{error}");
    let log = logged(&world.proxy, 1);
    assert_eq!(
        (log[0]["error"].as_str(), log[0]["server_name"].as_str()),
        (Some("no_route"), Some("three.test"))
    );
    assert!(world.servers.iter().all(|(origin, _)| origin.requests().is_empty()));
}

#[test]
fn what_is_no_tls_gets_an_alert_and_reaches_nobody() {
    let world = World::start("");
    const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];
    for bytes in
        [&b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n"[..], &[22, 3, 1, 0, 4, 2, 0, 0, 0], &[22, 3, 1, 0, 0]]
    {
        assert_eq!(answer(&mut connect(&world.proxy), bytes), DECODE_ERROR, "{bytes:?}");
    }
    assert!(logged(&world.proxy, 3).iter().all(|line| line["error"] == "malformed"));
    // A client that leaves in the middle is told nothing, and costs nothing.
    drop(connect(&world.proxy));
    let mut half = connect(&world.proxy);
    half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    drop(half);
    eventually("it is noticed", || lines(&world.proxy).iter().any(|line| line["error"] == "client_gone"));
    assert_eq!(world.ask("one.test").unwrap().0.lines().next(), Some("HTTP/1.1 200 OK"));
}

#[test]
fn a_route_without_names_takes_all_others() {
    let origin = Origin::named("raw");
    let others = format!(
        "[[route]]\nname = \"others\"\nlisteners = [\"web\"]\nupstream = \"others\"\n\
         [[upstream]]\nname = \"others\"\n[[upstream.backend]]\naddress = \"{}\"\n",
        origin.address()
    );
    let world = World::start(&others);
    assert!(world.ask("three.test").is_err(), "this backend speaks no TLS");
    assert!(world.ask("one.test").unwrap().0.ends_with("one"));
    eventually("it was passed on", || lines(&world.proxy).iter().any(|line| line["route"] == "others"));
}

/// `POINTSMAN_HALF_HELLOS` clients, or 200, that send half a hello and no more.
#[test]
fn half_hellos_do_not_make_others_late() {
    let half = std::env::var("POINTSMAN_HALF_HELLOS").map_or(200, |count| count.parse().unwrap());
    let world = World::start("");
    let address = world.proxy.address("web");
    let asked = |count: usize| {
        let ask = |_| {
            let begun = std::time::Instant::now();
            assert!(world.ask("one.test").unwrap().0.ends_with("one"));
            begun.elapsed()
        };
        let mut times: Vec<_> = (0..count).map(ask).collect();
        times.sort_unstable();
        (times[count / 2], times[count * 99 / 100])
    };
    asked(50);
    let (before, p99_before) = asked(300);
    // A record that says it has 512 bytes of a hello, and has 8.
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 7, 7];
    let open = |index: usize| {
        let from = std::net::Ipv4Addr::new(127, 0, 0, 2 + (index / 5000) as u8);
        let mut client = crate::support::Client::connect_from(from.into(), address);
        client.send(hello);
        client
    };
    let begun = std::time::Instant::now();
    let held: Vec<_> = (0..half).map(open).collect();
    let opened = begun.elapsed();
    let (during, p99_during) = asked(300);
    println!(
        "{half} halves of hellos, opened in {opened:?}: others took {before:?} (p99 {p99_before:?}) before and \
         {during:?} (p99 {p99_during:?}) beside them"
    );
    // Who waited for one of them would wait for the five seconds that it has. Something else may begin to run between.
    assert!(during < before * 5 + std::time::Duration::from_secs(1), "{before:?} and {during:?}");
    drop(held);
    eventually("all of them have ended", || lines(&world.proxy).len() >= half + 650);
}
