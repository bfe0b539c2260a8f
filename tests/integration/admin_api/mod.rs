//! Changes through the admin API: what they do to traffic, to the file, and to what comes after them; and
//! everything that they must not do.

mod endpoint;
mod file;
mod overrides;

use crate::support::{
    Client, Origin, Proxy, Reply,
    client::Response,
    eventually,
    proxy::{config, folder},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    sync::{Mutex, mpsc},
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

const JSON: &str = "Content-Type: application/json\r\n";

const TOML: &str = "Content-Type: application/toml\r\n";

const BACKENDS: &str = "/api/v1/upstreams/u/backends";

/// Asks the admin API.
fn send(proxy: &Proxy, method: &str, target: &str, fields: &str, body: &str) -> Response {
    let mut client = Client::connect(proxy.address("admin"));
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{fields}\r\n");
    client.send(head + body);
    client.response(method)
}

/// The same, for what gives JSON: status and body.
pub fn ask(proxy: &Proxy, method: &str, target: &str, body: &str) -> (u16, Value) {
    let is_config = target.contains("/config");
    let response = send(proxy, method, target, if is_config { TOML } else { JSON }, body);
    assert_eq!(response.header("content-type"), Some("application/json"), "{method} {target}");
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

pub fn good(proxy: &Proxy, method: &str, target: &str, body: &str) -> Value {
    let (status, value) = ask(proxy, method, target, body);
    assert!([200, 201].contains(&status), "{method} {target}: {status} {value}");
    value
}

fn code(proxy: &Proxy, method: &str, target: &str, body: &str) -> (u16, String) {
    let (status, value) = ask(proxy, method, target, body);
    assert!(value["error"]["message"].is_string() && value["error"]["hint"].is_string(), "{value}");
    (status, value["error"]["code"].as_str().unwrap().to_owned())
}

fn generation(proxy: &Proxy) -> u64 {
    good(proxy, "GET", "/api/v1/status", "")["generation"].as_u64().unwrap()
}

fn file(proxy: &Proxy) -> String {
    fs::read_to_string(proxy.folder().join("pointsman.toml")).unwrap()
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(|origin| origin.requests().len()).collect()
}
