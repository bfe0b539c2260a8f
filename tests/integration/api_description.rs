//! What the API says of itself holds: schemathesis reads the OpenAPI document of the running program and
//! asks everything in it, well and badly, while requests pass; Prometheus' own parser reads the metrics.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::support::{Client, Origin, Proxy, proxy::folder, python_tool};

#[test]
fn what_the_description_says_holds_and_no_request_beside_fails() {
    let Some(schemathesis) = python_tool("schemathesis") else { return };
    let origins: Vec<Origin> = (0..3).map(|_| Origin::named("u")).collect();
    let beside = Origin::named("beside");
    let folder = folder();
    fs::write(folder.join("token"), "s3cret\n").unwrap();
    let mut text = format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\naccess = \"off\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"beside\"\nhosts = [\"beside.test\"]\nupstream = \"beside\"\n\
         [[route]]\nname = \"all\"\nupstream = \"u\"\ncache = \"pages\"\n\
         [[route]]\nname = \"collapsing\"\nhosts = [\"c.test\"]\nupstream = \"u\"\ncollapse = true\n\
         [[cache]]\nname = \"pages\"\n\
         [[upstream]]\nname = \"beside\"\nbackend = [{{ address = \"{}\" }}]\n[[upstream]]\nname = \"u\"\n",
        beside.address()
    );
    for (number, origin) in origins.iter().enumerate() {
        let address = origin.address();
        text += &format!(
            "[[upstream.backend]]\nname = \"b{number}\"\naddress = \"{address}\"\nweight = {}\n",
            number + 1
        );
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    for file in ["hooks.py", "schemathesis.toml"] {
        fs::copy(own.join(file), folder.join(file)).unwrap();
    }
    fs::write(folder.join("good.toml"), &text).unwrap();
    let mut proxy = Proxy::start_in(folder, &text);
    let traffic = Traffic::start(&proxy);
    let begun = Instant::now();
    let document = format!("http://{}/api/v1/openapi.json", proxy.address("admin"));
    let output = Command::new("timeout")
        .arg("120")
        .arg(schemathesis)
        .args(["run", &document, "--header", "Authorization: Bearer s3cret"])
        .args(["--checks", "all", "--mode", "all", "--max-examples", "15", "--seed", "1", "--no-shrink"])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--max-time", "20", "--no-color"])
        // It would go on with another process than the one that is watched here.
        .args(["--exclude-path", "/api/v1/upgrade"])
        // It would end the connections of the requests that pass beside.
        .args(["--exclude-path", "/api/v1/connections/{id}"])
        .args(["--continue-on-failure", "--request-timeout", "10", "--generation-database", "none"])
        .env("POINTSMAN_CONFIG", proxy.folder().join("good.toml"))
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .current_dir(proxy.folder())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let sent = traffic.end();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("generated"), "nothing was asked:\n{printed}");
    assert!(sent > 100, "only {sent} requests passed beside in {:?}", begun.elapsed());
    assert!(proxy.is_running());
    let panics = proxy.log().iter().filter(|line| line.contains("panicked")).count();
    assert_eq!(panics, 0);
}

/// Requests that pass while something else happens; the first that fails ends the test.
struct Traffic {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Traffic {
    fn start(proxy: &Proxy) -> Self {
        let (is_over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = proxy.address("web");
        let thread = |is_kept: bool| {
            let (is_over, sent) = (is_over.clone(), sent.clone());
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !is_over.load(Relaxed) {
                    if !is_kept {
                        client = Client::connect(address);
                    }
                    let response = client.get_with("/", "beside.test", "");
                    assert_eq!((response.status, response.text().as_str()), (200, "beside"));
                    sent.fetch_add(1, Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        };
        let threads = [true, true, false].map(thread).into();
        Self { is_over, sent, threads }
    }

    /// How many went well; all of them did.
    fn end(self) -> usize {
        self.is_over.store(true, Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.sent.load(Relaxed)
    }
}

/// Reads an exposition as the Prometheus client library does, and checks what its parser takes without a word.
const PARSE: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
text = sys.stdin.read()
families = list(text_string_to_metric_families(text))
names = [family.name for family in families]
assert len(names) == len(set(names)), names
seen = set()
for family in families:
    assert family.type in ('counter', 'gauge', 'histogram'), (family.name, family.type)
    assert family.documentation, family.name
    counts = {}
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in seen, key
        seen.add(key)
        if sample.name.endswith('_bucket'):
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != 'le'))
            assert sample.value >= counts.get(labels, 0), key
            counts[labels] = sample.value
    for sample in family.samples:
        if family.type == 'histogram' and sample.name.endswith('_count'):
            assert counts[tuple(sorted(sample.labels.items()))] == sample.value, sample
print(len(families), len(seen))
";

#[test]
fn the_metrics_are_what_prometheus_own_parser_reads() {
    let Some(python) = python_tool("python3") else { return };
    let origin = Origin::named("a");
    let text = crate::support::proxy::config(&[origin.address()], "[admin]\naddress = \"127.0.0.1:0\"\n");
    let proxy = Proxy::start(&text);
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status, 200);
    }
    let mut admin = Client::connect(proxy.address("admin"));
    let metrics = admin.get_with("/metrics", "localhost", "").text();
    let file = proxy.folder().join("metrics");
    fs::write(&file, metrics).unwrap();
    let output =
        Command::new(python).args(["-c", PARSE]).stdin(fs::File::open(file).unwrap()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts: Vec<usize> = printed.split_whitespace().map(|count| count.parse().unwrap()).collect();
    assert!(counts[0] > 10 && counts[1] > 50, "{printed}");
}
