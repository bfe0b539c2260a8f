//! `pointsman cache`: traces in and hit ratios out, through the real binary.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{proxy::folder, skipped};

fn pointsman(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .arg("cache")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn good(arguments: &[&str], input: &str) -> String {
    let ended = pointsman(arguments, input);
    assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

fn json(arguments: &[&str], input: &str) -> Value {
    serde_json::from_str(&good(&[arguments, &["--format", "json"]].concat(), input)).unwrap()
}

/// The status and what was printed, of a call that must fail and print nothing to standard output.
fn bad(arguments: &[&str], input: &str) -> (i32, String) {
    let ended = pointsman(arguments, input);
    assert!(!ended.status.success() && ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    (ended.status.code().unwrap(), String::from_utf8(ended.stderr).unwrap())
}

const POLICIES: [&str; 7] = ["s3-fifo", "fifo", "lifo", "lru", "mru", "lfu", "random"];

#[test]
fn hit_ratios_equal_an_independent_simulation_to_the_request() {
    if Command::new("python3").arg("-V").output().is_err() {
        return skipped("python3");
    }
    let folder = folder();
    let common =
        ["--objects", "1500", "--requests", "15000", "--seed", "7", "--size-dist", "lognormal:4KiB:1"];
    let workloads: [&[&str]; 4] = [
        &["zipf", "--alpha", "0.8"],
        &["scan", "--between", "1000", "--sweep", "500"],
        &["shift", "--every", "2000", "--alpha", "1"],
        &["scan", "--between", "0", "--sweep", "300"],
    ];
    for (number, workload) in workloads.iter().enumerate() {
        let trace = folder.join(format!("{number}.trace"));
        let arguments = [&["generate"], *workload, &common].concat();
        fs::write(&trace, good(&arguments, "")).unwrap();
        let trace = trace.to_str().unwrap();
        let report = json(&["replay", trace, "--size", "50KiB,1MiB,5%", "--seed", "3"], "");
        let results = report["results"].as_array().unwrap();
        assert_eq!(results.len(), POLICIES.len() * 3);
        let sizes: Vec<u64> = results[..3].iter().map(|result| result["size"].as_u64().unwrap()).collect();
        assert_eq!(sizes[2], (report["trace"]["footprint"].as_f64().unwrap() * 0.05).round() as u64);
        for (which, limit) in sizes.iter().enumerate() {
            let simulated = simulation(trace, *limit);
            assert_eq!(simulated.lines().count(), POLICIES.len(), "{simulated}");
            for (line, result) in simulated.lines().zip(results.iter().skip(which).step_by(3)) {
                let count = |name: &str| result[name].as_u64().unwrap();
                let ours = format!(
                    "{} {} {} {} {}",
                    result["policy"].as_str().unwrap(),
                    count("requests"),
                    count("hits"),
                    count("hit_bytes"),
                    count("evictions")
                );
                assert_eq!(ours, line, "{workload:?} with {limit} bytes");
            }
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

fn simulation(trace: &str, limit: u64) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/support/eviction.py");
    let ended = Command::new("python3").args([script, trace, &limit.to_string(), "3"]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn a_line_per_policy_and_size() {
    let trace = "a 10\nb 10\na 10\nb 10\nc 30\na 10\n";
    let ended = pointsman(&["replay", "-", "--size", "20,1KiB", "--policy", "lru,fifo"], trace);
    let text = String::from_utf8(ended.stdout).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    // c is larger than 20 bytes, and evicts nobody.
    let expected = [
        ["lru", "20", "0.500000", "0.375000", "0", "2"],
        ["lru", "1KiB", "0.500000", "0.375000", "0", "3"],
        ["fifo", "20", "0.500000", "0.375000", "0", "2"],
        ["fifo", "1KiB", "0.500000", "0.375000", "0", "3"],
    ];
    assert_eq!(rows, expected, "{text}");
    let printed = String::from_utf8(ended.stderr).unwrap();
    assert!(printed.starts_with("6 requests of 3 objects, 50 B together\n"), "{printed}");
    // No progress where nobody is at a terminal.
    assert!(!printed.contains('\r'), "{printed:?}");
}

#[test]
fn standard_input_gives_what_a_file_gives() {
    let folder = folder();
    let trace = good(&["generate", "zipf", "--requests", "5000", "--objects", "500"], "");
    let path = folder.join("trace");
    fs::write(&path, &trace).unwrap();
    for size in ["64KiB", "3%,64KiB"] {
        let of_file = json(&["replay", path.to_str().unwrap(), "--size", size], "");
        assert_eq!(json(&["replay", "-", "--size", size], &trace), of_file);
        assert_eq!(of_file["trace"]["requests"], 5000);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_access_log_counts_gets_with_200_only() {
    let line = |request: &str, status: u16| {
        format!("192.0.2.7 - - [22/Nov/2026:10:00:00 +0000] \"{request}\" {status} 100 \"-\" \"curl\"\n")
    };
    let log = [
        line("GET /a HTTP/1.1", 200),
        line("GET /a HTTP/1.1", 200),
        line("POST /a HTTP/1.1", 200),
        line("GET /a HTTP/1.1", 304),
        line("-", 400),
    ]
    .concat();
    let arguments = ["replay", "-", "--size", "1MiB", "--policy", "lru"];
    let report = json(&arguments, &log);
    assert_eq!((&report["results"][0]["hits"], &report["trace"]["requests"]), (&1.into(), &2.into()));
    let printed = String::from_utf8(pointsman(&arguments, &log).stderr).unwrap();
    let expected = "3 lines skipped: 2 with a status other than 200, 1 with a method other than GET\n";
    assert!(printed.ends_with(expected), "{printed}");

    let (status, printed) = bad(&arguments, &line("HEAD / HTTP/1.1", 200));
    assert_eq!(
        (status, printed.contains("it has no usable request: 1 line skipped")),
        (1, true),
        "{printed}"
    );
}

#[test]
fn a_bad_line_is_named_and_can_be_skipped() {
    let trace = "a 1\nb one\na 1\n";
    let arguments = ["replay", "-", "--size", "10"];
    let (status, printed) = bad(&arguments, trace);
    assert_eq!(status, 1);
    assert!(printed.starts_with("standard input: line 2: `b one` is not `key size`"), "{printed}");
    assert!(printed.contains("--skip-bad"), "{printed}");
    let report = json(&["replay", "-", "--size", "10", "--skip-bad"], trace);
    assert_eq!(report["trace"]["skipped"]["bad"], 1);
    assert_eq!(report["results"][0]["hits"], 1);
}

#[test]
fn wrong_arguments_are_a_usage_error_with_a_hint() {
    let wrong: [(&[&str], &str); 9] = [
        (&["replay", "-"], "--size"),
        (&["replay", "-", "--size", "0"], "and not 0"),
        (&["replay", "-", "--size", "5 parsecs"], "such as 64MiB"),
        (&["replay", "-", "--size", "1MiB", "--policy", "lur"], "did you mean `lru`?"),
        (&["replay", "-", "--size", "1MiB", "--admission", "never"], "second-request"),
        (&["generate", "zipf", "--size-dist", "fixed"], "fixed:BYTES"),
        (&["generate", "zipf", "--alpha=-1"], "from 0 to 100"),
        (&["generate", "zipf", "--sweep", "5"], "does not take --sweep"),
        (&["generate", "scan", "--sweep", "18446744073709551615"], "too large"),
    ];
    for (arguments, hint) in wrong {
        let (status, printed) = bad(arguments, "a 1\n");
        assert!(status == 2 && printed.contains(hint), "{arguments:?}: {status} {printed}");
    }
    let (status, printed) = bad(&["replay", "/nowhere/trace", "--size", "1"], "");
    assert_eq!((status, printed.as_str()), (1, "there is no file /nowhere/trace\n"));
}

#[test]
fn a_plot_is_self_contained_and_survives_bad_traces() {
    let folder = folder();
    let plot = folder.join("plot.svg");
    let arguments = ["replay", "-", "--size", "1KiB,10KiB,10%", "--plot", plot.to_str().unwrap()];
    let trace = good(&["generate", "zipf", "--requests", "2000", "--size-dist", "fixed:100"], "");
    let before = read_plot(&arguments, &trace, &plot);
    for policy in POLICIES {
        assert!(before.contains(&format!(">{policy}<")), "no {policy}: {before}");
    }
    assert!(before.starts_with("<svg ") && !before.contains("<script"), "{before}");
    bad(&arguments, "a\n");
    assert_eq!(fs::read_to_string(&plot).unwrap(), before);
    // What was counted is printed even where it cannot be drawn.
    let ended = pointsman(&["replay", "-", "--size", "1KiB", "--plot", "/nowhere/plot.svg"], &trace);
    assert_eq!((ended.status.code(), ended.stdout.is_empty()), (Some(1), false));
    fs::remove_dir_all(folder).unwrap();
}

fn read_plot(arguments: &[&str], trace: &str, plot: &Path) -> String {
    good(arguments, trace);
    fs::read_to_string(plot).unwrap()
}

#[test]
fn generated_traces_are_the_same_for_the_same_seed() {
    let some = |seed: &str| good(&["generate", "shift", "--requests", "1000", "--seed", seed], "");
    assert_eq!(some("1"), some("1"));
    assert_ne!(some("1"), some("2"));
    assert_eq!(some("1").lines().count(), 1000);
    assert!(some("1").lines().all(|line| line.split(' ').count() == 2 && line.ends_with(" 1024")));
}

#[test]
fn a_second_request_comes_in_and_a_first_does_not() {
    let report =
        json(&["replay", "-", "--size", "1KiB", "--admission", "second-request"], "a 1\nb 1\na 1\na 1\n");
    assert_eq!(report["admission"], "second-request");
    for result in report["results"].as_array().unwrap() {
        assert_eq!((&result["hits"], &result["admitted"]), (&1.into(), &1.into()), "{result}");
    }
}
