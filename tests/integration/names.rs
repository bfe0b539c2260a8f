//! Names with several addresses, of which not all answer.

use std::{fs, net::SocketAddr, process::Command, time::Instant};

use socket2::{Domain, Socket, Type};

use crate::support::{
    Origin, Proxy, Reply, eventually,
    proxy::{config_of, folder},
};

/// Somebody at an address who never takes a connection: the queue is full for as long as this lives.
fn black_hole(address: SocketAddr) -> Vec<Socket> {
    let stream = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = stream();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let fill = |_| {
        let socket = stream();
        socket.set_nonblocking(true).unwrap();
        let _is_under_way = socket.connect(&address.into());
        socket
    };
    std::iter::once(listener).chain((0..4).map(fill)).collect()
}

#[test]
fn an_address_without_answer_does_not_take_its_name_down() {
    let origin = Origin::start(|_| {
        Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none".to_vec())
    });
    let port = origin.address().port();
    let _holes = ["127.0.0.2", "127.0.0.9"].map(|host| black_hole(format!("{host}:{port}").parse().unwrap()));
    let folder = folder();
    let hosts = folder.join("hosts");
    fs::write(&hosts, "127.0.0.2 app.test\n127.0.0.1 app.test\n127.0.0.9 app.test\n").unwrap();
    let script = "mount --bind \"$1\" /etc/hosts && exec \"$2\" run --config \"$3\"";
    let file = folder.join("pointsman.toml");
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
        command.arg(&hosts).arg(env!("CARGO_BIN_EXE_pointsman")).arg(&file);
        command
    };
    if !in_namespace("mount --bind \"$1\" /etc/hosts").output().is_ok_and(|it| it.status.success()) {
        crate::support::skipped("mounting in a namespace of its own");
        fs::remove_dir_all(&folder).unwrap();
        return;
    }
    let more = "retry = { attempts = 1 }\nconnect_timeout = \"1s\"\nhealth_check = { kind = \"tcp\", interval = \"50ms\", timeout = \"1s\", rise = 1, \
                fall = 1, initial = \"down\" }\n---\n";
    fs::write(&file, config_of(&[format!("app.test:{port}")], "", more)).unwrap();
    let proxy = Proxy::spawn(in_namespace(script), folder, 1);
    eventually("the check passes", || proxy.get("/").status == 200);
    let begun = Instant::now();
    for _ in 0..40 {
        assert_eq!(proxy.get("/").text(), "one");
    }
    // The first of each worker may wait twice; those after it know better.
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
    assert_eq!(proxy.count_logged("went down"), 0, "no check failed");
}
