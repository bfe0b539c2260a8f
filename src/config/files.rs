//! The files beside the configuration that it is built from.

use std::path::PathBuf;

use super::Config;
use crate::schema::Value;

impl Config {
    /// Every file that is read for this configuration: certificates, keys, authorities, secrets. Each once,
    /// by name. Sockets and log files are not among them: nothing is read there.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        Value::files(self, &mut files);
        files.sort();
        files.dedup();
        files
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;
    use crate::{
        config::parse,
        schema::{Row, Section},
        tls::demo::demo_certificates,
    };

    /// Options that name a file which is read.
    const READ: [&str; 25] = [
        "admin.metrics.token_file",
        "admin.token_file",
        "cluster.etcd.password_file",
        "cluster.etcd.tls.ca",
        "cluster.etcd.tls.certificate.chain",
        "cluster.etcd.tls.certificate.key",
        "cluster.peers.ca",
        "cluster.peers.certificate.chain",
        "cluster.peers.certificate.key",
        "cluster.zookeeper.auth_file",
        "include",
        "listener.certificate.chain",
        "listener.certificate.key",
        "listener.certificates",
        "listener.client_auth.ca",
        "listener.error_pages",
        "route.error_pages",
        "route.respond.file",
        "trace.headers",
        "trace.tls.ca",
        "trace.tls.certificate.chain",
        "trace.tls.certificate.key",
        "upstream.tls.ca",
        "upstream.tls.certificate.chain",
        "upstream.tls.certificate.key",
    ];

    /// Options that name files that are not read with the configuration: sockets, what is written, what is served.
    const NOT_READ: [&str; 13] = [
        "admin.address",
        "admin.metrics.address",
        "cache.disk.path",
        "cache.journal.path",
        "cluster.etcd.key",
        "cluster.peers.listen",
        "cluster.peers.members",
        "cluster.virtual_ip.address",
        "cluster.vrrp.unicast_peers",
        "listener.address",
        "log.access",
        "route.files.root",
        "upstream.backend.address",
    ];

    /// Options whose values have to do with paths, by kind or name.
    fn with_paths(parent: &str, rows: &[Row], found: &mut Vec<String>) {
        for row in rows.iter().filter(|row| !row.later) {
            let path = format!("{parent}{}", row.key.name);
            let words = ["file", "folder", "address", "unix"];
            let names = ["certificate", "ca", "key", "chain", "token"];
            let is_table = row.nested.is_some();
            if words.iter().any(|word| row.kind.contains(word))
                || (!is_table && names.contains(&row.key.name))
            {
                found.push(path.clone());
            }
            if let Some(nested) = &row.nested {
                with_paths(&format!("{path}."), &nested.rows, found);
            }
        }
    }

    #[test]
    fn every_option_with_a_path_is_known_here() {
        let mut found = Vec::new();
        with_paths("", &<Config as Section>::rows(), &mut found);
        found.sort();
        let mut known: Vec<&str> = READ.into_iter().chain(NOT_READ).collect();
        known.sort_unstable();
        assert_eq!(found, known, "a new option names a file: is it read, and so watched?");
    }

    #[test]
    fn all_that_is_read_is_listed_and_nothing_else() {
        let folder = env::temp_dir().join(format!("pointsman-files-{}", std::process::id()));
        demo_certificates(&folder).unwrap();
        for page in ["404.html", "sorry.html", "page.html"] {
            fs::write(folder.join(page), "a page").unwrap();
        }
        fs::write(folder.join("token"), "secret").unwrap();
        fs::write(folder.join("bearer"), "secret").unwrap();
        fs::write(folder.join("password"), "secret").unwrap();
        fs::write(folder.join("scraper"), "secret").unwrap();
        let text = r#"
            [log]
            access = "access.log"
            [admin]
            address = "unix:admin.sock"
            token_file = "token"
            metrics = { token_file = "scraper" }
            [[listener]]
            name = "secure"
            address = "unix:web.sock"
            protocol = "https"
            certificate = [{ chain = "demo.pem", key = "demo.key" }, { chain = "./demo.pem", key = "demo.key" }]
            client_auth = { mode = "request", ca = "clients-ca.pem" }
            error_pages = { 404 = "404.html" }
            [[route]]
            name = "page"
            error_pages = { 5xx = "sorry.html" }
            respond = { status = 200, file = "page.html" }
            [cluster]
            election = "etcd"
            on_change = { command = ["x"] }
            etcd = { endpoints = ["https://etcd"], user = "a", password_file = "password", tls = { ca = "ca.pem" } }
            [cluster.peers]
            listen = "127.0.0.1:7946"
            members = ["127.0.0.2:7946"]
            certificate = { chain = "client.pem", key = "client.key" }
            ca = "ca.pem"
            [trace]
            otlp = "https://collector"
            headers = { authorization = "file:bearer", x-plain = "bearer" }
            tls = { ca = "ca.pem" }
            [[upstream]]
            name = "app"
            backend = [{ address = "unix:app.sock" }]
            tls = { server_name = "app", ca = "ca.pem", certificate = { chain = "client.pem", key = "client.key" } }
        "#;
        let config = parse(text, &folder.join("x.toml"));
        fs::remove_dir_all(&folder).unwrap();
        let mut files = config.unwrap_or_else(|problems| panic!("{problems}")).files();
        files.iter_mut().for_each(|file| *file = file.strip_prefix(&folder).unwrap().components().collect());
        files.dedup();
        let names = [
            "404.html",
            "bearer",
            "ca.pem",
            "client.key",
            "client.pem",
            "clients-ca.pem",
            "demo.key",
            "demo.pem",
            "page.html",
            "password",
            "scraper",
            "sorry.html",
            "token",
        ];
        assert_eq!(files, names.map(PathBuf::from));
        let environment =
            "[admin]\ntoken_file = \"env:PATH\"\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"";
        assert!(parse(environment, std::path::Path::new("x.toml")).unwrap().files().is_empty());
    }
}
