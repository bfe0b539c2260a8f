//! Upgrades: another program takes the place of this one, and nobody notices.

use std::{
    fs,
    net::TcpStream,
    os::unix::{
        fs::symlink,
        net::{UnixDatagram, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    collapse::cached,
    support::{
        Client, Origin, Proxy, Reply, UPGRADE, eventually, eventually_within, proxy::config, write_script,
    },
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// Lets the next program take over, and waits until it has.
fn upgrade(proxy: &Proxy) {
    let before = proxy.upgraded().len();
    proxy.signal("USR2");
    proxy.until_upgraded(before + 1);
}

fn status(proxy: &Proxy) -> serde_json::Value {
    let text = Client::connect(proxy.address("admin")).get_with("/api/v1/status", "localhost", "").text();
    serde_json::from_str(&text).unwrap()
}

fn backends(proxy: &Proxy) -> Vec<serde_json::Value> {
    let answer = Client::connect(proxy.address("admin")).get_with("/api/v1/upstreams/u", "localhost", "");
    let upstream: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    upstream["backends"].as_array().unwrap().clone()
}

#[test]
fn ten_upgrades_in_a_row_lose_no_connection() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = proxy.address("web");
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    // A new connection for each: one that is lost cannot be read from.
                    assert_eq!(Client::connect(address).get("/").text(), "one");
                    served.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=10 {
        let before = served.load(Relaxed);
        upgrade(&proxy);
        eventually("requests go on", || served.load(Relaxed) > before + 20);
        assert_eq!(proxy.upgraded().len(), round);
    }
    stop.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(status(&proxy)["pid"], *proxy.upgraded().last().unwrap());
    assert_eq!(status(&proxy)["generation"], 11);
    // Those before have drained and ended.
    let lasts = proxy.upgraded();
    let is_there =
        |pid: &u64| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|it| !it.contains(") Z "));
    eventually("the old ones end", || lasts[..9].iter().filter(|pid| is_there(pid)).count() == 0);
    assert!(is_there(&lasts[9]));
}

#[test]
fn what_is_under_way_is_finished_by_the_old_program() {
    assert!((0..5).any(|_| is_finished_by_the_old_program()), "it was always late");
}

/// False where this was late: an idle connection has a grace of a second, from the moment that the next program has taken over.
fn is_finished_by_the_old_program() -> bool {
    let (release, origin) = Origin::holding();
    let mut proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/").status, 200);
    let mut client = proxy.connect();
    client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request is there", || backends(&proxy)[0]["in_flight"] == 1);
    let begun = Instant::now();
    upgrade(&proxy);
    let mut is_late = false;
    // An idle connection has a grace, and learns it with its next response.
    eventually("it learns it", || {
        let response = kept.get("/");
        is_late = response.status == 0 && begun.elapsed() >= Duration::from_secs(1);
        assert!(response.status == 200 || is_late, "{}", response.status);
        is_late || response.header("connection") == Some("close")
    });
    assert_eq!(proxy.get("/").status, 200);
    release.send(()).unwrap();
    assert_eq!(client.response("GET").text(), "whole");
    assert!(proxy.wait().success());
    assert_eq!(proxy.get("/").status, 200);
    !is_late
}

#[test]
fn what_is_known_of_backends_goes_over() {
    let (good, bad) = (Origin::named("good"), Origin::start(|_| Reply::Text(503, "no".into())));
    let outlier = "[upstream.outlier]\nconsecutive_failures = 3\n[upstream.retry]\nattempts = 1\n";
    let proxy = Proxy::start(&config(&[good.address(), bad.address()], &format!("{outlier}{ADMIN}")));
    eventually("the bad one is ejected", || {
        proxy.get("/");
        backends(&proxy)[1]["state"] == "ejected"
    });
    let before = backends(&proxy);
    upgrade(&proxy);
    let after = backends(&proxy);
    assert_eq!(after[1]["state"], "ejected");
    assert_eq!(after[1]["why"], before[1]["why"]);
    assert!(after[0]["ewma_ms"].is_number() && after[0]["requests"] == 0, "{}", after[0]);
    let asked = bad.requests().len();
    (0..20).for_each(|_| assert_eq!(proxy.get("/").text(), "good"));
    assert_eq!(bad.requests().len(), asked);
}

#[test]
fn a_program_that_cannot_serve_does_not_take_over() {
    let origin = Origin::named("one");
    let text = config(&[origin.address()], ADMIN);
    let mut proxy = Proxy::start(&text);
    let mut kept = proxy.connect();
    // The next one reads the file as it is then.
    proxy.edit("nonsense");
    proxy.until_logged("configuration refused", 1);
    proxy.signal("USR2");
    proxy.until_not_upgraded(1);
    assert_eq!(kept.get("/").text(), "one");
    assert_eq!(proxy.get("/").text(), "one");
    assert!(proxy.is_running() && proxy.upgraded().is_empty());
    proxy.edit(&text);
    eventually("the file is good again", || status(&proxy)["last_reload"]["ok"] == true);
    upgrade(&proxy);
    assert_eq!(proxy.get("/").text(), "one");
}

/// A proxy that was started as `program` in a folder of its own, and the folder.
fn replaceable(origin: &Origin) -> (Proxy, PathBuf) {
    replaceable_in(crate::support::proxy::folder(), origin, "")
}

fn replaceable_in(folder: PathBuf, origin: &Origin, more: &str) -> (Proxy, PathBuf) {
    replaceable_with(folder, &config(&[origin.address()], &format!("{more}{ADMIN}")))
}

fn replaceable_with(folder: PathBuf, text: &str) -> (Proxy, PathBuf) {
    let program = folder.join("program");
    symlink(env!("CARGO_BIN_EXE_pointsman"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["run", "--config"]).arg(folder.join("pointsman.toml"));
    // At a port that nobody else is given once this has ended.
    let web = crate::support::free().to_string();
    let text = text.replacen("127.0.0.1:0", &web, 1);
    (Proxy::start_by(command, folder, &text), program)
}

/// Puts a script where the program was.
fn install(program: &Path, script: &str) {
    fs::remove_file(program).unwrap();
    write_script(program, script);
}

/// Upgrades to what cannot take over, and sees that this one goes on.
fn fails(proxy: &mut Proxy, times: usize) {
    proxy.signal("USR2");
    proxy.until_not_upgraded(times);
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "one");
    }
    assert_eq!(status(proxy)["draining"], false);
    assert!(proxy.is_running() && proxy.upgraded().is_empty());
}

#[test]
fn a_program_that_ends_once_ready_does_not_take_over() {
    let origin = Origin::named("one");
    let (mut proxy, program) = replaceable(&origin);
    for (round, script) in [
        "printf '{\"ready\":true}\\n' >&0",
        "head -c 300 >/dev/null; printf '{\"ready\":true}\\n' >&0; exit 1",
        "printf '{\"ready\":true}\\n' >&0; sleep 1",
        "printf '{\"ready\":true,\"answers\":true}\\n' >&0; sleep 0.2",
        "printf '{\"ready\":true,\"answers\":true}\\n{}\\n' >&0; sleep 60",
    ]
    .into_iter()
    .enumerate()
    {
        install(&program, script);
        fails(&mut proxy, round + 1);
    }
}

#[test]
fn a_program_that_dies_after_a_moment_gives_back() {
    let origin = Origin::named("one");
    let (mut proxy, program) = replaceable(&origin);
    let real = env!("CARGO_BIN_EXE_pointsman");
    for round in 1..=3 {
        // It serves, and answers the question; then it is killed, well before its two seconds are over.
        install(
            &program,
            &format!("exec 3<&0\n'{real}' \"$@\" <&3 3<&- &\nsleep 0.3\nkill -KILL $!\nexit 1"),
        );
        fails(&mut proxy, round);
    }
    install(&program, &format!("exec '{real}' \"$@\""));
    upgrade(&proxy);
    assert_eq!(proxy.get("/").text(), "one");
    assert!(proxy.wait().success());
    assert_eq!(proxy.get("/").text(), "one");
}

/// Both programs answer at the sockets, and the next one is gone before it has taken over: what it acknowledged went with it.
#[test]
fn purges_hold_whichever_program_of_an_upgrade_was_asked() {
    for has_disk in [true, false] {
        assert!((0..5).any(|_| do_purges_hold(has_disk)), "it was always late");
    }
}

/// False where the next program was killed too late: it lives for two seconds, and has taken over then.
fn do_purges_hold(has_disk: bool) -> bool {
    let version = Arc::new(AtomicUsize::new(0));
    let served = version.clone();
    let origin = Origin::start(move |_| {
        let body = served.load(Relaxed).to_string();
        let head = format!("Content-Length: {}\r\nCache-Control: max-age=600", body.len());
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into_bytes())
    });
    let disk = format!("disk = {{ path = {:?}, size = \"1GiB\" }}", crate::support::proxy::folder());
    let text = cached(&[origin.address()], if has_disk { &disk } else { "" });
    let (proxy, program) = replaceable_with(crate::support::proxy::folder(), &text);
    let real = env!("CARGO_BIN_EXE_pointsman");
    install(&program, &format!("exec 3<&0\n'{real}' \"$@\" <&3 3<&- &\nsleep 1\nkill -KILL $!\nexit 1"));
    proxy.signal("USR2");
    let begun = Instant::now();
    let (mut acknowledged, mut is_over) = (0, false);
    // Once more when it is over.
    while !is_over {
        if !proxy.upgraded().is_empty() {
            return false;
        }
        assert!(begun.elapsed() < UPGRADE, "the upgrade neither failed nor was over");
        is_over = proxy.count_logged("the upgrade failed, and this program keeps running") > 0;
        (0..4).for_each(|_| drop(proxy.get("/a")));
        let newest = version.fetch_add(1, Relaxed) + 1;
        let mut admin = Client::connect(proxy.address("admin"));
        let fields = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 13";
        let purge = format!("POST /api/v1/caches/pages/purge HTTP/1.1\r\n{fields}\r\n\r\n{{\"all\": true}}");
        // Whoever was asked may be gone.
        if admin.try_send(purge).is_err() || admin.response("POST").status != 200 {
            continue;
        }
        acknowledged += 1;
        for response in (0..4).map(|_| proxy.get("/a")).filter(|response| response.status != 0) {
            assert_eq!(response.text(), newest.to_string(), "disk: {has_disk}");
        }
    }
    assert!(acknowledged > 1);
    true
}

#[test]
fn unused_socket_keeps_its_file_until_the_next_takes_over() {
    let origin = Origin::named("one");
    let folder = crate::support::proxy::folder();
    let (path, other) = (folder.join("web.sock"), folder.join("other.toml"));
    let unix = format!("[[listener]]\nname = \"unix\"\naddress = \"unix:{}\"\n", path.display());
    let (mut proxy, program) = replaceable_in(folder.clone(), &origin, &unix);
    let text = fs::read_to_string(folder.join("pointsman.toml")).unwrap();
    fs::write(&other, text.replace(&unix, "")).unwrap();
    let next = format!("'{}' run --config '{}'", env!("CARGO_BIN_EXE_pointsman"), other.display());
    install(&program, &format!("exec 3<&0\n{next} <&3 3<&- &\nsleep 0.3\nkill -KILL $!\nexit 1"));
    fails(&mut proxy, 1);
    assert!(UnixStream::connect(&path).is_ok(), "the old program cannot be reached any more");
    install(&program, &format!("exec {next}"));
    upgrade(&proxy);
    assert_eq!(proxy.get("/").text(), "one");
    eventually("nobody queues up where nobody accepts", || !path.exists());
}

#[test]
fn a_stop_during_the_proof_ends_both_programs() {
    assert!((0..5).any(|_| ends_both_programs()), "it was always late");
}

/// False where this was late: the proof is over after two seconds.
fn ends_both_programs() -> bool {
    let (release, origin) = Origin::holding();
    let (mut proxy, program) = replaceable(&origin);
    let (real, stopped) = (env!("CARGO_BIN_EXE_pointsman"), proxy.folder().join("stopped"));
    // It serves, and lives for long enough to be let go; how it ends is in the file.
    let script =
        "exec 3<&0\ntrap 'kill -TERM $!' TERM\n'REAL' \"$@\" <&3 3<&- &\nwait $!\nwait $!\necho $? >STOPPED";
    install(&program, &script.replace("REAL", real).replace("STOPPED", stopped.to_str().unwrap()));
    let mut held = proxy.connect();
    held.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("the backend is asked", || origin.connections() == 1);
    proxy.signal("USR2");
    // The file of the admin token is made anew by each program that serves; the access of both is the same.
    proxy.until_logged_within(UPGRADE, "listening", 2 * 2);
    proxy.signal("TERM");
    eventually_within(UPGRADE, "the new program stops too", || {
        proxy.count_logged("the new program stops too") > 0 || !proxy.upgraded().is_empty()
    });
    if !proxy.upgraded().is_empty() {
        return false;
    }
    assert!(proxy.is_running(), "a request is under way");
    drop(release);
    assert_eq!(held.response("GET").text(), "whole");
    assert!(proxy.wait().success());
    assert_eq!(fs::read_to_string(stopped).unwrap(), "0\n", "it has ended as asked");
    assert!(TcpStream::connect(proxy.address("web")).is_err(), "nobody serves");
    assert!(proxy.upgraded().is_empty());
    true
}

#[test]
fn more_and_fewer_workers_and_a_unix_socket() {
    let origin = Origin::named("one");
    let folder = crate::support::proxy::folder();
    let path = folder.join("web.sock");
    let unix = format!("[[listener]]\nname = \"unix\"\naddress = \"unix:{}\"\n", path.display());
    let text = config(&[origin.address()], &format!("{unix}{ADMIN}"));
    let proxy = Proxy::start_in(folder, &text);
    for workers in [4, 1, 2] {
        proxy.edit(&text.replace("workers = 2", &format!("workers = {workers}")));
        proxy.until_logged("takes effect at the next start or upgrade", 1);
        upgrade(&proxy);
        assert_eq!(status(&proxy)["workers"], workers);
        for _ in 0..20 {
            assert_eq!(proxy.get("/").text(), "one");
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            assert!(answer.ends_with("one"), "{answer}");
        }
    }
}

#[test]
fn an_upgrade_as_process_1_is_refused() {
    let origin = Origin::named("one");
    let folder = crate::support::proxy::folder();
    let file = folder.join("pointsman.toml");
    fs::write(&file, config(&[origin.address()], ADMIN)).unwrap();
    let in_namespace = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--pid", "--fork", "--kill-child", program]);
        command
    };
    if !in_namespace("true").output().is_ok_and(|output| output.status.success()) {
        crate::support::skipped("a namespace of processes");
        fs::remove_dir_all(&folder).unwrap();
        return;
    }
    let mut command = in_namespace(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["run", "--config"]).arg(&file);
    let proxy = Proxy::spawn(command, folder, 2);
    let upgrade = "POST /api/v1/upgrade HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let mut client = Client::connect(proxy.address("admin"));
    client.send(upgrade);
    let response = client.response("POST");
    let answer: serde_json::Value = serde_json::from_str(&response.text()).unwrap();
    assert_eq!((response.status, &answer["error"]["code"]), (409, &"process_1".into()), "{answer}");
    assert!(answer["error"]["hint"].as_str().unwrap().contains("container"), "{answer}");
    assert_eq!(proxy.get("/").text(), "one");
    assert!(proxy.upgraded().is_empty());
}

#[test]
fn the_service_manager_is_notified_of_every_step() {
    let origin = Origin::named("one");
    let folder = crate::support::proxy::folder();
    let file = folder.join("pointsman.toml");
    fs::write(&file, config(&[origin.address()], ADMIN)).unwrap();
    let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let notified = || {
        let mut bytes = [0; 256];
        let length = crate::support::uninterrupted(|| socket.recv(&mut bytes)).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["run", "--config"]).arg(&file).env("NOTIFY_SOCKET", folder.join("notify"));
    let mut proxy = Proxy::spawn(command, folder, 2);
    assert_eq!(notified(), "READY=1");
    proxy.signal("HUP");
    assert!(notified().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(notified(), "READY=1");
    upgrade(&proxy);
    // The next program is ready before it is named; which of the two is heard first is not said.
    let mut both = [notified(), notified()];
    both.sort();
    assert_eq!(both, [format!("MAINPID={}", proxy.upgraded()[0]), "READY=1".to_owned()]);
    assert!(proxy.wait().success());
    assert_eq!(proxy.get("/").text(), "one");
    // The one that went did not say that the service stops; this one does.
    proxy.signal("TERM");
    assert_eq!(notified(), "STOPPING=1");
}
