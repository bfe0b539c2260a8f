//! Whom proxies name in X-Forwarded-For, Forwarded or a field of their own: one client that is an address, or nobody.
#![no_main]

use std::{cell::OnceCell, rc::Rc};

use libfuzzer_sys::fuzz_target;
use pointsman::{
    config,
    exchange::{Exchange, Peer},
    http::client_address,
    runtime::{Snapshot, build},
};

const FIELDS: [(&str, &str); 3] =
    [("x-forwarded-for", "x-forwarded-for"), ("forwarded", "forwarded"), ("header:x-client", "x-client")];

thread_local! {
    static SNAPSHOTS: OnceCell<Vec<Snapshot>> = const { OnceCell::new() };
}

fn snapshot(from: &str) -> Snapshot {
    let text = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
         client_address_from = \"{from}\"\n[[route]]\nname = \"all\"\nrespond = {{ status = 200 }}\n"
    );
    build::build_apart(config::parse(&text, "fuzz.toml".as_ref()).expect("it is good")).expect("it can be built")
}

fuzz_target!(|values: Vec<&[u8]>| {
    SNAPSHOTS.with(|snapshots| {
        let snapshots = snapshots.get_or_init(|| FIELDS.iter().map(|(from, _)| snapshot(from)).collect());
        for (snapshot, (_, name)) in snapshots.iter().zip(FIELDS) {
            let mut exchange = Exchange::default();
            exchange.facts.peer = Rc::new(Peer { is_trusted: true, ..Peer::default() });
            for value in values.iter().take(8) {
                let value: Vec<u8> = value.iter().copied().filter(|byte| !b"\0\r\n".contains(byte)).collect();
                exchange.request.fields.push(name, value.trim_ascii());
            }
            let _ = client_address::find(&snapshot.listeners[0], &mut exchange);
            if let Some(client) = &exchange.facts.client {
                assert_eq!(client.text.parse(), Ok(client.address));
            }
        }
    });
});
