//! What a cache holds in memory is bounded, as the process has it and not only as the cache counts it.

use crate::{
    collapse::{cached, metric},
    support::{Origin, Proxy, Reply},
};

/// Fills a cache of this size with many times as much, in objects of this length, and gives by how much the process
/// has grown, in bytes.
fn growth(memory: &str, length: usize, objects: usize) -> (u64, u64) {
    let body = "x".repeat(length);
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nCache-Control: max-age=600\r\n\r\n{body}");
    let origin = Origin::start(move |_| Reply::Bytes(head.clone().into_bytes()));
    let proxy =
        Proxy::start(&cached(&[origin.address()], &format!("memory = \"{memory}\"\nmax_object = \"1MiB\"")));
    let mut client = proxy.connect();
    for warm in 0..200 {
        client.get(&format!("/warm/{warm}"));
    }
    let before = proxy.memory();
    for number in 0..objects {
        assert_eq!(client.get(&format!("/{number}")).body.len(), length);
    }
    (proxy.memory().saturating_sub(before), metric(&proxy, "pointsman_cache_bytes"))
}

#[test]
fn the_process_stays_within_the_cache_limit() {
    // What the allocator keeps and the fills of a moment have room in this.
    const SLACK: u64 = 6 << 20;
    for (length, objects) in [(100, 20_000), (1000, 12_000), (100_000, 300)] {
        let limit = 16 << 20;
        let (grown, counted) = growth("16MiB", length, objects);
        assert!(counted <= limit && counted > limit * 8 / 10, "{counted} bytes are counted");
        assert!(
            grown < limit + SLACK,
            "{objects} objects of {length} bytes: {grown} bytes, {counted} counted"
        );
    }
}

#[test]
fn a_body_in_tiny_chunks_costs_what_it_is_long() {
    const LENGTH: usize = 1 << 20;
    for size in [1, 60] {
        let mut response =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=600\r\n\r\n".to_vec();
        for _ in 0..LENGTH / size {
            response.extend_from_slice(format!("{size:x}\r\n{}\r\n", "x".repeat(size)).as_bytes());
        }
        response.extend_from_slice(b"0\r\n\r\n");
        let origin = Origin::start(move |_| Reply::Bytes(response.clone()));
        let proxy = Proxy::start(&cached(&[origin.address()], "memory = \"16MiB\"\nmax_object = \"4MiB\""));
        let mut client = proxy.connect();
        let before = proxy.memory();
        let body = client.get("/a").body;
        assert_eq!(body.len(), LENGTH / size * size);
        let grown = proxy.memory().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes for one in chunks of {size}");
        let counted = metric(&proxy, "pointsman_cache_bytes") as usize;
        assert!((LENGTH..LENGTH * 104 / 100).contains(&(counted + size)), "{counted} bytes are counted");
        assert_eq!(client.get("/a").body, body);
        assert_eq!(origin.requests().len(), 1, "it is stored");
    }
}
