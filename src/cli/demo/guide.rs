//! The demonstration's configuration, and what there is to try.

use std::path::Path;

use super::{place::Place, server::AWAY};

/// The configuration of the proxy: an example that runs.
pub(super) fn configuration(place: &Place) -> String {
    let Place { http, https, admin, tcp, backends, .. } = place;
    format!(
        r#"# The demonstration's configuration, made for this run; `docs/configuration.md` has every key.

[runtime]
workers = 2
drain_timeout = "2s"

[log]
format = "text"
access = "access.log"

[admin]
address = "127.0.0.1:{admin}"
token_file = "admin.token"

[[listener]]
name = "web"
address = "127.0.0.1:{http}"
max_connections = 1000

[[listener]]
name = "secure"
address = "127.0.0.1:{https}"
protocol = "https"
max_connections = 1000

[[listener.certificate]]
chain = "demo.pem"
key = "demo.key"

[[listener]]
name = "tcp"
address = "127.0.0.1:{tcp}"
protocol = "tcp"
max_connections = 1000
certificate = [{{ chain = "demo.pem", key = "demo.key" }}]

[[route]]
name = "connections"
listeners = ["tcp"]
upstream = "demo"

[[route]]
name = "sticky"
paths = ["/sticky/*"]
rewrite = {{ strip_prefix = "/sticky" }}
upstream = "sticky"

[[route]]
name = "users"
paths = ["/users/*"]
upstream = "by-path"

[[route]]
name = "cached"
paths = ["/cached/*"]
upstream = "demo"
cache = "pages"

[[cache]]
name = "pages"
memory = "64MiB"

[[route]]
name = "old"
paths = ["/old"]
redirect = {{ to = "{{scheme}}://{{host}}:{{port}}/", status = 302 }}

[[route]]
name = "everything"
request_headers = {{ set = {{ x-demo = "set by a route" }} }}
upstream = "demo"
{}"#,
        upstreams(backends)
    )
}

/// Three upstreams of the same backends, each with another policy.
fn upstreams(backends: &[(&str, u32, u16)]) -> String {
    let servers: String = backends
        .iter()
        .map(|(name, weight, port)| {
            format!(
                "\n[[upstream.backend]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nweight = {weight}\n"
            )
        })
        .collect();
    let checks = r#"
[upstream.health_check]
path = "/healthz"
interval = "500ms"
timeout = "400ms"
rise = 2
fall = 2

[upstream.outlier]
base_ejection = "2s"
"#;
    [
        ("demo", r#"balance = "round-robin""#),
        ("sticky", r#"sticky = { cookie = "pointsman" }"#),
        ("by-path", "balance = \"consistent-hash\"\nhash_on = \"path\""),
    ]
    .iter()
    .map(|(name, policy)| format!("\n[[upstream]]\nname = \"{name}\"\n{policy}\n{servers}{checks}"))
    .collect()
}

/// What to try, each with a command that works as it is.
pub(super) fn guide(place: &Place, program: &str, config: &Path) -> String {
    let Place { http, https, admin, tcp, backends, folder, token } = place;
    let ca = quoted(&folder.join("ca.pem").to_string_lossy());
    let access = quoted(&folder.join("access.log").to_string_lossy());
    let config = quoted(&config.to_string_lossy());
    let port_of = |name: &str| backends.iter().find(|it| it.0 == name).map_or(0, |it| it.2);
    let doomed = port_of("b");
    let away = AWAY.as_secs();
    let servers: Vec<String> = backends
        .iter()
        .map(|(name, weight, port)| format!("{name} (weight {weight}, port {port})"))
        .collect();
    let servers = servers.join(", ");
    format!(
        "
Pointsman is running: http://127.0.0.1:{http}, https://localhost:{https}, admin http://127.0.0.1:{admin}
Dashboard, for a browser: http://127.0.0.1:{admin}/ (it asks for the token: {token})
Backends: {servers}; `slow` takes 150 ms for each answer.
Open another terminal and try:

Requests in turn, two of four to b:
  for i in 1 2 3 4 5 6 7 8; do curl -s http://127.0.0.1:{http}/; done
Kill b; it comes back after {away} s. No request fails, and b gets its share again:
  curl -X POST http://127.0.0.1:{doomed}/die; for i in $(seq 30); do curl -s http://127.0.0.1:{http}/; sleep 0.5; done
TLS with a certificate of this run, and HTTP/2:
  curl --cacert {ca} https://localhost:{https}/
  curl --cacert {ca} --http2 -sw 'HTTP/%{{http_version}}\\n' https://localhost:{https}/
Connections that are forwarded byte for byte, whatever they speak; TLS is terminated before:
  curl --cacert {ca} https://localhost:{tcp}/ https://localhost:{tcp}/
  {program} explain --config {config} tcp://localhost:{tcp}
What a backend receives:
  curl http://127.0.0.1:{http}/headers
A client that stays with one backend, by cookie:
  curl -s -c {jar} http://127.0.0.1:{http}/sticky/; for i in 1 2 3; do curl -s -b {jar} http://127.0.0.1:{http}/sticky/; done
A path that stays with one backend, by hash:
  for i in 1 2 3; do curl -s http://127.0.0.1:{http}/users/7; done
Events as they come, a body there and back, ten megabytes, a redirect, a slow answer:
  curl -N http://127.0.0.1:{http}/stream
  curl --data 'hello' http://127.0.0.1:{http}/echo
  curl -so /dev/null -w '%{{size_download}} bytes in %{{time_total}} s\\n' http://127.0.0.1:{http}/big
  curl -L http://127.0.0.1:{http}/old
  curl http://127.0.0.1:{http}/slow
Twenty at once for what is not cached yet and takes a second: one request reaches a backend, all get its answer:
  for i in $(seq 20); do curl -s http://127.0.0.1:{http}/cached/slow & done; wait
From the cache, for ten seconds, as the answer shows:
  curl -si http://127.0.0.1:{http}/cached/page | grep -i -e cache-status -e backend
  curl -si http://127.0.0.1:{http}/cached/page | grep -i -e cache-status -e backend
Purge it from the cache:
  {program} purge pages --prefix http://127.0.0.1:{http}/cached/ --config {config}
Drain b, and put it back; the dashboard has buttons for it:
  curl -X POST -H {bearer} http://127.0.0.1:{admin}/api/v1/upstreams/demo/backends/b/drain
  curl -X POST -H {bearer} http://127.0.0.1:{admin}/api/v1/upstreams/demo/backends/b/enable
Edit the configuration while it runs; this changes a redirect, and drops nothing:
  sed -i s,/old,/older, {config}; sleep 1; curl -s -H {bearer} http://127.0.0.1:{admin}/api/v1/status | grep generation
  curl -s -o /dev/null -w '%{{redirect_url}}\\n' http://127.0.0.1:{http}/older
Why a request goes where it goes:
  {program} explain --config {config} GET http://127.0.0.1:{http}/users/7
What Pointsman knows, and a line for each request:
  curl -H {bearer} http://127.0.0.1:{admin}/api/v1/upstreams/demo
  curl -H {bearer} http://127.0.0.1:{admin}/api/v1/status
  curl http://127.0.0.1:{admin}/readyz
  curl -s -H {bearer} http://127.0.0.1:{admin}/metrics | grep pointsman_backend_up
  tail -n 3 {access}

The configuration of all this: {config}
Ctrl-C stops it.

",
        // A file of curl's: the token is in no list of processes.
        bearer = quoted(&format!("@{}", folder.join("admin.header").display())),
        jar = quoted(&folder.join("cookies").to_string_lossy()),
    )
}

/// A word for the shell.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:=@".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::demo::Folder, config, tls::demo::demo_certificates};

    #[test]
    fn the_configuration_is_good_and_every_command_has_its_place() {
        let folder = Folder::new().unwrap();
        demo_certificates(folder.path()).unwrap();
        let backends = vec![("a", 1, 8081), ("b", 2, 8082), ("slow", 1, 8083)];
        let place = Place {
            http: 8080,
            https: 8443,
            admin: 9900,
            tcp: 8444,
            backends,
            folder: folder.path().into(),
            token: "t".into(),
        };
        std::fs::write(folder.path().join("admin.token"), "t").unwrap();
        let file = folder.path().join("demo.toml");
        config::parse(&configuration(&place), &file).unwrap();
        let guide = guide(&place, "pointsman", &file);
        assert!(guide.contains("curl -X POST http://127.0.0.1:8082/die"));
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("/tmp/a-b.pem"), "/tmp/a-b.pem");
        assert_eq!(quoted("/tmp/a b'c"), r"'/tmp/a b'\''c'");
    }
}
