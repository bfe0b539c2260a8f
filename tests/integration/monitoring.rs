//! What operators have watch the program: the text of metrics and the alert rules, as Prometheus' own tool reads them.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::support::{Client, Origin, Proxy, nobody, proxy::config, skipped};

/// What `promtool` says, with this on its input; `None` where it is not installed.
fn promtool(arguments: &[&str], input: &[u8]) -> Option<(bool, String)> {
    let command = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = command else {
        skipped("promtool");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said))
}

#[test]
fn metrics_and_rules_are_as_prometheus_reads_them() {
    let origin = Origin::named("a");
    let proxy =
        Proxy::start(&config(&[origin.address(), nobody()], "---\n[admin]\naddress = \"127.0.0.1:0\"\n"));
    for _ in 0..4 {
        let _ = proxy.get("/");
    }
    let metrics = Client::connect(proxy.address("admin")).get("/metrics").body;
    let Some((is_good, said)) = promtool(&["check", "metrics"], &metrics) else { return };
    assert!(is_good, "{said}");
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring/alerts.yml");
    let (is_good, said) = promtool(&["check", "rules", rules], &[]).unwrap();
    assert!(is_good && said.contains("rules found"), "{said}");
}

#[test]
fn what_goes_wrong_is_counted_by_kind() {
    let proxy = Proxy::start(&config(&[nobody()], "---\n[admin]\naddress = \"127.0.0.1:0\"\n"));
    let before = metrics(&proxy);
    assert!(!before.contains("pointsman_errors_total{"), "nothing went wrong yet");
    assert_eq!(proxy.get("/").status, 502);
    // It is counted with its line, a moment after it was answered.
    proxy.until_logged("\"error\":\"connect\"", 1);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n");
    assert_eq!(client.response("GET").status, 400);
    proxy.until_logged("malformed", 1);
    let after = metrics(&proxy);
    for kind in ["connect", "malformed"] {
        assert!(after.contains(&format!("pointsman_errors_total{{kind=\"{kind}\"}} 1\n")), "{kind}");
    }
}

fn metrics(proxy: &Proxy) -> String {
    Client::connect(proxy.address("admin")).get("/metrics").text()
}
