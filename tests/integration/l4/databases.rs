//! Real databases behind Pointsman, as Debian packages them.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{logged, passing};
use crate::support::{InTime, Proxy, eventually, free, skipped, tls};

/// A server in the foreground; it is stopped when this is dropped.
pub(super) struct Daemon {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Daemon {
    pub(super) fn start(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut daemon = Self { child, address };
        eventually("it listens", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "it does not start");
            TcpStream::connect(address).is_ok()
        });
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of PostgreSQL's programs.
pub(super) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.flatten().map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists())
}

/// A command as somebody else than root, whom PostgreSQL refuses.
pub(super) fn as_user(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

/// PostgreSQL with the certificate of the folder.
pub(super) fn postgres(folder: &Path) -> Option<Daemon> {
    let Some(bin) = programs().filter(|_| Command::new("psql").arg("--version").output().is_ok()) else {
        skipped("postgresql");
        return None;
    };
    let own = folder.join("postgres");
    fs::create_dir(&own).unwrap();
    let key = own.join("demo.key");
    fs::copy(folder.join("demo.key"), &key).unwrap();
    fs::copy(folder.join("demo.pem"), own.join("demo.pem")).unwrap();
    assert!(Command::new("chmod").arg("600").arg(&key).status().unwrap().success());
    if rustix::process::geteuid().is_root() {
        assert!(Command::new("chown").args(["-R", "postgres"]).arg(&own).status().unwrap().success());
    }
    let (data, address) = (own.join("data"), free());
    let made = as_user(&bin.join("initdb")).args(["-A", "trust", "-U", "me", "-N", "-D"]).arg(&data).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut command = as_user(&bin.join("postgres"));
    command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-k", ""]);
    command.args(["-c", "ssl=on", "-c", "fsync=off"]);
    command.arg("-c").arg(format!("ssl_cert_file={}", own.join("demo.pem").display()));
    command.arg("-c").arg(format!("ssl_key_file={}", key.display()));
    let (daemon, port) = (Daemon::start(command, address), address.port().to_string());
    // It listens before it takes queries.
    let mut ready = Command::new(bin.join("pg_isready"));
    ready.args(["-q", "-h", "127.0.0.1", "-p", &port]);
    eventually("it takes queries", || ready.status().is_ok_and(|it| it.success()));
    Some(daemon)
}

/// What a query gives over a connection with these parameters: by whom TLS is ended is in `pg_stat_ssl`.
fn query(proxy: &Proxy, parameters: &str, query: &str) -> Result<String, String> {
    let port = proxy.address("web").port();
    let target = format!(
        "hostaddr=127.0.0.1 port={port} user=me dbname=postgres connect_timeout=10 gssencmode=disable {parameters}"
    );
    let output = Command::new("psql").args(["-X", "-A", "-t", "-c", query, &target]).in_time().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

const IS_TLS: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

#[test]
fn postgresql_is_reached_plain_with_tls_here_and_there() {
    let folder = tls::folder();
    let Some(server) = postgres(&folder) else { return };
    let own = "[[listener.certificate]]\nchain = \"demo.pem\"\nkey = \"demo.key\"\n";
    let to_backend = "starttls = \"postgres\"\ntls = { ca = \"ca.pem\", server_name = \"localhost\" }\n\
        health_check = { kind = \"tcp\", initial = \"down\", interval = \"100ms\" }";
    let ca = folder.join("ca.pem");
    let verified = format!("host=localhost sslmode=verify-full sslrootcert={}", ca.display());
    let here = format!("starttls = \"postgres\"\n{own}");
    // What the listener says, what is said to the backend, how psql connects, and whether the backend sees TLS.
    for (listener, upstream, parameters, expected) in [
        ("", "", "sslmode=disable", "f"),
        ("", "", "sslmode=require", "t"),
        (here.as_str(), "", verified.as_str(), "f"),
        (here.as_str(), to_backend, verified.as_str(), "t"),
        ("", to_backend, "sslmode=disable", "t"),
    ] {
        let own = crate::support::proxy::folder();
        for file in ["demo.pem", "demo.key", "ca.pem"] {
            fs::copy(folder.join(file), own.join(file)).unwrap();
        }
        let proxy = Proxy::start_in(own, &passing(&[server.address], listener, "", upstream));
        eventually("it is up", || query(&proxy, parameters, "select 1") == Ok("1".to_owned()));
        assert_eq!(query(&proxy, parameters, IS_TLS), Ok(expected.to_owned()), "{listener} {upstream}");
        let many = "select sum(n) from generate_series(1, 100000) n";
        assert_eq!(query(&proxy, parameters, many), Ok("5000050000".to_owned()));
        if !listener.is_empty() {
            assert!(query(&proxy, "sslmode=disable", "select 1").is_err(), "TLS is not optional");
        }
    }
}

#[test]
fn postgresql_is_found_by_its_name() {
    let folder = tls::folder();
    let Some(server) = postgres(&folder) else { return };
    let named = "server_names = [\"localhost\"]";
    let config = passing(&[server.address], "starttls = \"postgres\"", named, "proxy_protocol = \"off\"")
        .replace("protocol = \"tcp\"", "protocol = \"tls\"");
    let proxy = Proxy::start(&config);
    let ca = folder.join("ca.pem");
    let verified = format!("host=localhost sslmode=verify-full sslrootcert={}", ca.display());
    assert_eq!(query(&proxy, &verified, IS_TLS), Ok("t".to_owned()));
    assert_eq!(logged(&proxy, 1)[0]["server_name"], "localhost");
    // Another name leads nowhere, and who wants no TLS neither.
    assert!(query(&proxy, "host=other.test sslmode=require", "select 1").is_err());
    assert!(query(&proxy, "host=localhost sslmode=disable", "select 1").is_err());
    let lines = logged(&proxy, 3);
    let mut errors: Vec<_> = lines.iter().filter_map(|line| line["error"].as_str()).collect();
    // Neither PostgreSQL nor psql reads what TLS says at the very end, so that the kernel of one or the other resets.
    errors.retain(|error| !["tunnel_broken", "client_gone"].contains(error));
    errors.sort_unstable();
    assert_eq!(errors, ["malformed", "no_route"]);
}

#[test]
fn redis_is_reached_and_many_commands_come_back() {
    let tools = ["redis-server", "redis-cli", "redis-benchmark"];
    if let Some(missing) = tools.iter().find(|tool| Command::new(tool).arg("--version").output().is_err()) {
        return skipped(missing);
    }
    let address = free();
    let port = address.port().to_string();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]);
    let server = Daemon::start(command, address);
    let folder = tls::folder();
    let proxy = Proxy::start_in(folder.clone(), &passing(&[server.address], "", "", ""));
    let port = proxy.address("web").port().to_string();
    let run = |program: &str, arguments: &[&str]| {
        let output =
            Command::new(program).args(["-h", "127.0.0.1", "-p", &port]).args(arguments).in_time().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run("redis-cli", &["set", "a", "b"]), "OK\n");
    assert_eq!(run("redis-cli", &["get", "a"]), "b\n");
    let large = "x".repeat(100_000);
    run("redis-cli", &["set", "large", &large]);
    assert_eq!(run("redis-cli", &["get", "large"]).trim_end().len(), large.len());
    let counted = run("redis-benchmark", &["-n", "2000", "-c", "20", "-P", "4", "-t", "set,get", "--csv"]);
    assert!(counted.contains("\"SET\"") && counted.contains("\"GET\""), "{counted}");
    // With TLS here and none behind.
    let certificate = "[[listener.certificate]]\nchain = \"demo.pem\"\nkey = \"demo.key\"\n";
    let proxy = Proxy::start_in(folder.clone(), &passing(&[server.address], certificate, "", ""));
    let port = proxy.address("web").port().to_string();
    let ca = folder.join("ca.pem");
    let output = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port, "--tls", "--sni", "localhost", "--cacert"])
        .arg(ca)
        .args(["get", "a"])
        .in_time()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "b\n");
}
