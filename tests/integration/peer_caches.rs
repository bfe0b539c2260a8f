//! Caches of several nodes that ask each other before the origin.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use crate::{
    peers::{ask, certificates, cluster, until_known},
    support::{Client, Origin, PATIENCE, Proxy, Reply, Request, client::Response, eventually, free, proxy},
};

/// What a peer may take in tests, whose machine is busy: the most that it may be given.
pub const PATIENT: &str = "10s";

/// A response of this body that is fresh for ten minutes.
pub fn fresh(body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes(),
    )
}

/// The configuration of a node of a fleet whose caches ask each other.
pub fn configs(count: usize, origin: &Origin, patience: &str, route: &str, cache: &str) -> Vec<String> {
    let folder = certificates(count);
    let members: Vec<_> = (0..count).map(|_| free()).collect();
    let one = |index| {
        let cluster = cluster(&folder, index, &members)
            .replace("[cluster.peers]\n", &format!("[cluster.peers]\nresponse_timeout = \"{patience}\"\n"));
        let cache = format!("[[cache]]\nname = \"c\"\npeers = true\n{cache}");
        let text = proxy::config(&[origin.address()], &format!("---\n{cache}{cluster}"));
        text.replace("upstream = \"u\"\n", &format!("upstream = \"u\"\ncache = \"c\"\n{route}"))
    };
    (0..count).map(one).collect()
}

/// Nodes that know each other, and whose rings have all of them.
pub fn fleet(configs: &[String]) -> Vec<Proxy> {
    let nodes: Vec<Proxy> = configs.iter().map(|config| Proxy::start(config)).collect();
    until_known(&nodes);
    nodes
}

/// How the last cache says that it came to the answer, and those before it.
pub fn said(response: &Response) -> Vec<String> {
    let values = response.headers.iter().filter(|(name, _)| name == "cache-status");
    values.map(|(_, value)| value.split("; ttl").next().unwrap_or_default().to_owned()).collect()
}

/// A target that this node owns, found by asking it first: the origin is asked by this node then, and by no other.
fn owned_by(nodes: &[Proxy], index: usize) -> String {
    for number in 0..200 {
        let target = format!("/owned-{index}-{number}");
        let answer = nodes[(index + 1) % nodes.len()].get(&target);
        if said(&answer).first().is_some_and(|it| it.starts_with(&format!("pointsman-node{index};"))) {
            return target;
        }
    }
    panic!("node{index} owns nothing");
}

fn asked(origin: &Origin, target: &str) -> usize {
    origin.requests().iter().filter(|request| request.target == target).count()
}

#[test]
fn cold_requests_over_four_nodes_reach_the_origin_once() {
    let origin = Origin::start(|_: &Request| {
        // Longer than peers are waited for: they say that they are about to answer.
        std::thread::sleep(Duration::from_millis(4500));
        fresh("whole")
    });
    let nodes = fleet(&configs(4, &origin, "4s", "", ""));
    let begun = Instant::now();
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for connection in 0..40 {
            let (nodes, served) = (&nodes, &served);
            scope.spawn(move || {
                let mut client = nodes[connection % nodes.len()].connect();
                for _ in 0..250 {
                    assert_eq!(client.get("/cold").text(), "whole");
                    served.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!((served.load(SeqCst), asked(&origin, "/cold")), (10_000, 1));
    println!("10,000 requests in {:?}", begun.elapsed());
}

#[test]
fn answer_of_a_peer_names_both_nodes_and_is_stored() {
    let origin = Origin::start(|_: &Request| fresh("whole"));
    let nodes = fleet(&configs(2, &origin, PATIENT, "", ""));
    let target = owned_by(&nodes, 1);
    // It was asked through node 0 for the first time: node 1 fetched it.
    let log = nodes[0].logged(&target);
    assert_eq!((&log["cache"], &log["peer"]), (&"peer".into(), &"node1".into()), "{log}");
    let log = nodes[1].logged(&target);
    assert_eq!((&log["for_peer"], &log["listener"]), (&"node0".into(), &"web".into()), "{log}");
    assert_eq!((&log["client"], &log["cache"]), (&"127.0.0.1".into(), &"miss".into()), "{log}");
    for node in &nodes {
        let answer = node.get(&target);
        assert_eq!(said(&answer).last().map(String::as_str), Some("pointsman; hit"), "{:?}", said(&answer));
        assert_eq!(answer.headers.iter().filter(|(name, _)| name == "pointsman-peer").count(), 0);
    }
    assert_eq!(asked(&origin, &target), 1);
    // What the owner has is a hit there, whoever asked it first.
    let hit = (0..200).map(|number| format!("/hit-{number}")).find(|target| {
        nodes[1].get(target);
        said(&nodes[0].get(target)) == ["pointsman-node1; hit", "pointsman; fwd=uri-miss; stored"]
    });
    assert_eq!(asked(&origin, &hit.unwrap()), 1);
    let metrics = Client::connect(nodes[0].address("admin")).get("/metrics").text();
    let count = |result: &str| {
        let name = format!("pointsman_cache_peer_requests_total{{cache=\"c\",result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse::<u32>().unwrap()
    };
    assert!(
        count("fetched") >= 1 && count("hit") == 1 && count("slow") == 0 && count("declined") == 0,
        "{metrics}"
    );
}

#[test]
fn origin_sees_the_same_request_through_a_peer() {
    let origin = Origin::start(|_: &Request| fresh("whole"));
    // What clients may not say is what the route says, so that backends believe it.
    let edit = "[route.request_headers]\nadd = { x-added = \"once\" }\n\
                set = { x-forwarded-prefix = \"/app\", x-real-ip = \"{client_ip}\", x_added_user = \"ann\" }\n\
                [route.response_headers]\nadd = { x-answer = \"once\" }\n";
    let configs = configs(2, &origin, PATIENT, edit, "");
    let nodes = fleet(&configs);
    let (own, others) = (owned_by(&nodes, 0), owned_by(&nodes, 1));
    let spoofed = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-User: evil\r\nX-Real-IP: 6.6.6.6\r\n\
         X_Evil: 1\r\nPointsman-Peer: cache\r\nX-Other: 1\r\n";
    let ask = |target: &str| nodes[0].connect().get_with(&format!("{target}?x"), "test", spoofed);
    let mut heads = Vec::new();
    for number in 0..40 {
        let base = if number % 2 == 0 { &own } else { &others };
        let target = format!("{base}-{number}");
        let answer = ask(&target);
        assert_eq!(answer.headers.iter().filter(|(name, _)| name == "x-answer").count(), 1);
        let request = origin.requests().into_iter().find(|it| it.target == format!("{target}?x")).unwrap();
        let forwarding = request.headers.iter().filter(|(name, _)| {
            let begins =
                ["x-forwarded", "x-added", "x_", "x-real"].iter().any(|begin| name.starts_with(begin));
            begins || name == "pointsman-peer"
        });
        heads.push((said(&answer).len(), forwarding.cloned().collect::<Vec<_>>()));
    }
    assert!(heads.iter().any(|(hops, _)| *hops == 1) && heads.iter().any(|(hops, _)| *hops == 2));
    assert!(heads.iter().all(|(_, head)| *head == heads[0].1), "{heads:?}");
    let first = &heads[0].1;
    assert!(first.contains(&("x-forwarded-for".into(), "127.0.0.1".into())), "{first:?}");
    assert!(first.contains(&("x-forwarded-host".into(), "test".into())), "{first:?}");
    for (name, value) in [("x-forwarded-prefix", "/app"), ("x-real-ip", "127.0.0.1"), ("x_added_user", "ann")]
    {
        assert!(first.contains(&(name.into(), value.into())), "{first:?}");
    }
    assert!(first.iter().all(|(name, value)| value != "evil" && name != "x_evil"), "{first:?}");
}

#[test]
fn mark_of_a_client_is_taken_out() {
    let origin = Origin::start(|_: &Request| fresh("whole"));
    let nodes = fleet(&configs(2, &origin, PATIENT, "", ""));
    let mark = "Pointsman-Peer: cache 6.6.6.6 1 trusted https web node1\r\n";
    let answer = nodes[0].connect().get_with("/marked", "test", mark);
    assert_eq!((answer.status, answer.header("pointsman-peer")), (200, None));
    let log = nodes[0].logged("/marked");
    assert_eq!((&log["client"], &log["for_peer"]), (&"127.0.0.1".into(), &serde_json::Value::Null));
    assert!(origin.requests().iter().all(|request| request.header("pointsman-peer").is_none()));
}

#[test]
fn owner_that_hangs_or_is_gone_costs_no_answer() {
    let origin = Origin::start(|_: &Request| fresh("whole"));
    let mut nodes = fleet(&configs(3, &origin, "100ms", "", ""));
    nodes[2].signal("STOP");
    let all = |nodes: &[Proxy], name: &str| {
        for number in 0..60 {
            let begun = Instant::now();
            let answer = nodes[number % 2].get(&format!("/{name}-{number}"));
            let took = begun.elapsed();
            assert!(took < PATIENCE / 2, "{took:?}");
            assert_eq!((answer.status, answer.text().as_str()), (200, "whole"));
        }
    };
    all(&nodes, "hangs");
    let log = nodes[0].access_log();
    assert!(log.iter().all(|line| line["peer"] != "node2"));
    nodes[2].signal("KILL");
    nodes[2].wait();
    all(&nodes, "gone");
    eventually("it is in no ring any more", || {
        let status = ask(&nodes[0], "GET", "/api/v1/cluster", "");
        status["nodes"].as_array().unwrap().iter().any(|node| node["is_there"] == false)
    });
    let avoided = || {
        let metrics = Client::connect(nodes[0].address("admin")).get("/metrics").text();
        let counts = metrics.lines().filter(|line| line.starts_with("pointsman_cache_peer_requests_total"));
        counts.filter(|line| !line.contains("hit") && !line.contains("fetched")).map(str::to_owned).collect()
    };
    // A node that is there may be late, too, on a busy machine.
    let (mut before, mut round): (Vec<String>, _) = (avoided(), 0);
    eventually("who is not there is not asked", || {
        round += 1;
        all(&nodes, &format!("without-{round}"));
        let after = avoided();
        std::mem::replace(&mut before, after.clone()) == after
    });
}

#[test]
fn purged_response_does_not_come_back_from_its_owner() {
    static VERSION: AtomicUsize = AtomicUsize::new(0);
    let origin = Origin::start(|_: &Request| fresh(&VERSION.load(SeqCst).to_string()));
    let nodes = fleet(&configs(2, &origin, PATIENT, "", ""));
    let target = owned_by(&nodes, 1);
    assert_eq!(nodes[0].get(&target).text(), "0");
    VERSION.store(1, SeqCst);
    // The owner does not hear of it: as if the news were still on its way.
    ask(&nodes[0], "POST", "/api/v1/caches/c/purge?local=true", "{\"all\": true}");
    assert_eq!(nodes[1].get(&target).text(), "0");
    let answer = nodes[0].get(&target);
    assert_eq!(answer.text(), "1", "{:?}", said(&answer));
    assert_eq!(nodes[0].get(&target).text(), "1");
    // Something else of it is asked for as before.
    let metrics = Client::connect(nodes[0].address("admin")).get("/metrics").text();
    assert!(metrics.contains("pointsman_cache_peer_requests_total{cache=\"c\",result=\"outdated\"} 1"));
}

#[test]
fn peer_of_another_configuration_declines_and_the_origin_answers() {
    let origin = Origin::start(|_: &Request| fresh("whole"));
    let mut texts = configs(2, &origin, PATIENT, "", "");
    texts[1] = texts[1].replace("peers = true\n", "");
    let nodes = fleet(&texts);
    for number in 0..20 {
        let answer = nodes[0].get(&format!("/{number}"));
        assert_eq!((answer.status, said(&answer)), (200, vec!["pointsman; fwd=uri-miss; stored".to_owned()]));
    }
    let metrics = Client::connect(nodes[0].address("admin")).get("/metrics").text();
    assert!(!metrics.contains("cache_peer_requests_total{cache=\"c\",result=\"declined\"} 0"), "{metrics}");
}

/// Else the owner would take another route by what is left of the request, and its page would be stored as that of the first.
#[test]
fn owner_takes_the_route_that_took_the_request() {
    let (stable, beta) =
        (Origin::start(|_: &Request| fresh("stable")), Origin::start(|_: &Request| fresh("beta")));
    let route = format!(
        "[[route]]\nname = \"beta\"\ncookies = {{ beta = \"1\" }}\nrequest_headers = {{ remove = [\"cookie\"] }}\n\
         upstream = \"b\"\ncache = \"c\"\n[[upstream]]\nname = \"b\"\n[[upstream.backend]]\naddress = \"{}\"\n\
         [[route]]\n",
        beta.address()
    );
    let texts = configs(2, &stable, PATIENT, "", "");
    let nodes = fleet(&texts.iter().map(|text| text.replacen("[[route]]\n", &route, 1)).collect::<Vec<_>>());
    let mut by_owner = 0;
    for number in 0..20 {
        let target = format!("/{number}");
        for node in &nodes {
            let with = |fields: &str| node.connect().get_with(&target, "test", fields).text();
            assert_eq!((with("Cookie: beta=1\r\n"), with("")), ("beta".into(), "stable".into()), "{target}");
        }
        by_owner += usize::from((asked(&stable, &target), asked(&beta, &target)) == (1, 1));
    }
    // On a busy machine an owner may be taken for gone for a moment; without its route none of them would be right.
    assert!(by_owner >= 10, "of 20 objects owners asked for {by_owner}");
}

#[test]
fn variants_and_conditions_go_through_two_caches() {
    let origin = Origin::start(|request: &Request| {
        let language = request.header("accept-language").unwrap_or("none");
        let length = language.len();
        let head = "Cache-Control: max-age=600\r\nVary: accept-language\r\nETag: ";
        Reply::Bytes(
            format!("HTTP/1.1 200 OK\r\n{head}\"{language}\"\r\nContent-Length: {length}\r\n\r\n{language}")
                .into_bytes(),
        )
    });
    let nodes = fleet(&configs(2, &origin, PATIENT, "", ""));
    let target = owned_by(&nodes, 1);
    let with = |node: &Proxy, fields: &str| node.connect().get_with(&target, "test", fields);
    for language in ["de", "fr"] {
        for node in &nodes {
            assert_eq!(with(node, &format!("Accept-Language: {language}\r\n")).text(), language);
        }
    }
    assert_eq!(asked(&origin, &target), 3, "none, and each language once");
    let ranged = with(&nodes[0], "Accept-Language: it\r\nRange: bytes=1-1\r\n");
    assert_eq!((ranged.status, ranged.text().as_str()), (206, "t"));
    let conditional = with(&nodes[0], "Accept-Language: nl\r\nIf-None-Match: \"nl\"\r\n");
    assert_eq!(conditional.status, 304);
    // Nothing that a peer has is cached here.
    let only = with(&nodes[0], "Accept-Language: sv\r\nCache-Control: only-if-cached\r\n");
    assert_eq!(only.status, 504);
    // Who asks for a fresh one gets it, by way of the owner or not.
    let before = asked(&origin, &target);
    let fresh = with(&nodes[0], "Accept-Language: de\r\nCache-Control: no-cache\r\n");
    assert_eq!((fresh.text().as_str(), asked(&origin, &target)), ("de", before + 1));
}

/// Objects by how often they are asked for: the second half as often as the first, the third a third as often (Zipf).
pub struct Popular(Vec<f64>);

impl Popular {
    pub fn new(count: u32) -> Self {
        let mut sum = 0.0;
        Self((1..=count).map(|rank| (sum += 1.0 / f64::from(rank), sum).1).collect())
    }

    pub fn target(&self, rng: &mut fastrand::Rng) -> String {
        let at = rng.f64() * self.0.last().unwrap();
        format!("/object-{}", self.0.partition_point(|sum| *sum < at))
    }
}

#[test]
fn node_that_takes_over_is_warm() {
    let origin = Origin::start(|_: &Request| fresh("whole"));
    let mut nodes = fleet(&configs(2, &origin, PATIENT, "", ""));
    let (popular, mut rng) = (Popular::new(2000), fastrand::Rng::with_seed(7));
    // How often the origin was asked, and for how many objects the node was.
    let mut ask = |node: &Proxy| {
        let (mut client, before) = (node.connect(), origin.requests().len());
        let mut objects = HashSet::new();
        for _ in 0..20_000 {
            let target = popular.target(&mut rng);
            assert_eq!(client.get(&target).status, 200);
            objects.insert(target);
        }
        (origin.requests().len() - before, objects.len())
    };
    ask(&nodes[0]);
    let (before, _) = ask(&nodes[0]);
    nodes[0].signal("KILL");
    nodes[0].wait();
    let (misses, objects) = ask(&nodes[1]);
    println!(
        "{before} misses before, {misses} in the 20,000 requests after, which were for {objects} objects"
    );
    // A cold node asks for each of them once; this one owned half of them, and has those.
    assert!(misses * 4 <= objects * 3, "{misses} misses for {objects} objects");
}
