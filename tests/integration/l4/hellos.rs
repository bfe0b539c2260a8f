//! ClientHellos as they come: cut into records and segments, padded, stopped half-way, and broken.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use super::{Server, connect, lines};
use crate::{
    collapse::metric,
    support::{PATIENCE, Proxy, eventually},
};

/// A ClientHello that asks for this name, in one record, padded to about this length (RFC 7685).
fn hello(name: &str, length: usize) -> Vec<u8> {
    let number = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let extension = |kind: u16, value: &[u8]| [&kind.to_be_bytes()[..], &number(value.len()), value].concat();
    let entry = [&[0][..], &number(name.len()), name.as_bytes()].concat();
    let list = [&number(entry.len())[..], &entry].concat();
    let mut extensions = [extension(43, &[2, 3, 4]), extension(0, &list)].concat();
    let padding = length.saturating_sub(extensions.len() + 60);
    extensions.extend(extension(21, &vec![0; padding]));
    let body =
        [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &number(extensions.len()), &extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

/// A message in records of these sizes, the last one over and over.
fn records(mut message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut out, mut sizes, mut size) = (Vec::new(), sizes.iter(), 0);
    while !message.is_empty() {
        size = sizes.next().copied().unwrap_or(size);
        let (record, rest) = message.split_at(size.min(message.len()));
        out.extend([22, 3, 1]);
        out.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        out.extend(record);
        message = rest;
    }
    out
}

const WHOLE: &[usize] = &[1 << 14];

/// A server that says its name and all that it heard, once that ended.
fn server(name: &'static str) -> Server {
    Server::start(move |mut stream| {
        let mut heard = name.as_bytes().to_vec();
        let _ = stream.read_to_end(&mut heard);
        let _ = stream.write_all(&heard);
    })
}

/// Names that lead to servers of their own.
fn named(listener: &str) -> (Proxy, [Server; 2]) {
    let servers = [server("one"), server("two")];
    let mut config = format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\nprotocol = \"tls\"\naddress = \"127.0.0.1:0\"\n{listener}\n"
    );
    for (name, server) in ["one", "two"].iter().zip(&servers) {
        config += &format!(
            "[[route]]\nname = \"{name}\"\nlisteners = [\"web\"]\nupstream = \"{name}\"\n\
             server_names = [\"{name}.test\"]\n[[upstream]]\nname = \"{name}\"\n\
             [[upstream.backend]]\naddress = \"{}\"\n",
            server.address
        );
    }
    (Proxy::start(&config), servers)
}

/// Sends these bytes in segments of this size at most, and gives all that came back.
fn send(proxy: &Proxy, bytes: &[u8], segment: usize) -> Vec<u8> {
    let mut client = connect(proxy);
    client.set_nodelay(true).unwrap();
    for part in bytes.chunks(segment) {
        client.write_all(part).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    let mut read = Vec::new();
    client.read_to_end(&mut read).unwrap();
    read
}

#[test]
fn hellos_of_every_shape_are_routed_and_passed_on_whole() {
    let (proxy, _servers) = named("");
    let name = |message: &[u8]| memchr::memmem::find(message, b".test").unwrap();
    for host in ["one", "two"] {
        let [small, two_segments, long, longest] =
            [0, 1900, 9500, 16_300].map(|length| hello(&format!("{host}.test"), length));
        let shapes: [(&str, Vec<u8>, usize); 13] = [
            ("one record", records(&small, WHOLE), usize::MAX),
            ("two records", records(&small, &[small.len() / 2 + 1]), usize::MAX),
            ("five records", records(&small, &[small.len() / 5 + 1]), usize::MAX),
            ("records cut in the name", records(&small, &[name(&small), 1000]), usize::MAX),
            ("segments cut in the name", records(&small, WHOLE), name(&small) + 5),
            ("segments of one byte", records(&small, WHOLE), 1),
            ("records of one byte", records(&small, &[1]), usize::MAX),
            ("records and segments of one byte", records(&small, &[1]), 1),
            ("segments cut in the record's head", records(&small, &[7]), 3),
            ("1.9 kB", records(&two_segments, WHOLE), 1400),
            ("9.5 kB", records(&long, WHOLE), 1400),
            ("16 kB in records of 1 kB", records(&longest, &[1000]), 700),
            ("9.5 kB in records of one byte", records(&long, &[1]), 1400),
        ];
        for (shape, mut bytes, segment) in shapes {
            bytes.extend_from_slice(&[23, 3, 3, 0, 4, 1, 2, 3, 4]);
            let heard = send(&proxy, &bytes, segment);
            assert_eq!(heard.get(..3), Some(host.as_bytes()), "{shape}");
            assert!(heard[3..] == bytes, "{shape}: {} bytes of {}", heard.len() - 3, bytes.len());
        }
    }
}

/// The times in which nine of ten clients of each were answered. They take turns, so that what else this machine does is
/// alike for both.
fn slowest(proxies: [&Proxy; 2]) -> [Duration; 2] {
    let bytes = records(&hello("one.test", 1900), WHOLE);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..200 {
        for (proxy, times) in proxies.iter().zip(&mut times) {
            let begun = Instant::now();
            assert!(send(proxy, &bytes, usize::MAX).starts_with(b"one"));
            times.push(begun.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[180]
    })
}

#[test]
fn hellos_stopped_half_way_slow_nobody_and_end() {
    const STOPPED: usize = 2000;
    let (proxy, _servers) = named("defer_accept = \"0s\"");
    let (other, _others) = named("defer_accept = \"0s\"");
    slowest([&proxy, &other]);
    let bytes = records(&hello("one.test", 16_000), WHOLE);
    let stopped: Vec<TcpStream> = (0..STOPPED)
        .map(|_| {
            let mut client = connect(&proxy);
            client.write_all(&bytes[..bytes.len() / 2]).unwrap();
            client
        })
        .collect();
    // What strangers hold is in the account; beside their messages there is half of this.
    let held = || metric(&proxy, "pointsman_memory_bytes{owner=\"requests\"}");
    eventually("it is counted", || held() > STOPPED as u64 * 4000);
    // Twice as long as where there are none, at most, and what a busy machine may be late by. Once of several: it may be
    // late by more.
    let mut times = Vec::new();
    let is_near = (0..5).any(|_| {
        let [loaded, quiet] = slowest([&proxy, &other]);
        times.push((loaded, quiet));
        loaded <= 2 * quiet + Duration::from_millis(20)
    });
    assert!(is_near, "with them and without: {times:?}");
    let too_late = || lines(&proxy).iter().filter(|line| line["error"] == "hello_timeout").count();
    eventually("they are given up", || too_late() == STOPPED);
    drop(stopped);
    eventually("nothing is left of them", || metric(&proxy, "pointsman_connections{listener=\"web\"}") == 0);
}

#[test]
fn mutated_hellos_and_headers_leave_the_program_whole() {
    let (proxy, servers) = named("proxy_protocol_from = [\"127.0.0.0/8\"]\nstarttls = \"postgres\"");
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 1, 3]].concat();
    let request = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    let headers = [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], b"PROXY UNKNOWN\r\n", &v2];
    let messages = [hello("one.test", 0), hello("two.test", 1900)];
    let seed = std::env::var("POINTSMAN_FUZZ_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    for case in 0..600 {
        let message = &messages[rng.usize(0..2)];
        let mut sizes = vec![rng.usize(1..3000), rng.usize(1..3000)];
        sizes[1] = if rng.bool() { WHOLE[0] } else { sizes[1] };
        let mut bytes = [headers[rng.usize(0..3)], &records(message, &sizes)].concat();
        let is_whole = rng.usize(0..4) == 0;
        if !is_whole {
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(0..bytes.len());
                match rng.usize(0..5) {
                    0 => bytes[at] ^= 1 << rng.usize(0..8),
                    1 => drop(bytes.drain(at..(at + rng.usize(1..20)).min(bytes.len()))),
                    2 => drop(bytes.splice(at..at, request)),
                    3 => bytes.truncate(at.max(1)),
                    _ => bytes[at] = [0, 22, 255, 1][rng.usize(0..4)],
                }
            }
        }
        let mut client = connect(&proxy);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = client.write_all(&bytes);
        let _ = client.shutdown(Shutdown::Write);
        let mut read = Vec::new();
        // It is answered, or ended: it hangs in neither case.
        let hangs =
            client.read_to_end(&mut read).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!hangs, "case {case} of seed {seed} hangs");
        if is_whole {
            assert!(read.starts_with(b"one") || read.starts_with(b"two"), "case {case} of seed {seed}");
        }
    }
    assert!(servers.iter().all(|server| server.connections() > 0));
    assert_eq!(metric(&proxy, "pointsman_panics_total"), 0);
    eventually("no connection is left", || metric(&proxy, "pointsman_connections{listener=\"web\"}") == 0);
}
