use std::time::{Duration, Instant};

use super::{
    super::tests::{CONFIG, shared},
    *,
};
use crate::{
    error::Kind,
    telemetry::{
        metrics::{NO_NAME, RequestKey},
        recent_errors::{Failure, KEPT},
    },
};

fn read(shared: &crate::runtime::worker::Shared) -> Value {
    traffic(&shared.snapshot.load(), &shared.registry, 7)
}

fn key(status: u16) -> RequestKey {
    RequestKey { listener: 1, upstream: NO_NAME, status }
}

#[test]
fn totals_sum_workers_and_keep_removed_routes() {
    let shared = shared(CONFIG);
    let before = read(&shared);
    assert_eq!((&before["requests"], &before["errors"]), (&0.into(), &json!([])));
    assert_eq!(before["routes"][0]["name"], "all");
    assert_eq!(before["routes"].as_array().unwrap().len(), 1, "nothing went to no route");
    for worker in shared.registry.workers() {
        for status in [101, 200, 200, 304, 404, 502] {
            worker.route(&"all".into()).record(key(status), Duration::from_millis(3));
        }
        worker.route(&"".into()).record(key(404), Duration::from_secs(20));
        worker.route(&"retired".into()).record(key(0), Duration::from_millis(3));
        worker.series.bytes_in.add(10);
        worker.series.bytes_out.add(100);
        worker.series.retries.add(1);
    }
    let after = read(&shared);
    assert_eq!(after["requests"], 16);
    let classes = json!({"1xx": 2, "2xx": 4, "3xx": 2, "4xx": 4, "5xx": 2, "none": 2});
    assert_eq!(after["classes"], classes);
    assert_eq!(
        (&after["bytes_in"], &after["bytes_out"], &after["retries"]),
        (&20.into(), &200.into(), &2.into())
    );
    let bounds = after["latency"]["bounds_seconds"].as_array().unwrap();
    let counts = after["latency"]["counts"].as_array().unwrap();
    assert_eq!((bounds.len() + 1, &bounds[3]), (counts.len(), &json!(0.005)));
    assert_eq!((&counts[3], &counts[14]), (&json!(14), &json!(2)));
    assert_eq!(after["latency"]["sum_seconds"], 40.042);
    assert_eq!((&after["uptime_seconds"], &after["connections"]), (&7.into(), &0.into()));
    assert!(after["at"].as_u64().unwrap() > 1_700_000_000_000);
    let routes = after["routes"].as_array().unwrap();
    let listed: Vec<_> = routes.iter().map(|it| (&it["name"], &it["requests"], &it["errors"])).collect();
    assert_eq!(listed, [(&json!("all"), &json!(12), &json!(2)), (&json!(""), &json!(2), &json!(0))]);
    assert_eq!(routes[0]["latency"]["counts"][3], 12);
    assert_eq!(after["routes_left_out"], 0);
}

#[test]
fn the_busiest_routes_are_listed_and_all_are_counted() {
    let route =
        |number| format!("[[route]]\nname = \"r{number}\"\npaths = [\"/{number}\"]\nupstream = \"app\"\n");
    let shared = shared(&format!("{CONFIG}{}", (0..5000).map(route).collect::<String>()));
    for worker in shared.registry.workers() {
        for number in 0..5000 {
            let series = worker.route(&format!("r{number}").into());
            (0..1 + number / 100).for_each(|_| series.record(key(200), Duration::from_millis(1)));
        }
    }
    let begun = Instant::now();
    let traffic = read(&shared);
    println!("{} bytes in {:?}", traffic.to_string().len(), begun.elapsed());
    let routes = traffic["routes"].as_array().unwrap();
    assert_eq!((routes.len(), &traffic["routes_left_out"]), (MOST_ROUTES, &json!(4901)));
    assert!(routes.iter().all(|route| route["requests"] == 100));
    assert_eq!(routes[0]["name"], "r4900", "the same count stays in the order of the file");
    assert_eq!(traffic["requests"], 2 * (1..=50).map(|count| count * 100).sum::<u64>());
}

#[test]
fn errors_of_all_workers_come_newest_first() {
    let shared = shared(CONFIG);
    for (index, worker) in shared.registry.workers().iter().enumerate() {
        for number in 0..200 {
            worker.errors.note(&Failure {
                at: (number * 2 + index as u64) * 1000,
                listener: "web",
                route: Some("all"),
                upstream: Some("app"),
                backend: None,
                method: "GET",
                path: "/x",
                status: 502,
                kind: Kind::Connect,
                detail: "refused",
                id: "7f",
            });
        }
    }
    let traffic = read(&shared);
    let errors = traffic["errors"].as_array().unwrap();
    let times: Vec<u64> = errors.iter().map(|error| error["at"].as_u64().unwrap() / 1000).collect();
    assert_eq!(times, (400 - 2 * KEPT as u64..400).rev().collect::<Vec<_>>());
    let expected = json!({
        "at": 399_000, "listener": "web", "route": "all", "upstream": "app", "backend": null,
        "method": "GET", "path": "/x", "status": 502, "kind": "connect", "detail": "refused",
        "request_id": "7f",
    });
    assert_eq!(errors[0], expected);
}
