//! Networks of a test's own: nodes in network namespaces that a bridge joins, and an observer that asks who has which
//! address.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::fd::AsFd,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use crate::support::{PATIENCE, Proxy, eventually, proxy};

/// The virtual addresses of every test.
pub const V4: &str = "10.7.0.100";
pub const V6: &str = "2001:db8::100";

/// A bridge, and namespaces at it: `a`, `b`, and `o` for the observer.
pub struct Lab {
    prefix: String,
    names: Vec<&'static str>,
    extra: Mutex<Vec<String>>,
    _place: Place,
}

/// One lab may hold the kernel's lock for network configuration for long, and none is beside it then.
static ALONE: RwLock<()> = RwLock::new(());

/// Held for the life of a lab, past the end of its namespaces.
enum Place {
    Shared(#[expect(dead_code, reason = "it is only dropped")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "it is only dropped")] RwLockWriteGuard<'static, ()>),
}

/// Why there can be none here.
fn missing() -> Option<&'static str> {
    let is_there = |program: &str| {
        Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
    };
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root, and it");
    }
    ["ip", "python3"].into_iter().find(|program| !is_there(program))
}

impl Lab {
    /// `None`, and a word that it was skipped, where this machine cannot.
    pub fn new() -> Option<Self> {
        Self::at(|| Place::Shared(ALONE.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The same, with no other lab beside it.
    pub fn alone() -> Option<Self> {
        Self::at(|| Place::Alone(ALONE.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn at(place: impl FnOnce() -> Place) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        if let Some(missing) = missing() {
            crate::support::skipped(missing);
            return None;
        }
        let prefix = format!("pm{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let names = vec!["a", "b", "o"];
        let lab = Self { prefix, names, extra: Mutex::default(), _place: place() };
        for name in lab.names.iter().chain(&["br"]) {
            run(&format!("ip netns add {}", lab.name(name)));
        }
        let bridge = lab.name("br");
        run(&format!("ip -n {bridge} link add br0 type bridge"));
        run(&format!("ip -n {bridge} link set br0 up"));
        for (host, name) in lab.names.iter().enumerate() {
            let node = lab.name(name);
            run(&format!("ip link add eth0 netns {node} type veth peer name to-{name} netns {bridge}"));
            run(&format!("ip -n {bridge} link set to-{name} master br0 up"));
            let forever = "net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0";
            run(&format!("ip netns exec {node} sysctl -qw {forever}"));
            run(&format!("ip -n {node} addr add 10.7.0.{}/24 dev eth0", host + 1));
            run(&format!("ip -n {node} link set lo up"));
            run(&format!("ip -n {node} link set eth0 up"));
        }
        for name in &lab.names {
            eventually("there is a link-local address", || {
                lab.ip(name, "-6 addr show dev eth0").contains("fe80")
            });
        }
        Some(lab)
    }

    /// The namespace of a node.
    pub fn name(&self, node: &str) -> String {
        format!("{}-{node}", self.prefix)
    }

    /// Another namespace, which ends with the others.
    pub fn extra(&self, name: &str) -> String {
        let name = self.name(name);
        run(&format!("ip netns add {name}"));
        self.extra.lock().unwrap().push(name.clone());
        name
    }

    /// What `ip` says in a node's namespace.
    pub fn ip(&self, node: &str, arguments: &str) -> String {
        let output = run(&format!("ip -n {} {arguments}", self.name(node)));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Cuts a node's cable, or joins it.
    pub fn cable(&self, node: &str, is_whole: bool) {
        let state = if is_whole { "up" } else { "down" };
        self.ip("br", &format!("link set to-{node} {state}"));
    }

    /// The hardware address of a node.
    pub fn hardware(&self, node: &str) -> String {
        let text = self.ip(node, "-o link show dev eth0");
        text.split_once("link/ether ").unwrap().1.split(' ').next().unwrap().to_owned()
    }

    /// A command in a node's namespace.
    pub fn command(&self, node: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(node), program]);
        command
    }

    /// Starts a node with this priority and more of its `[cluster]`.
    pub fn start(&self, node: &str, priority: u8, more: &str) -> Node {
        self.start_with(node, &config(node, priority, more))
    }

    /// Starts a node with a whole configuration.
    pub fn start_with(&self, node: &str, text: &str) -> Node {
        let folder = proxy::folder();
        let mut command = self.command(node, env!("CARGO_BIN_EXE_pointsman"));
        command.args(["run", "--config"]).arg(folder.join("pointsman.toml")).stdin(Stdio::null());
        Node { proxy: Proxy::start_by(command, folder, text) }
    }

    /// Begins to ask who has the virtual addresses.
    pub fn observe(&self) -> Observer {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/integration/cluster/observer.py");
        let mut command = self.command("o", "python3");
        command.arg(script).args(["eth0", "2", V4, V6]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (answers, output) = (Arc::new(Mutex::new(Vec::new())), child.stdout.take().unwrap());
        let (ready, is_ready) = mpsc::channel();
        let kept = answers.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                match words[..] {
                    [at, address, hardware, missed] => kept.lock().unwrap().push(Answer {
                        at: Duration::from_secs_f64(at.parse().unwrap()),
                        address: address.to_owned(),
                        hardware: hardware.to_owned(),
                        missed: Duration::from_secs_f64(missed.parse().unwrap()),
                    }),
                    _ => ready.send(()).unwrap(),
                }
            }
        });
        is_ready.recv_timeout(PATIENCE).expect("the observer begins");
        Observer { child, answers }
    }

    /// Runs something in the namespace of the observer.
    pub fn there<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let namespace = format!("/run/netns/{}", self.name("o"));
        let moved = || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(File::open(namespace).unwrap().as_fd(), kind).unwrap();
            run()
        };
        std::thread::scope(|scope| scope.spawn(moved).join().unwrap())
    }

    /// What the admin API of a node says, over its `admin.sock`.
    pub fn admin(&self, node: &Node, method: &str, path: &str) -> serde_json::Value {
        let mut curl = Command::new("curl");
        curl.arg("-sS").arg("--unix-socket").arg(node.proxy.folder().join("admin.sock"));
        let output = curl.args(["-X", method, &format!("http://a{path}")]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What HTTP says at the virtual address.
    pub fn http(&self) -> String {
        let mut curl = self.command("o", "curl");
        curl.args(["-sS", "-m", "20", &format!("http://{V4}/")]);
        String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in self.extra.lock().unwrap().iter() {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
        for name in self.names.iter().chain(&["br"]) {
            let _ = Command::new("ip").args(["netns", "del", &self.name(name)]).output();
        }
    }
}

/// A node's configuration: its name is what it answers.
pub fn config(node: &str, priority: u8, more: &str) -> String {
    format!(
        "[log]\nformat = \"json\"\n[[listener]]\nname = \"web\"\naddress = \"{V4}:80\"\n\
         [[route]]\nname = \"r\"\nrespond = {{ status = 200, body = \"{node}\" }}\n\
         [cluster]\nnode = \"{node}\"\npriority = {priority}\n{more}\
         [[cluster.virtual_ip]]\naddress = \"{V4}/24\"\ninterface = \"eth0\"\n\
         [[cluster.virtual_ip]]\naddress = \"{V6}/64\"\ninterface = \"eth0\"\n"
    )
}

/// A Pointsman in a namespace.
pub struct Node {
    pub proxy: Proxy,
}

impl Node {
    /// Waits until it has had this role so many times, for both addresses.
    pub fn until(&self, role: &str, times: usize) {
        self.proxy.until_logged(&format!("\"role\":\"{role}\""), times * 2);
    }

    /// How often it got this role, over both addresses.
    pub fn count(&self, role: &str) -> usize {
        self.proxy.count_logged(&format!("\"role\":\"{role}\""))
    }
}

/// Who answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub at: Duration,
    pub address: String,
    pub hardware: String,
    /// For how long nobody had answered before, while the observer was there to ask.
    pub missed: Duration,
}

/// Asks who has the virtual addresses.
pub struct Observer {
    child: Child,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Observer {
    /// Every answer for an address so far.
    pub fn answers(&self, address: &str) -> Vec<Answer> {
        let answers = self.answers.lock().unwrap();
        answers.iter().filter(|answer| answer.address == address).cloned().collect()
    }

    /// Forgets what was answered.
    pub fn forget(&self) {
        self.answers.lock().unwrap().clear();
    }

    /// Waits until this node answers for both addresses, after what was forgotten.
    pub fn until_only(&self, hardware: &str) {
        for address in [V4, V6] {
            eventually(&format!("{hardware} alone has {address}"), || {
                let answers = self.answers(address);
                let last: Vec<_> = answers.iter().rev().take(20).collect();
                last.len() == 20 && last.iter().all(|answer| answer.hardware == hardware)
            });
        }
    }

    /// Time from the first answer of `new` to the last of `old` behind it: both answered for so long.
    pub fn overlap(&self, address: &str, old: &str, new: &str) -> Duration {
        let answers = self.answers(address);
        let first = answers.iter().find(|it| it.hardware == new).map(|it| it.at);
        let last = answers.iter().rev().find(|it| it.hardware == old).map(|it| it.at);
        first.zip(last).map_or(Duration::ZERO, |(first, last)| last.saturating_sub(first))
    }

    /// The longest time without any answer, between two.
    pub fn gap(&self, address: &str) -> Duration {
        self.answers(address).iter().skip(1).map(|answer| answer.missed).max().unwrap_or_default()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command, which must succeed.
pub fn run(command: &str) -> Output {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
