//! WebSockets to backends over TLS, which say by ALPN and by their settings how they take them.

use std::path::Path;

use super::{echo, http1_backend, open};
use crate::{
    real_servers::Server,
    support::{
        Proxy,
        proxy::{config, config_of},
        tls::{self, SECURE},
    },
};

const TLS: &str = "---\n[upstream.tls]\nca = \"ca.pem\"\nserver_name = \"localhost\"\n";

/// nginx, which takes HTTP/2 and does not announce extended CONNECT, in front of a backend.
fn nginx(files: &Path, backend: std::net::SocketAddr) -> Option<Server> {
    let text = "daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
        events { worker_connections 200; }
        http {
            access_log off;
            client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
            fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
            server {
                listen ADDRESS ssl http2; ssl_certificate FOLDER/demo.pem; ssl_certificate_key FOLDER/demo.key;
                location / {
                    proxy_pass http://BACKEND; proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
                }
            }
        }";
    let text = text.replace("BACKEND", &backend.to_string());
    Server::start("nginx", &["-e", "stderr", "-p", files.to_str().unwrap(), "-c"], files, &text)
}

fn speak(files: &Path, protocol: &str, backend: std::net::SocketAddr) -> serde_json::Value {
    let options = format!("protocol = \"{protocol}\"\n{TLS}");
    let proxy = Proxy::start_in(tls::folder_like(files), &config(&[backend], &options));
    assert!(proxy.get("/page").text() == "plain");
    let mut client = open(&proxy, "/socket");
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
    drop(client);
    assert_eq!(proxy.logged("/page")["upstream_protocol"], "HTTP/2.0");
    proxy.logged("/socket")["upstream_protocol"].clone()
}

#[test]
fn one_that_announces_it_is_asked_over_http2() {
    let (files, origin) = (tls::folder(), http1_backend(echo));
    let behind = config_of(&[origin.address().to_string()], SECURE, "");
    let backend = Proxy::start_in(tls::folder_like(&files), &behind);
    for protocol in ["auto", "h2"] {
        assert_eq!(speak(&files, protocol, backend.address("web")), "HTTP/2.0");
    }
}

#[test]
fn one_that_does_not_is_asked_over_http1() {
    let (files, origin) = (tls::folder(), http1_backend(echo));
    let Some(server) = nginx(&tls::folder_like(&files), origin.address()) else { return };
    for protocol in ["auto", "h2"] {
        assert!(speak(&files, protocol, server.address).is_null());
    }
}
