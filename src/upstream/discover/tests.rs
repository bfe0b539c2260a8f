//! The hosts file, a name server of our own, and what happens when it has nothing or something else.

mod zone;

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_resolver::{
    Hosts,
    config::{NameServerConfig, ResolverConfig, ResolverOpts},
    proto::rr::{Name, RData, RecordType, rdata::SRV},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;

use self::zone::{with_patient_resolver, with_searched_zone, with_zone};
use super::*;
use crate::backend::Shared;

fn backend(address: Address) -> Arc<Backend> {
    Arc::new(Backend {
        name: "a".into(),
        address,
        weight: 1,
        max_connections: 0,
        backup: false,
        slow_start: Duration::ZERO,
        shared: Arc::new(Shared::default()),
    })
}

/// The same as a backend that is all of its addresses.
fn one(backend: &Arc<Backend>) -> Candidate<'_> {
    Candidate { upstream: "u", backend, is_each: false }
}

/// What is told of servers, in order.
type Told = Arc<Mutex<Vec<Discovered>>>;

fn telling(told: &Told) -> Tell {
    let told = told.clone();
    Arc::new(move |discovered| told.lock().unwrap().push(discovered))
}

fn nobody() -> Tell {
    Arc::new(|_| {})
}

/// What keeps the one backend of a name fresh.
fn followed_alone(backend: &Arc<Backend>) -> Arc<Followed> {
    let known = Mutex::new(Known { backend: Some(backend.clone()), ..Known::default() });
    let (name, upstream, address) = (backend.name.to_string(), "u".to_owned(), backend.address.clone());
    Arc::new(Followed { name, upstream, address, is_each: false, known })
}

fn host(name: &str) -> Address {
    Address::Host { host: name.into(), port: 80 }
}

fn resolved(backend: &Backend) -> Vec<String> {
    backend.shared.resolved.load().iter().map(ToString::to_string).collect()
}

/// Waits for a condition, with other tasks running meanwhile.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[test]
fn literals_are_seeded_and_never_looked_up() {
    for (address, expected) in [
        (host("192.0.2.1"), &["192.0.2.1:80"][..]),
        (host("2001:db8::1"), &["[2001:db8::1]:80"]),
        (host("example.com"), &[]),
        (host("192.0.2"), &[]),
        (Address::Unix("/run/app.sock".into()), &[]),
        (Address::Srv("_http._tcp.example.com".into()), &[]),
    ] {
        let is_name = expected.is_empty() && !matches!(address, Address::Unix(_));
        assert_eq!(is_named(&address), is_name);
        let backend = backend(address);
        seed(&backend);
        assert_eq!(resolved(&backend), expected);
    }
}

#[tokio::test]
async fn only_names_are_looked_up_and_remaining_ones_go_on() {
    let (a, b) = (backend(host("localhost")), backend(host("localhost.")));
    let others = [backend(host("192.0.2.1")), backend(Address::Unix("/run/app.sock".into()))];
    let mut discovery = Discovery::of_system(nobody());
    let ids = |discovery: &Discovery| {
        let mut ids: Vec<_> = discovery.tasks.values().map(|(_, task)| task.id()).collect();
        ids.sort_unstable();
        ids
    };
    discovery.set(others.iter().map(one));
    assert!(discovery.tasks.is_empty());
    discovery.set(others.iter().chain([&a]).map(one));
    let first = ids(&discovery);
    assert_eq!(first.len(), 1);
    discovery.set([&a, &b].into_iter().map(one));
    assert!(ids(&discovery).len() == 2 && ids(&discovery).contains(&first[0]));
    let (_, task) = discovery.tasks[&Key::Backend(Arc::as_ptr(&a.shared))].clone();
    discovery.set([&b].into_iter().map(one));
    until("the task of what is gone ends", || task.is_finished()).await;
    assert_eq!(ids(&discovery).len(), 1);
}

#[tokio::test]
async fn localhost_resolves_and_a_wrong_name_stays_empty() {
    let (good, wrong) = (backend(host("localhost")), backend(host("no such name..")));
    let mut discovery = Discovery::of_system(nobody());
    discovery.set([&good, &wrong].into_iter().map(one));
    until("localhost resolves", || !resolved(&good).is_empty()).await;
    for address in good.shared.resolved.load().iter() {
        assert!(address.ip().is_loopback() && address.port() == 80, "{address}");
    }
    assert!(resolved(&wrong).is_empty());
}

#[tokio::test]
async fn a_change_is_picked_up_and_failures_keep_addresses() {
    with_zone(async |zone, names| {
        zone.set_a("app.test.", 0, &[[192, 0, 2, 2], [192, 0, 2, 1]]);
        let backend = backend(host("app.test"));
        tokio::select! {
            () = keep_fresh(followed_alone(&backend), names, nobody()) => unreachable!(),
            () = async {
            until("resolved", || !resolved(&backend).is_empty()).await;
            assert_eq!(resolved(&backend), ["192.0.2.1:80", "192.0.2.2:80"]);
            zone.set_a("app.test.", 0, &[[192, 0, 2, 3]]);
            until("changed", || resolved(&backend) == ["192.0.2.3:80"]).await;
            zone.records.lock().unwrap().clear();
            let asked = zone.asked.load(Relaxed);
            until("asked again", || zone.asked.load(Relaxed) > asked + 2).await;
            assert_eq!(resolved(&backend), ["192.0.2.3:80"]);
            } => {}
        }
        // Two lookups of one second each, A and AAAA: a TTL of 0 made no flood.
        assert!(zone.asked.load(Relaxed) < 20, "{}", zone.asked.load(Relaxed));
    })
    .await;
}

#[test]
fn several_addresses_of_a_family_are_several_servers() {
    let of = |addresses: &[&str]| {
        let all: Vec<SocketAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
        let (servers, left_out) = servers(&all);
        (servers.iter().map(ToString::to_string).collect::<Vec<_>>(), left_out)
    };
    assert_eq!(of(&["127.0.0.1:80", "[::1]:80"]), (vec![], 0), "one server, two ways to it");
    assert_eq!(of(&["[::1]:80"]), (vec![], 0));
    let both = ["10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80", "[2001:db8::2]:80"];
    assert_eq!(of(&both).0, ["10.0.0.1:80", "10.0.0.2:80"]);
    let six = ["10.0.0.1:80", "[2001:db8::1]:80", "[2001:db8::2]:80"];
    assert_eq!(of(&six).0, ["[2001:db8::1]:80", "[2001:db8::2]:80"]);
    let many: Vec<String> = (0..70).rev().map(|it| format!("10.0.0.{it}:80")).collect();
    let (servers, left_out) = of(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((servers.len(), left_out), (SERVERS_MOST, 6));
    assert_eq!((servers[0].as_str(), servers[63].as_str()), ("10.0.0.0:80", "10.0.0.63:80"));
}

#[tokio::test]
async fn servers_of_a_name_are_told_when_they_change() {
    with_zone(async |zone, names| {
        zone.set_a("app.test.", 0, &[[192, 0, 2, 1]]);
        let name = backend(host("app.test"));
        let told = Told::default();
        let names = Arc::into_inner(names).unwrap();
        let mut discovery = Discovery::new(names, telling(&told));
        let last = || {
            let told = told.lock().unwrap();
            told.last().map(|it| it.servers.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        discovery.set([Candidate { upstream: "u", backend: &name, is_each: true }].into_iter());
        until("it is told", || last().is_some_and(|it| it.is_empty())).await;
        assert_eq!(resolved(&name), ["192.0.2.1:80"], "a name with one address is one backend");
        zone.set_a("app.test.", 0, &[[192, 0, 2, 3], [192, 0, 2, 2]]);
        until("there are two", || last().is_some_and(|it| it == ["192.0.2.2:80", "192.0.2.3:80"])).await;
        assert_eq!(told.lock().unwrap()[1].address, "app.test:80");
        // As a generation has them.
        let at = |last| Address::OfName { host: "app.test".into(), at: ([192, 0, 2, last], 80).into() };
        let each = [backend(at(2)), backend(at(3))];
        each.iter().for_each(|backend| seed(backend));
        assert_eq!(resolved(&each[1]), ["192.0.2.3:80"]);
        let candidates = each.iter().map(|backend| Candidate { upstream: "u", backend, is_each: true });
        discovery.set(candidates);
        assert_eq!(discovery.tasks.len(), 1, "they are one name");
        // What fails changes nothing.
        zone.records.lock().unwrap().clear();
        let asked = zone.asked.load(Relaxed);
        until("asked again", || zone.asked.load(Relaxed) > asked + 2).await;
        assert_eq!(told.lock().unwrap().len(), 2);
        zone.set_a("app.test.", 0, &[[192, 0, 2, 9]]);
        until("it is one again", || last().is_some_and(|it| it.is_empty())).await;
        // The backend of the generation that follows knows at once.
        let again = backend(host("app.test"));
        discovery.set([Candidate { upstream: "u", backend: &again, is_each: true }].into_iter());
        assert_eq!(resolved(&again), ["192.0.2.9:80"]);
        assert!(again.shared.is_looked_up.load(Relaxed));
        assert_eq!(told.lock().unwrap().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_service_gives_the_targets_of_the_best_priority() {
    with_zone(async |zone, names| {
        let srv = |priority, port, target: &str| {
            (30, RData::SRV(SRV::new(priority, 1, port, Name::from_ascii(target).unwrap())))
        };
        let service = Address::Srv("_http._tcp.app.test".into());
        let set = |records: Vec<(u32, RData)>| zone.set("_http._tcp.app.test.", RecordType::SRV, records);
        zone.set_a("one.test.", 7, &[[192, 0, 2, 1]]);
        zone.set_a("two.test.", 20, &[[192, 0, 2, 2]]);
        let lookup = async || names.lookup(&service).await;
        let addresses = async || {
            let found = lookup().await.unwrap();
            found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        set(vec![srv(2, 83, "two.test."), srv(1, 82, "two.test."), srv(1, 81, "one.test.")]);
        assert_eq!(addresses().await, ["192.0.2.1:81", "192.0.2.2:82"]);
        assert_eq!(lookup().await.unwrap().ttl, Duration::from_secs(7));
        // Targets without an address give way: within a priority, then to the next.
        set(vec![srv(1, 81, "gone.test."), srv(1, 82, "two.test."), srv(2, 83, "one.test.")]);
        assert_eq!(addresses().await, ["192.0.2.2:82"]);
        set(vec![srv(1, 81, "gone.test."), srv(2, 83, "one.test.")]);
        assert_eq!(addresses().await, ["192.0.2.1:83"]);
        set(vec![srv(1, 81, "gone.test.")]);
        assert_eq!(lookup().await, Err("target gone.test.: there is no such name".into()));
        set(vec![srv(0, 0, ".")]);
        assert_eq!(lookup().await, Err("the service has no target".into()));
    })
    .await;
}

/// What a lookup gives of which this came before.
async fn again(names: &Names, address: &Address, came: &mut Came) -> Vec<String> {
    let found = names.lookup_again(address, came).await.unwrap();
    found.addresses.iter().map(ToString::to_string).collect()
}

fn not_answered(found: &Found) -> Vec<&str> {
    found.unanswered.iter().map(|it| &*it.what).collect()
}

#[test]
fn what_is_not_answered_is_said_once_for_each_reason() {
    let of = |what: &str, why: &str| Unanswered { what: what.to_owned(), why: why.into() };
    let (one, two, three) = (of("one", "refused"), of("two", "refused"), of("three", "late"));
    let reasons = vec![Fault::from("refused"), Fault::from("late")];
    let all = vec![one.clone(), two, three.clone()];
    assert_eq!(news(all.clone(), &[]), (vec![one, three.clone()], reasons.clone()));
    assert_eq!(news(all.clone(), &[Fault::from("refused")]), (vec![three], reasons.clone()));
    assert_eq!(news(all, &reasons), (vec![], reasons));
    // They are kept with the name, and forgotten when all is answered.
    let followed = followed_alone(&backend(host("app.test")));
    let found = |unanswered| {
        let addresses = vec![([192, 0, 2, 1], 80).into()];
        let found = Found { addresses, ttl: TTL_MOST, left_out: 0, unanswered };
        let is_news = followed.found(found, &nobody());
        (is_news, followed.known().unanswered.clone())
    };
    assert_eq!(found(vec![of("one", "refused")]), (true, vec![Fault::from("refused")]));
    assert_eq!(found(vec![of("one", "refused")]), (false, vec![Fault::from("refused")]));
    assert_eq!(found(vec![]), (false, vec![]));
}

#[test]
fn what_keeps_failing_in_part_is_asked_for_less_often() {
    let mut again = AGAIN;
    let mut after =
        |ttl, is_whole, is_news| pause(Duration::from_secs(ttl), (is_whole, is_news), &mut again).as_secs();
    assert_eq!(after(300, false, true), 5);
    assert_eq!([(); 5].map(|()| after(300, false, false)), [10, 20, 40, 60, 60]);
    // The rest is asked for in its time.
    assert_eq!([after(30, false, false), after(0, false, false)], [30, 1]);
    assert_eq!([after(300, false, true), after(300, false, false)], [5, 10], "for another reason");
    assert_eq!([after(300, true, false), after(0, true, false)], [60, 1]);
    assert_eq!(after(300, false, false), 5, "once it was whole");
}

#[tokio::test]
async fn a_family_that_fails_leaves_its_addresses() {
    with_zone(async |zone, names| {
        use RecordType::{A, AAAA};
        let set_v6 = |number: u16| {
            let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number);
            zone.set("app.test.", AAAA, [(30, RData::AAAA(ip.into()))]);
        };
        let (app, mut came) = (host("app.test"), Came::default());
        zone.set_a("app.test.", 30, &[[192, 0, 2, 1]]);
        set_v6(1);
        // What never came is not waited for.
        zone.fail(&[("app.test.", AAAA)]);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.1:80"]);
        zone.fail(&[]);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.1:80", "[2001:db8::1]:80"]);
        zone.fail(&[("app.test.", AAAA)]);
        zone.set_a("app.test.", 30, &[[192, 0, 2, 2]]);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.2:80", "[2001:db8::1]:80"]);
        let found = names.lookup_again(&app, &mut came).await.unwrap();
        assert_eq!(not_answered(&found), ["AAAA of app.test"]);
        zone.fail(&[("app.test.", A)]);
        set_v6(2);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.2:80", "[2001:db8::2]:80"]);
        // An answer that there is none is one.
        zone.fail(&[]);
        zone.set("app.test.", AAAA, []);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.2:80"]);
        zone.fail(&[("app.test.", AAAA)]);
        let found = names.lookup_again(&app, &mut came).await.unwrap();
        assert_eq!((found.addresses.len(), found.unanswered), (1, vec![]));
    })
    .await;
}

/// As where a firewall drops questions for addresses of IPv6.
#[tokio::test]
async fn a_silent_family_leaves_the_other_one_to_count() {
    with_patient_resolver(Duration::from_secs(2), async |zone, names| {
        let srv = RData::SRV(SRV::new(1, 1, 80, Name::from_ascii("one.test.").unwrap()));
        zone.set("_http._tcp.app.test.", RecordType::SRV, [(30, srv)]);
        zone.set_a("one.test.", 30, &[[192, 0, 2, 1]]);
        zone.set("one.test.", RecordType::AAAA, [(30, RData::AAAA(Ipv6Addr::LOCALHOST.into()))]);
        let (service, mut came) = (Address::Srv("_http._tcp.app.test".into()), Came::default());
        assert_eq!(again(&names, &service, &mut came).await, ["192.0.2.1:80", "[::1]:80"]);
        zone.silence([("one.test.", RecordType::AAAA)]);
        zone.set_a("one.test.", 30, &[[192, 0, 2, 2]]);
        let mut nothing = Came::default();
        let (known, unknown) =
            tokio::join!(again(&names, &service, &mut came), again(&names, &service, &mut nothing));
        assert_eq!(known, ["192.0.2.2:80", "[::1]:80"]);
        assert_eq!(unknown, ["192.0.2.2:80"]);
    })
    .await;
}

#[tokio::test]
async fn both_families_are_of_one_name_on_the_search_list() {
    with_searched_zone(&["a.test", "b.test"], Duration::from_millis(500), async |zone, names| {
        let (app, mut came) = (host("app"), Came::default());
        zone.set_a("app.b.test.", 30, &[[192, 0, 2, 2]]);
        zone.set("app.b.test.", RecordType::AAAA, [(30, RData::AAAA(Ipv6Addr::LOCALHOST.into()))]);
        zone.set_a("app.", 30, &[[192, 0, 2, 3]]);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.2:80", "[::1]:80"]);
        zone.set_a("app.a.test.", 30, &[[192, 0, 2, 1]]);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.1:80"]);
        assert_eq!(again(&names, &host("app."), &mut came).await, ["192.0.2.3:80"]);
        // One with dots is meant as it is, before others.
        zone.set_a("c.app.", 30, &[[192, 0, 2, 4]]);
        zone.set_a("c.app.a.test.", 30, &[[192, 0, 2, 5]]);
        assert_eq!(again(&names, &host("c.app"), &mut came).await, ["192.0.2.4:80"]);
    })
    .await;
}

/// What came for another may be somebody else's.
#[tokio::test]
async fn a_family_is_kept_of_one_name_on_the_list() {
    with_searched_zone(&["a.test", "b.test"], Duration::from_millis(500), async |zone, names| {
        let (app, mut came) = (host("app"), Came::default());
        zone.set_a("app.b.test.", 30, &[[192, 0, 2, 2]]);
        zone.set("app.b.test.", RecordType::AAAA, [(30, RData::AAAA(Ipv6Addr::LOCALHOST.into()))]);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.2:80", "[::1]:80"]);
        zone.fail(&[("app.b.test.", RecordType::AAAA)]);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.2:80", "[::1]:80"]);
        zone.set_a("app.a.test.", 30, &[[192, 0, 2, 1]]);
        zone.fail(&[("app.a.test.", RecordType::AAAA)]);
        assert_eq!(again(&names, &app, &mut came).await, ["192.0.2.1:80"]);
    })
    .await;
}

#[tokio::test]
async fn a_target_that_fails_for_a_moment_stays() {
    with_zone(async |zone, names| {
        use RecordType::{A, AAAA};
        let srv =
            |port, target: &str| (30, RData::SRV(SRV::new(1, 1, port, Name::from_ascii(target).unwrap())));
        let (service, mut came) = (Address::Srv("_http._tcp.app.test".into()), Came::default());
        zone.set_a("one.test.", 30, &[[192, 0, 2, 1]]);
        zone.set_a("two.test.", 30, &[[192, 0, 2, 2]]);
        let both = [srv(81, "one.test."), srv(82, "two.test.")];
        zone.set("_http._tcp.app.test.", RecordType::SRV, both);
        // Nothing is known of it yet.
        zone.fail(&[("one.test.", A), ("one.test.", AAAA)]);
        let ttl = async || names.lookup(&service).await.unwrap().ttl;
        assert_eq!(not_answered(&names.lookup(&service).await.unwrap()), ["target one.test."]);
        assert_eq!(again(&names, &service, &mut came).await, ["192.0.2.2:82"]);
        zone.fail(&[]);
        assert_eq!(again(&names, &service, &mut came).await, ["192.0.2.1:81", "192.0.2.2:82"]);
        // Also where the family that it never had is answered.
        for failing in [&[("one.test.", A), ("one.test.", AAAA)][..], &[("one.test.", A)]] {
            zone.fail(failing);
            assert_eq!(again(&names, &service, &mut came).await, ["192.0.2.1:81", "192.0.2.2:82"]);
            let found = names.lookup_again(&service, &mut came).await.unwrap();
            assert_eq!(not_answered(&found), ["A of one.test."]);
        }
        zone.fail(&[]);
        zone.records.lock().unwrap().remove(&("one.test.".to_owned(), A));
        assert_eq!(again(&names, &service, &mut came).await, ["192.0.2.2:82"]);
        assert_eq!(ttl().await, Duration::from_secs(30), "that it is not there holds");
    })
    .await;
}

/// One after the other, a few that are silent would hold up all others for minutes.
#[tokio::test]
async fn targets_are_looked_up_side_by_side() {
    with_zone(async |zone, names| {
        let of = |number: u16| format!("t{number}.test.");
        let srv = |number| (30, RData::SRV(SRV::new(1, 1, 80, Name::from_ascii(of(number)).unwrap())));
        zone.set("_http._tcp.app.test.", RecordType::SRV, [3, 1, 2].map(srv));
        for number in [1, 2, 3] {
            zone.set_a(&of(number), 30, &[[192, 0, 2, u8::try_from(number).unwrap()]]);
        }
        zone.awaited.lock().unwrap().extend([1, 2, 3].map(of));
        let service = Address::Srv("_http._tcp.app.test".into());
        let found = again(&names, &service, &mut Came::default()).await;
        assert_eq!(found, ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"]);
    })
    .await;
}

/// Those that sort first would be asked for alone, in every lookup.
#[tokio::test]
async fn silent_targets_leave_others_their_turn() {
    with_patient_resolver(Duration::from_secs(4), async |zone, names| {
        let of = |number: u16| format!("t{number:02}.test.");
        let srv = |priority, number| {
            (30, RData::SRV(SRV::new(priority, 1, 80, Name::from_ascii(of(number)).unwrap())))
        };
        let silent: Vec<String> = (0..16).map(of).collect();
        let both = |name| [RecordType::A, RecordType::AAAA].map(|kind| (name, kind));
        zone.silence(silent.iter().map(String::as_str).flat_map(both));
        zone.set_a(&of(16), 30, &[[192, 0, 2, 1]]);
        zone.set("_many._tcp.app.test.", RecordType::SRV, (0..17).map(|number| srv(1, number)));
        zone.set("_spare._tcp.app.test.", RecordType::SRV, [srv(1, 0), srv(2, 16)]);
        let [many, spare] =
            ["_many", "_spare"].map(|name| Address::Srv(format!("{name}._tcp.app.test").into()));
        let (mut of_many, mut of_spare) = (Came::default(), Came::default());
        let (many, spare) =
            tokio::join!(again(&names, &many, &mut of_many), again(&names, &spare, &mut of_spare));
        assert_eq!(many, ["192.0.2.1:80"]);
        assert_eq!(spare, ["192.0.2.1:80"]);
    })
    .await;
}

#[test]
fn all_targets_of_a_service_have_one_time() {
    let turn = |targets, priorities| targets::turn(Duration::from_secs(15), targets, priorities).as_millis();
    assert_eq!([turn(1, 1), turn(16, 1), turn(17, 1), turn(64, 1)], [15_000, 15_000, 7_500, 3_750]);
    assert_eq!([turn(1, 2), turn(64, 2), turn(64, 100)], [7_500, 1_875, 1_000]);
    assert_eq!(targets::turn(Duration::ZERO, 1, 1), Duration::from_secs(1), "each is asked for");
}

#[test]
fn what_is_too_much_for_one_backend_is_left_out() {
    let target = |number: u16| (Name::from_ascii(format!("t{number:02}.test.")).unwrap(), 80);
    let (targets, left_out) = targets::lowest((0..70).rev().chain([3]).map(target).collect());
    assert_eq!((targets.len(), left_out), (64, 6));
    assert_eq!((&targets[0], &targets[63]), (&target(0), &target(63)));
    let v4 = (0_u8..70).rev().map(|number| SocketAddr::from(([10, 0, 0, number], 80)));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 80));
    let addresses: Vec<_> = std::iter::once(v6).chain(v4).collect();
    let backend = backend(host("app.test"));
    let found = Found { addresses, ttl: TTL_MOST, left_out: 2, unanswered: Vec::new() };
    let followed = followed_alone(&backend);
    followed.found(found, &nobody());
    let resolved = resolved(&backend);
    assert_eq!((resolved.len(), followed.known().left_out), (SERVERS_MOST + 1, 8));
    assert_eq!((&*resolved[0], &*resolved[63], &*resolved[64]), ("10.0.0.0:80", "10.0.0.63:80", "[::1]:80"));
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_reasons_are_plain() {
    with_zone(async |zone, names| {
        zone.set_a("filed.test.", 5, &[[198, 51, 100, 1]]);
        let found = names.lookup(&host("filed.test")).await.unwrap();
        let addresses = vec![([192, 0, 2, 9], 80).into()];
        assert_eq!(found, Found { addresses, ttl: TTL_MOST, left_out: 0, unanswered: Vec::new() });
        assert_eq!(zone.asked.load(Relaxed), 0);
        assert_eq!(names.lookup(&host("gone.test")).await, Err("there is no such name".into()));
        zone.set("mail.test.", RecordType::MX, []);
        assert_eq!(names.lookup(&host("mail.test")).await, Err("the name has no address".into()));
    })
    .await;
    let nothing = ResolverConfig::from_name_servers(Vec::new());
    let names = Names::of(nothing, ResolverOpts::default(), Hosts::default());
    let reason = names.lookup(&host("app.test")).await.unwrap_err();
    assert_eq!(reason.to_string(), "there is no name server to ask");
}

/// Run again by itself, with no descriptor left, since a limit is the whole process's.
#[test]
fn a_lookup_without_descriptors_says_nothing_of_the_name() {
    const ALONE: &str = "POINTSMAN_WITHOUT_DESCRIPTORS";
    if std::env::var_os(ALONE).is_none() {
        let name = "upstream::discover::tests::a_lookup_without_descriptors_says_nothing_of_the_name";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", name, "--nocapture"]).env(ALONE, "1").stdout(std::process::Stdio::piped());
        let child =
            crate::sync::children::begin(|| again.stderr(std::process::Stdio::piped()).spawn()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
        let config = ResolverConfig::from_name_servers(vec![server]);
        let names = Names::of(config, ResolverOpts::default(), Hosts::default());
        let backends = [backend(host("app.test")), backend(Address::Srv("_app._tcp.test".into()))];
        // Standard input, output and error; what is open beyond stays open.
        let limit = Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) };
        setrlimit(Resource::Nofile, limit).unwrap();
        let names = Arc::new(names);
        for backend in backends {
            assert_eq!(names.lookup(&backend.address).await, Err(Fault::NoSocket), "{}", backend.address);
            let fresh = keep_fresh(followed_alone(&backend), names.clone(), nobody());
            assert!(timeout(Duration::from_millis(100), fresh).await.is_err(), "it goes on");
            assert!(backend.shared.has_no_socket.load(Relaxed) && backend.shared.is_looked_up.load(Relaxed));
        }
    });
}
