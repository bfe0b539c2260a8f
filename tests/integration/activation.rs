//! Sockets that a service manager opened, and the units for systemd.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
};

use crate::support::{
    Client, Origin, Proxy, eventually,
    proxy::{config, folder},
    skipped,
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// Starts the proxy with this socket as its first and only activated one. Through standard input, which no
/// program that another test starts meanwhile can get.
fn start(listener: &impl AsFd, config: &str, pid: &str) -> Proxy {
    let folder = folder();
    let mut command = Command::new("sh");
    let script =
        format!("exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID={pid} exec \"$0\" run --config \"$1\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_pointsman")]).arg(folder.join("pointsman.toml"));
    command.stdin(listener.as_fd().try_clone_to_owned().unwrap());
    Proxy::start_by(command, folder, config)
}

/// With the listener `web` at this address.
fn web_at(address: SocketAddr, origin: &Origin) -> String {
    config(&[origin.address()], ADMIN).replacen("127.0.0.1:0", &address.to_string(), 1)
}

#[test]
fn early_connections_are_served_by_all_workers_and_after_upgrades() {
    let origin = Origin::named("one");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early: Vec<Client> = (0..5).map(|_| Client::connect(address)).collect();
    let text = web_at(address, &origin);
    let proxy = start(&listener, &text, "$$");
    assert_eq!(proxy.address("web"), address);
    drop(listener);
    for client in &mut early {
        assert_eq!(client.get("/").text(), "one");
    }
    (0..50).for_each(|_| assert_eq!(proxy.get("/").text(), "one"));
    assert_eq!(proxy.count_logged("service manager"), 0, "nothing to warn of");
    // More workers and the same one socket.
    proxy.edit(&text.replace("workers = 2", "workers = 4"));
    proxy.until_logged("takes effect at the next start or upgrade", 1);
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    (0..50).for_each(|_| assert_eq!(proxy.get("/").text(), "one"));
}

#[test]
fn the_admin_endpoint_takes_its_own() {
    let origin = Origin::named("one");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = Client::connect(address);
    let admin = format!("[admin]\naddress = \"{address}\"\n");
    let proxy = start(&listener, &config(&[origin.address()], &admin), "$$");
    assert_eq!(early.get_with("/readyz", "localhost", "").status, 200);
    assert_eq!(proxy.get("/").text(), "one");
}

#[test]
fn the_file_of_a_lent_socket_stays() {
    let origin = Origin::named("one");
    let place = folder();
    let path = place.join("lent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let text =
        config(&[origin.address()], ADMIN).replacen("127.0.0.1:0", &format!("unix:{}", path.display()), 1);
    let mut proxy = start(&listener, &text, "$$");
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    assert!(proxy.wait().success());
    let last = proxy.upgraded()[0];
    proxy.signal("TERM");
    eventually("the last one ends", || !Path::new(&format!("/proc/{last}/fd/0")).exists());
    // Who comes now waits for the next start.
    UnixStream::connect(&path).unwrap();
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn what_nobody_has_is_closed_with_a_warning() {
    let origin = Origin::named("one");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = start(&listener, &config(&[origin.address()], ADMIN), "$$");
    drop(listener);
    proxy.until_logged("ListenStream=", 1);
    assert_eq!(proxy.get("/").text(), "one");
    eventually("nobody listens there", || TcpStream::connect(address).is_err());
}

#[test]
fn sockets_of_another_process_are_not_taken() {
    let origin = Origin::named("one");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = start(&listener, &config(&[origin.address()], ADMIN), "1");
    assert_eq!(proxy.get("/").text(), "one");
    assert_eq!(proxy.count_logged("service manager"), 0);
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skipped("systemd-analyze");
    }
    let (units, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd"), folder());
    let mut command = Command::new("systemd-analyze");
    command.arg("verify");
    for unit in ["pointsman.service", "pointsman.socket"] {
        let text = fs::read_to_string(units.join(unit)).unwrap();
        // It looks for the program, too.
        fs::write(folder.join(unit), text.replace("/usr/bin/pointsman", env!("CARGO_BIN_EXE_pointsman")))
            .unwrap();
        command.arg(folder.join(unit));
    }
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    let of_ours: Vec<&str> = printed.lines().filter(|line| line.contains("pointsman")).collect();
    assert!(of_ours.is_empty(), "{of_ours:#?}");
    fs::remove_dir_all(folder).unwrap();
}
