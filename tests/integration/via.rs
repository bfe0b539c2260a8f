//! Via: its name, and without it.

use crate::support::{Client, Origin, Proxy, Reply, proxy::config_of};

/// What the backend and the client see of Via, and the status, when the client sends this.
fn seen(option: &str, sent: &str) -> (Vec<String>, Vec<String>, u16) {
    let origin = Origin::start(|_| {
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nVia: 1.1 behind\r\nContent-Length: 0\r\n\r\n".to_vec())
    });
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], option, ""));
    let response = Client::connect(proxy.address("web")).get_with("/", "a", sent);
    let requests = origin.requests();
    let towards = requests.first().map(|it| it.all("via").iter().map(ToString::to_string).collect());
    let back = response.headers.iter().filter(|(name, _)| name == "via").map(|(_, value)| value.clone());
    (towards.unwrap_or_default(), back.collect(), response.status)
}

#[test]
fn via_has_the_name_that_the_listener_says() {
    let (towards, back, _) = seen("", "Via: 2 before\r\n");
    assert!(towards.len() == 1 && towards[0].starts_with("2 before, 1.1 pointsman-"), "{towards:?}");
    assert_eq!(back, ["1.1 behind", "1.1 pointsman"]);
    let (towards, back, _) = seen("via = \"edge-1\"\n", "Via: 2 before\r\n");
    assert_eq!(
        (towards, back),
        (vec!["2 before, 1.1 edge-1".into()], vec!["1.1 behind".into(), "1.1 edge-1".into()])
    );
    // A request that has been here already.
    let (towards, _, status) = seen("via = \"edge-1\"\n", "Via: 1.1 edge-1, 1.1 other\r\n");
    assert_eq!((towards.len(), status), (0, 508));
    let (_, _, status) = seen("", "Via: 1.1 edge-1\r\n");
    assert_eq!(status, 200, "it is another's name");
}

#[test]
fn without_via_what_others_say_passes() {
    let (towards, back, status) = seen("via = \"off\"\n", "");
    assert_eq!((towards, back, status), (Vec::new(), vec!["1.1 behind".into()], 200));
    let (towards, _, _) = seen("via = \"off\"\n", "Via: 2 before\r\nVia: 1.1 more\r\n");
    assert_eq!(towards, ["2 before, 1.1 more"]);
}
