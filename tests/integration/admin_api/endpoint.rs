//! The endpoint itself: who may ask, how much at once, over which socket.

use super::*;

#[test]
fn who_is_connected_and_what_is_logged() {
    let origin = Origin::named("x");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let mut clients: Vec<Client> = (0..5).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
    let answer = good(&proxy, "GET", "/api/v1/connections?limit=3", "");
    assert_eq!((&answer["total"], answer["connections"].as_array().unwrap().len()), (&5.into(), 3));
    let first = &answer["connections"][0];
    assert_eq!(
        (&first["listener"], &first["protocol"], &first["tls"]),
        (&"web".into(), &"http/1.1".into(), &Value::Null)
    );
    let ours: Vec<String> = clients.iter().map(|it| it.stream.local_addr().unwrap().to_string()).collect();
    for answer in answer["connections"].as_array().unwrap() {
        assert!(ours.iter().any(|address| answer["client"] == *address), "{answer}");
    }
    assert!(first["age_seconds"].as_f64().unwrap() < 60.0);
    drop(clients);
    eventually("they are gone", || good(&proxy, "GET", "/api/v1/connections", "")["total"] == 0);

    let level = || good(&proxy, "GET", "/api/v1/log/level", "")["level"].clone();
    assert_eq!(level(), "info");
    good(&proxy, "PUT", "/api/v1/log/level", "{\"level\": \"error\"}");
    let lines = proxy.count_logged("configuration in force");
    good(&proxy, "PATCH", &format!("{BACKENDS}/b0"), "{\"weight\": 4}");
    assert_eq!((level(), proxy.count_logged("configuration in force")), ("error".into(), lines));
    good(&proxy, "PUT", "/api/v1/log/level", "{\"level\": \"info\"}");
    good(&proxy, "PATCH", &format!("{BACKENDS}/b0"), "{\"weight\": 5}");
    proxy.until_logged("configuration in force", lines + 1);

    let explained = good(&proxy, "GET", "/api/v1/explain?url=/a&header=x-a:+1&from=10.1.1.1", "");
    let head = explained["listeners"][0]["action"]["forward"]["head"].to_string();
    assert!(
        explained["routed"] == true && head.contains("x-a: 1") && head.contains("10.1.1.1"),
        "{explained}"
    );
    assert_eq!(origin.requests().len(), 5, "nothing was sent");
}

#[test]
fn changes_are_refused_while_draining_and_reports_are_not() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(Some(held));
    let origin = Origin::start(move |_| {
        let held = held.lock().unwrap().take().unwrap();
        Reply::Take(Box::new(move |connection| {
            held.recv().unwrap();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
        }))
    });
    let text = config(&[origin.address()], ADMIN);
    let mut proxy = Proxy::start(&text);
    let mut slow = proxy.connect();
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is under way", || origin.requests().len() == 1);
    proxy.signal("TERM");
    eventually("it drains", || good(&proxy, "GET", "/api/v1/status", "")["draining"] == true);
    for (method, target, body) in [
        ("PATCH", format!("{BACKENDS}/b0"), "{\"weight\": 4}"),
        ("POST", format!("{BACKENDS}/b0/drain"), ""),
        ("PUT", "/api/v1/config".to_owned(), text.as_str()),
        ("POST", "/api/v1/reload".to_owned(), ""),
    ] {
        assert_eq!(code(&proxy, method, &target, body), (503, "stopping".to_owned()), "{target}");
    }
    assert_eq!(good(&proxy, "GET", "/api/v1/connections", "")["total"], 1);
    assert_eq!(ask(&proxy, "POST", "/api/v1/config/check", "").0, 200);
    assert_eq!(send(&proxy, "GET", "/metrics", "", "").status, 200);
    release.send(()).unwrap();
    assert_eq!(slow.response("GET").text(), "slow");
    assert!(proxy.wait().success());
}

#[test]
fn however_much_is_asked_at_once_requests_pass() {
    let origin = Origin::named("x");
    let text = config(&[origin.address()], ADMIN);
    let proxy = Proxy::start(&text);
    // Large and slow to look at.
    let filler: String = (0..3000)
        .map(|number| format!("[[route]]\nname = \"r{number}\"\npaths = [\"/{number}\"]\nupstream = \"u\"\n"))
        .collect();
    let large = format!("{filler}{text}");
    let mut kept = proxy.connect();
    let mut open = Vec::new();
    for target in ["/api/v1/config/plan", "/api/v1/config/check"] {
        for _ in 0..8 {
            let client = Client::connect(proxy.address("admin"));
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: localhost\r\n{TOML}Content-Length: {}\r\n\r\n",
                large.len()
            );
            let mut stream = client.stream.try_clone().unwrap();
            let bytes = client.with_token((head + &large).as_bytes()).unwrap();
            std::thread::spawn(move || drop(stream.write_all(&bytes)));
            open.push(client);
        }
    }
    for _ in 0..100 {
        assert_eq!(kept.get("/").text(), "x");
        assert_eq!(proxy.get("/").text(), "x");
    }
    assert_eq!(send(&proxy, "GET", "/healthz", "", "").status, 200, "the loop turns");
    for mut client in open {
        let response = client.response("POST");
        assert!([200, 503].contains(&response.status), "{} {}", response.status, response.text());
    }
    assert_eq!((generation(&proxy), kept.get("/").status), (1, 200));
}

#[test]
fn every_change_needs_the_token_where_there_is_one() {
    let origin = Origin::named("x");
    let folder = folder();
    fs::write(folder.join("token"), "s3cret\n").unwrap();
    let text = config(&[origin.address()], &format!("{ADMIN}token_file = \"token\"\n"));
    let proxy = Proxy::start_in(folder, &text);
    let b0 = format!("{BACKENDS}/b0");
    for (method, target, fields, body) in [
        ("POST", format!("{b0}/drain"), "", ""),
        ("PATCH", b0.clone(), JSON, "{\"weight\": 3}"),
        ("DELETE", b0.clone(), "", ""),
        ("POST", BACKENDS.to_owned(), JSON, "{\"address\": \"127.0.0.1:1\"}"),
        ("PUT", "/api/v1/config".to_owned(), TOML, "x"),
        ("GET", "/api/v1/config".to_owned(), "", ""),
        ("POST", "/api/v1/config/check".to_owned(), TOML, "x"),
        ("POST", "/api/v1/config/plan".to_owned(), TOML, "x"),
        ("POST", "/api/v1/reload".to_owned(), "", ""),
        ("GET", "/api/v1/connections".to_owned(), "", ""),
        ("GET", "/api/v1/openapi.json".to_owned(), "", ""),
        ("PUT", "/api/v1/log/level".to_owned(), JSON, "{\"level\": \"error\"}"),
    ] {
        for token in ["", "Authorization: Bearer s3cre\r\n"] {
            let response = send(&proxy, method, &target, &format!("{fields}{token}"), body);
            assert_eq!(response.status, 401, "{method} {target}");
        }
    }
    let with = |method, target: &str| send(&proxy, method, target, "Authorization: Bearer s3cret\r\n", "");
    let status: Value = serde_json::from_slice(&with("GET", "/api/v1/status").body).unwrap();
    assert_eq!((&status["generation"], &status["overrides"]), (&1.into(), &json!([])));
    assert_eq!(with("POST", &format!("{b0}/drain")).status, 200);
}

#[test]
fn a_unix_socket_is_private_and_removed_at_exit() {
    let origin = Origin::named("x");
    let folder = folder();
    let socket = folder.join("admin.sock");
    // A program that was killed left this behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let admin = format!("[admin]\naddress = \"unix:{}\"\n", socket.display());
    let mut proxy = Proxy::start_in(folder, &config(&[origin.address()], &admin));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&socket).unwrap();
    let request = format!("POST {BACKENDS}/b0/drain HTTP/1.1\r\nHost: any.test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"draining\""), "{answer}");
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    assert!(!socket.exists(), "its file is removed");
}

#[test]
fn a_unix_socket_passes_to_the_next_program() {
    let origin = Origin::named("x");
    let folder = folder();
    let socket = folder.join("admin.sock");
    let admin = format!("[admin]\naddress = \"unix:{}\"\n", socket.display());
    let mut proxy = Proxy::start_in(folder, &config(&[origin.address()], &admin));
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    assert!(proxy.wait().success());
    let ask = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"GET /api/v1/status HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let pid = proxy.upgraded()[0];
    assert!(ask().contains(&format!("\"pid\": {pid},")), "{}", ask());
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::process::Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    eventually("its file goes with the last program", || !socket.exists());
}
