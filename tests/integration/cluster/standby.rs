//! A standby knows what the primary knew when it takes over.

use std::{
    fs::File,
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    path::Path,
    thread::scope,
};

use super::lab::{Lab, Node, V4};
use crate::{
    peers::certificates,
    support::{
        Client, Origin, Reply, eventually,
        tls::{Manner, TlsClient},
    },
};

/// Runs something in the namespace of the observer.
fn there<T: Send>(lab: &Lab, run: impl FnOnce() -> T + Send) -> T {
    let namespace = format!("/run/netns/{}", lab.name("o"));
    let moved = || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(File::open(namespace).unwrap().as_fd(), kind).unwrap();
        run()
    };
    scope(|scope| scope.spawn(moved).join().unwrap())
}

/// A node that balances over these backends, whose peers are both nodes of the lab.
fn config(node: usize, backends: &[SocketAddr], folder: &Path) -> String {
    let (priority, name) = (150 - 50 * node, format!("node{node}"));
    let each = |address: &SocketAddr| format!("[[upstream.backend]]\naddress = \"{address}\"\n");
    let backends: String = backends.iter().map(each).collect();
    let folder = folder.display();
    let own = |file: &str| format!("{{ chain = \"{folder}/{file}.pem\", key = \"{folder}/{file}.key\" }}");
    format!(
        "[log]\nformat = \"json\"\n[admin]\naddress = \"unix:admin.sock\"\n\
         [[listener]]\nname = \"web\"\naddress = \"{V4}:80\"\n\
         [[listener]]\nname = \"secure\"\naddress = \"{V4}:443\"\nprotocol = \"https\"\ncertificate = [{}]\n\
         [[route]]\nname = \"r\"\nupstream = \"u\"\n[[upstream]]\nname = \"u\"\n{backends}\
         [upstream.outlier]\nconsecutive_failures = 3\nbase_ejection = \"60s\"\n\
         [cluster]\nnode = \"{name}\"\npriority = {priority}\n\
         [[cluster.virtual_ip]]\naddress = \"{V4}/24\"\ninterface = \"eth0\"\n\
         [cluster.peers]\nlisten = \"10.7.0.{}:7946\"\nmembers = [\"10.7.0.1:7946\", \"10.7.0.2:7946\"]\n\
         ca = \"{folder}/own-ca.pem\"\ncertificate = {}\n",
        own("node0"),
        node + 1,
        own(&name),
    )
}

/// How many backends a node says are ejected.
fn ejected(lab: &Lab, name: &str, node: &Node) -> usize {
    let mut curl = lab.command(name, "curl");
    curl.arg("-sS").arg("--unix-socket").arg(node.proxy.folder().join("admin.sock"));
    let output = curl.arg("http://a/api/v1/upstreams/u").output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let backends = answer["backends"].as_array().unwrap();
    backends.iter().filter(|backend| backend["state"] == "ejected").count()
}

#[test]
fn standby_spares_sick_backends_and_resumes_sessions() {
    let Some(lab) = Lab::new() else { return };
    let origin = |number: u16| {
        let address = SocketAddr::from(([10, 7, 0, 3], 3000 + number));
        there(&lab, || {
            Origin::start_at(address, move |_| Reply::Text(if number < 2 { 503 } else { 200 }, String::new()))
        })
    };
    let origins: Vec<Origin> = (0..6).map(origin).collect();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let folder = certificates(2);
    let start = |name, index| lab.start_with(name, &config(index, &addresses, &folder));
    let a = start("a", 0);
    a.proxy.until_logged("\"role\":\"primary\"", 1);
    let b = start("b", 1);
    let get = |count: usize| {
        there(&lab, || {
            let mut client = Client::connect(SocketAddr::new(V4.parse().unwrap(), 80));
            (0..count).filter(|_| client.get("/").status == 200).count()
        })
    };
    let manner = Manner { ca: "own-ca.pem", ..Manner::default() }.config(&folder);
    let session = || {
        there(&lab, || {
            let stream = TcpStream::connect((V4, 443)).unwrap();
            let mut client = TlsClient::connect_over(stream, "pointsman", &manner).unwrap();
            client.get("pointsman", "/").unwrap();
            client.is_resumed()
        })
    };
    eventually("the primary has ejected two", || {
        get(12);
        ejected(&lab, "a", &a) == 2
    });
    eventually("the standby has heard of it", || ejected(&lab, "b", &b) == 2);
    assert!(!session() && session(), "a session is resumed where it began");
    let sick = || origins[..2].iter().map(|origin| origin.requests().len()).sum::<usize>();
    let before = sick();
    a.proxy.signal("KILL");
    b.proxy.until_logged("\"role\":\"primary\"", 1);
    assert_eq!(get(300), 300);
    assert_eq!(sick(), before, "no request to a sick backend after the takeover");
    assert!(session(), "the session goes on at the other node");
}
