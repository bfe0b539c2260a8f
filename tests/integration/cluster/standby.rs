//! A standby knows what the primary knew when it takes over.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::lab::{Lab, Node, V4};
use crate::{
    peers::certificates,
    support::{
        Client, Origin, Reply, Request, eventually,
        tls::{Manner, TlsClient},
    },
};

/// A node that balances over these backends, whose peers are both nodes of the lab.
pub(super) fn config(node: usize, backends: &[SocketAddr], folder: &Path) -> String {
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
fn ejected(lab: &Lab, node: &Node) -> usize {
    let answer = lab.admin(node, "GET", "/api/v1/upstreams/u");
    let backends = answer["backends"].as_array().unwrap();
    backends.iter().filter(|backend| backend["state"] == "ejected").count()
}

/// Answers that tell of the shares of all backends, however slow the machine is.
const ANSWERS: usize = 25;

/// Asks over new connections until a second after the first answer, and until there are [`ANSWERS`]: when the first came,
/// and what came then.
fn first_second() -> (Instant, Vec<String>) {
    let (mut taken, mut answers) = (None, Vec::new());
    while answers.len() < ANSWERS
        || taken.is_none_or(|taken: Instant| taken.elapsed() < Duration::from_secs(1))
    {
        match one(if taken.is_none() { SOON } else { PATIENCE }) {
            Ok(answer) => {
                taken.get_or_insert_with(Instant::now);
                answers.push(answer);
            }
            // Nobody has the address yet.
            Err(_) if taken.is_none() => {}
            Err(error) => answers.push(error.to_string()),
        }
    }
    (taken.unwrap(), answers)
}

/// How long an answer may take while nobody has the address, and then.
const SOON: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);

/// The first line of the answer to one request, which may take so long.
fn one(patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(V4.parse().unwrap(), 80), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn standby_spares_sick_backends_and_resumes_sessions() {
    let Some(lab) = Lab::new() else { return };
    // When a sick one was asked.
    let asked = Arc::new(Mutex::new(Vec::new()));
    let origin = |number: u16| {
        let (address, asked) = (SocketAddr::from(([10, 7, 0, 3], 3000 + number)), asked.clone());
        let script = move |_: &Request| {
            if number < 2 {
                asked.lock().unwrap().push(Instant::now());
            }
            Reply::Text(if number < 2 { 503 } else { 200 }, String::new())
        };
        lab.there(|| Origin::start_at(address, script))
    };
    let origins: Vec<Origin> = (0..6).map(origin).collect();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let folder = certificates(2);
    let start = |name, index| lab.start_with(name, &config(index, &addresses, &folder));
    let a = start("a", 0);
    a.proxy.until_logged("\"role\":\"primary\"", 1);
    let b = start("b", 1);
    let get = |count: usize| {
        lab.there(|| {
            let mut client = Client::connect(SocketAddr::new(V4.parse().unwrap(), 80));
            (0..count).filter(|_| client.get("/").status == 200).count()
        })
    };
    let manner = Manner { ca: "own-ca.pem", ..Manner::default() }.config(&folder);
    let session = || {
        lab.there(|| {
            let stream = TcpStream::connect((V4, 443)).unwrap();
            let mut client = TlsClient::connect_over(stream, "pointsman", &manner).unwrap();
            client.get("pointsman", "/").unwrap();
            client.is_resumed()
        })
    };
    eventually("the primary has ejected two", || {
        get(12);
        ejected(&lab, &a) == 2
    });
    eventually("the standby has heard of it", || ejected(&lab, &b) == 2);
    assert!(!session() && session(), "a session is resumed where it began");
    let healthy = || origins[2..].iter().map(|origin| origin.requests().len()).collect::<Vec<_>>();
    let (before, killed) = (healthy(), Instant::now());
    a.proxy.signal("KILL");
    let (taken, answers) = lab.there(first_second);
    let late: Vec<_> =
        asked.lock().unwrap().iter().filter_map(|at| at.checked_duration_since(killed)).collect();
    println!(
        "{} answers in the second from {:?} after the end of the primary",
        answers.len(),
        taken - killed
    );
    assert!(
        late.is_empty(),
        "{late:?}: requests to a sick backend, by the time after the primary was killed"
    );
    let wrong: Vec<_> = answers.iter().filter(|it| !it.starts_with("HTTP/1.1 200")).collect();
    assert!(wrong.is_empty(), "{wrong:?} of {}", answers.len());
    let shares = healthy().iter().zip(before).map(|(now, before)| now - before).collect::<Vec<_>>();
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    assert!(session(), "the session goes on at the other node");
}
