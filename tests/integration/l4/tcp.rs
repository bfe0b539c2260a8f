//! TCP that is passed on.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use super::{Server, connect, exactly, lines, logged, passing};
use crate::{
    collapse::metric,
    support::{Proxy, eventually, nobody},
};

#[test]
fn bytes_and_ends_pass_both_ways_and_are_logged() {
    let server = Server::start(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        // After the end of the question.
        stream.write_all(format!("{} bytes", all.len()).as_bytes()).unwrap();
    });
    let proxy = Proxy::start(&passing(&[server.address], "", "", ""));
    let mut client = connect(&proxy);
    client.write_all(&[7; 1000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "1000 bytes");
    let line = logged(&proxy, 1).remove(0);
    for (field, value) in [
        ("listener", "web"),
        ("route", "all"),
        ("upstream", "u"),
        ("backend", "b0"),
        ("protocol", "tcp"),
        ("client", "127.0.0.1"),
        ("carried_by", "copy"),
        ("level", "info"),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    assert_eq!((line["bytes_in"].as_u64(), line["bytes_out"].as_u64()), (Some(1000), Some(10)));
    assert!(line.get("status").is_none() && line.get("error").is_none(), "{line}");
    let ended = "pointsman_tunnel_duration_seconds_count{listener=\"web\",route=\"all\",upstream=\"u\",result=\"ok\"}";
    assert_eq!(metric(&proxy, ended), 1);
}

#[test]
fn a_server_that_speaks_first_is_heard_at_once() {
    let server = Server::echo("220 ready\r\n");
    let proxy = Proxy::start(&passing(&[server.address], "defer_accept = \"60s\"", "", ""));
    assert_eq!(exactly(&mut connect(&proxy), 11), "220 ready\r\n");
}

/// It ends behind the last time that anybody flushes the log.
#[test]
fn a_tunnel_that_a_stop_cuts_off_is_logged() {
    let server = Server::echo("hello");
    let text = passing(&[server.address], "", "", "");
    let mut proxy = Proxy::start(&text.replace("[runtime]\n", "[runtime]\ndrain_timeout = \"200ms\"\n"));
    let mut client = connect(&proxy);
    assert_eq!(exactly(&mut client, 5), "hello");
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    let line = logged(&proxy, 1).remove(0);
    assert_eq!((&line["error"], &line["bytes_out"]), (&"draining".into(), &5.into()));
}

#[test]
fn much_goes_through_whole_and_within_the_kernel() {
    let server = Server::echo("");
    let proxy = Proxy::start(&passing(&[server.address], "", "", ""));
    let mut client = connect(&proxy);
    let sent: Vec<u8> = (0..30_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut sender = client.try_clone().unwrap();
    let bytes = sent.clone();
    let sending = std::thread::spawn(move || {
        sender.write_all(&bytes).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut read = Vec::new();
    client.read_to_end(&mut read).unwrap();
    sending.join().unwrap();
    assert!(read == sent, "{} bytes of {}", read.len(), sent.len());
    assert_eq!(logged(&proxy, 1)[0]["carried_by"], "splice");
}

#[test]
fn a_dead_backend_costs_an_attempt_and_no_connection() {
    let server = Server::echo("alive");
    let proxy = Proxy::start(&passing(&[nobody(), server.address], "", "", ""));
    for _ in 0..8 {
        assert_eq!(exactly(&mut connect(&proxy), 5), "alive");
    }
    assert_eq!(server.connections(), 8);
    let lines = logged(&proxy, 8);
    assert!(lines.iter().any(|line| line["attempts"] == 2), "{lines:?}");
    assert!(lines.iter().all(|line| line["backend"] == "b1"), "{lines:?}");
}

#[test]
fn without_a_backend_a_connection_is_reset_not_ended() {
    let proxy = Proxy::start(&passing(&[nobody()], "", "", ""));
    let error = connect(&proxy).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(logged(&proxy, 1)[0]["error"], "connect");
}

#[test]
fn a_reset_arrives_as_a_reset_on_the_other_side() {
    let server = Server::start(|mut stream| {
        let _ = stream.read(&mut [0; 10]);
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let proxy = Proxy::start(&passing(&[server.address], "", "", ""));
    let mut client = connect(&proxy);
    client.write_all(b"a").unwrap();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(logged(&proxy, 1)[0]["error"], "tunnel_broken");
    // And the backend is none the worse for it.
    assert_eq!(metric(&proxy, "pointsman_backend_up"), 1);
}

#[test]
fn places_at_a_backend_are_waited_for_in_the_queue() {
    let server = Server::echo("hello");
    let upstream = "queue = { size = 10, timeout = \"10s\" }";
    let config = passing(&[server.address], "", "", upstream) + "max_connections = 1\n";
    let proxy = Proxy::start(&config);
    let mut first = connect(&proxy);
    assert_eq!(exactly(&mut first, 5), "hello");
    let mut second = connect(&proxy);
    second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(second.read(&mut [0]).is_err(), "the only place is taken");
    drop(first);
    second.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    assert_eq!(exactly(&mut second, 5), "hello");
}

#[test]
fn who_spoke_and_left_holds_no_place_in_queue() {
    let server = Server::echo("hello");
    let upstream = "queue = { size = 1, timeout = \"1m\" }";
    let config = passing(&[server.address], "", "", upstream) + "max_connections = 1\n";
    let proxy = Proxy::start(&config);
    let mut first = connect(&proxy);
    assert_eq!(exactly(&mut first, 5), "hello");
    let mut second = connect(&proxy);
    second.write_all(b"a").unwrap();
    eventually("it waits", || metric(&proxy, "pointsman_queue_length") == 1);
    SockRef::from(&second).set_linger(Some(Duration::ZERO)).unwrap();
    drop(second);
    assert_eq!(logged(&proxy, 1)[0]["error"], "client_gone");
    eventually("its place is free", || metric(&proxy, "pointsman_queue_length") == 0);
}

#[test]
fn policies_pick_by_client_and_by_connections() {
    let (one, two) = (Server::echo("1"), Server::echo("2"));
    let both = [one.address, two.address];
    let proxy = Proxy::start(&passing(&both, "", "", "balance = \"ip-hash\""));
    let names: Vec<String> = (0..6).map(|_| exactly(&mut connect(&proxy), 1)).collect();
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    let proxy = Proxy::start(&passing(&both, "", "", "balance = \"least-connections\""));
    let mut counts: HashMap<String, usize> = HashMap::new();
    // Each once the one before has its backend: two workers may pick at the same moment.
    let _open: Vec<TcpStream> = (0..6)
        .map(|_| {
            let mut stream = connect(&proxy);
            *counts.entry(exactly(&mut stream, 1)).or_default() += 1;
            stream
        })
        .collect();
    assert_eq!(counts, HashMap::from([("1".to_owned(), 3), ("2".to_owned(), 3)]));
}

#[test]
fn silence_ends_a_tunnel_and_half_of_one_sooner() {
    let server = Server::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        // The end was seen; nothing is said.
        std::thread::sleep(Duration::from_secs(30));
    });
    let proxy = Proxy::start(&passing(&[server.address], "", "tunnel_idle = \"300ms\"", ""));
    assert_eq!(connect(&proxy).read(&mut [0]).unwrap(), 0);
    assert_eq!(logged(&proxy, 1)[0]["error"], "tunnel_idle");
    let proxy = Proxy::start(&passing(&[server.address], "", "half_close_timeout = \"300ms\"", ""));
    let mut client = connect(&proxy);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(logged(&proxy, 1)[0]["error"], "tunnel_idle");
}

#[test]
fn what_is_cut_off_is_reset_on_both_sides() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = Server::start(move |mut stream| {
        let _ = tell.send(stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind()));
    });
    let proxy = Proxy::start(&passing(&[server.address], "", "timeout = \"1s\"", ""));
    let mut client = connect(&proxy);
    client.write_all(b"half of it").unwrap();
    let error = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(told.recv_timeout(crate::support::PATIENCE).unwrap(), Err(ErrorKind::ConnectionReset));
    assert_eq!(logged(&proxy, 1)[0]["error"], "route_timeout");
}

#[test]
fn slow_reader_does_not_take_what_came_for_all() {
    let server = Server::start(|mut stream| {
        // More than any socket holds.
        let block = vec![0; 1_000_000];
        while stream.write_all(&block).is_ok() {}
    });
    let proxy = Proxy::start(&passing(&[server.address], "", "half_close_timeout = \"3s\"", ""));
    let mut client = connect(&proxy);
    // It takes one byte: the server has begun, and fills what is between them within the time.
    client.read_exact(&mut [0]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(logged(&proxy, 1)[0]["error"], "client_stalled");
    let error = std::io::copy(&mut client, &mut std::io::sink()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn who_is_denied_reaches_no_backend() {
    let server = Server::echo("hello");
    let proxy = Proxy::start(&passing(&[server.address], "deny = [\"127.0.0.0/8\"]", "", ""));
    let mut bytes = Vec::new();
    let _ = connect(&proxy).read_to_end(&mut bytes);
    assert!(bytes.is_empty());
    assert_eq!(server.connections(), 0);
}

#[test]
fn an_edit_leaves_open_tunnels_alone() {
    let (one, two) = (Server::echo("1"), Server::echo("2"));
    let proxy = Proxy::start(&passing(&[one.address], "", "", ""));
    let mut kept = connect(&proxy);
    assert_eq!(exactly(&mut kept, 1), "1");
    proxy.edit(&passing(&[two.address], "", "timeout = \"1h\"", ""));
    eventually("new ones go elsewhere", || exactly(&mut connect(&proxy), 1) == "2");
    kept.write_all(b"still").unwrap();
    assert_eq!(exactly(&mut kept, 5), "still");
    assert!(lines(&proxy).iter().all(|line| line.get("error").is_none()));
    drop(kept);
    eventually("its line names who served it", || lines(&proxy).iter().any(|line| line["bytes_in"] == 5));
}

#[test]
fn tls_ends_here_where_there_is_a_certificate() {
    let server = crate::support::Origin::named("plain inside");
    let folder = crate::support::tls::folder();
    let certificate = "[[listener.certificate]]\nchain = \"demo.pem\"\nkey = \"demo.key\"\n";
    let config = passing(&[server.address()], certificate, "", "");
    let proxy = Proxy::start_in(folder.clone(), &config);
    let manner = crate::support::tls::Manner { alpn: &["h2", "http/1.1"], ..Default::default() };
    let mut client =
        crate::support::tls::TlsClient::connect(proxy.address("web"), "localhost", &manner.config(&folder))
            .unwrap();
    assert_eq!(client.alpn(), None, "what is behind it was not asked");
    assert!(client.get("a.test", "/").unwrap().ends_with("plain inside"));
}

#[test]
fn clients_that_are_not_let_in_reach_no_backend() {
    let server = Server::echo("never");
    for (keys, is_let_in) in [
        ("deny = [\"127.0.0.0/8\"]", false),
        ("allow = [\"10.0.0.0/8\"]", false),
        ("allow = [\"127.0.0.1\"]", true),
    ] {
        let before = server.connections.load(std::sync::atomic::Ordering::SeqCst);
        let text =
            passing(&[server.address], "", "", "").replace("[[route]]\n", &format!("[[route]]\n{keys}\n"));
        let proxy = Proxy::start(&text);
        let mut client = connect(&proxy);
        let mut heard = [0; 5];
        let is_heard = client.read_exact(&mut heard).is_ok();
        assert_eq!(is_heard, is_let_in, "{keys}");
        drop(client);
        let line = logged(&proxy, 1).remove(0);
        let error = if is_let_in { serde_json::Value::Null } else { "client_denied".into() };
        assert_eq!(line.get("error").cloned().unwrap_or_default(), error, "{line}");
        let after = server.connections.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(after - before, usize::from(is_let_in));
    }
}
