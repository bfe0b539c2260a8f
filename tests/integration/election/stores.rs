//! Real etcd and real ZooKeeper, in the foreground.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::support::{eventually, free, proxy, skipped};

/// The servers of a store; stopped when this is dropped.
pub struct Store {
    members: Vec<Member>,
    /// The data of each is in there, as `m0` and so on.
    folder: PathBuf,
    /// What starts each of them.
    commands: Vec<Command>,
    /// `[cluster.…]` of a node that asks it.
    pub conf: String,
    /// The engine's name.
    pub election: &'static str,
}

struct Member {
    child: Child,
    client: SocketAddr,
}

const ZOOKEEPER: &str = "/usr/share/java/zookeeper.jar";

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.members.clear();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder in memory, where there is room: etcd waits for its disk at each write, and other tests keep that busy. A member
/// takes more than 100 MB of it at once.
fn data_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|it| it.f_bavail * it.f_frsize > 4 << 30);
    if has_room { proxy::folder_in(memory) } else { proxy::folder() }
}

fn start(command: &mut Command, client: SocketAddr) -> Member {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Member { child, client }
}

impl Store {
    /// etcd with so many members; none where it is not installed.
    pub fn etcd(count: usize) -> Option<Self> {
        if Command::new("etcd").arg("--version").output().is_err() {
            skipped("etcd");
            return None;
        }
        let folder = data_folder();
        let addresses: Vec<_> = (0..count).map(|_| (free(), free())).collect();
        let peers: Vec<String> = addresses
            .iter()
            .enumerate()
            .map(|(index, (_, peer))| format!("m{index}=http://{peer}"))
            .collect();
        let command = |(index, (client, peer)): (usize, &(SocketAddr, SocketAddr))| {
            let mut command = Command::new("etcd");
            command.arg("--data-dir").arg(folder.join(format!("m{index}")));
            command.args(["--name", &format!("m{index}"), "--initial-cluster", &peers.join(",")]);
            command.args(["--listen-client-urls", &format!("http://{client}")]);
            command.args(["--advertise-client-urls", &format!("http://{client}")]);
            command.args(["--listen-peer-urls", &format!("http://{peer}")]);
            command.args(["--initial-advertise-peer-urls", &format!("http://{peer}")]);
            command
        };
        let mut commands: Vec<Command> = addresses.iter().enumerate().map(command).collect();
        let members: Vec<Member> = commands
            .iter_mut()
            .zip(&addresses)
            .map(|(command, (client, _))| start(command, *client))
            .collect();
        let endpoints: Vec<String> = members.iter().map(|it| format!("\"http://{}\"", it.client)).collect();
        let conf = format!("[cluster.etcd]\nendpoints = [{}]\n", endpoints.join(", "));
        let store = Self { members, folder, commands, conf, election: "etcd" };
        store.wait();
        Some(store)
    }

    /// ZooKeeper; none where it is not installed.
    pub fn zookeeper() -> Option<Self> {
        if !Path::new(ZOOKEEPER).exists() || Command::new("java").arg("-version").output().is_err() {
            skipped("zookeeper");
            return None;
        }
        let (folder, client) = (proxy::folder(), free());
        let conf = format!(
            "tickTime=500\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
            folder.join("m0").display(),
            client.port()
        );
        let file = folder.join("zoo.cfg");
        fs::write(&file, conf).unwrap();
        let mut command = Command::new("java");
        // Nothing here outlives the machine, and a disk that other tests keep busy is not waited for.
        command.args(["-Xmx128m", "-Dzookeeper.forceSync=no", "-cp", ZOOKEEPER]);
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(&file);
        let members = vec![start(&mut command, client)];
        let conf = format!("[cluster.zookeeper]\nconnect = \"{client}\"\nsession_timeout = \"2s\"\n");
        let store = Self { members, folder, commands: vec![command], conf, election: "zookeeper" };
        store.wait();
        Some(store)
    }

    fn wait(&self) {
        for member in &self.members {
            eventually("the store listens", || TcpStream::connect(member.client).is_ok());
        }
        // It listens before it has made what it keeps on its disk, and before it has a leader.
        for member in self.members.iter().filter(|_| self.election == "etcd") {
            eventually("etcd is healthy", || {
                let health = format!("http://{}/health", member.client);
                let output = Command::new("curl").args(["-sfm", "5", &health]).output().unwrap();
                String::from_utf8_lossy(&output.stdout).contains("true")
            });
        }
    }

    /// Sends a signal to a member: `STOP` has it stand still, `CONT` go on.
    pub fn signal(&self, member: usize, name: &str) {
        let pid = self.members[member].child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Ends a member as a failure of its machine would.
    pub fn kill(&mut self, member: usize) {
        self.members[member].child.kill().unwrap();
        self.members[member].child.wait().unwrap();
    }

    /// Starts a member that was killed, with what it had on its disk.
    pub fn restart(&mut self, member: usize) {
        let client = self.members[member].client;
        self.members[member] = start(&mut self.commands[member], client);
    }

    /// Keeps a copy of what a member has on its disk, which it is stopped for.
    pub fn copy(&mut self, member: usize) {
        self.kill(member);
        let (data, copy) = (self.data(member), self.data(member).with_extension("copy"));
        assert!(Command::new("cp").arg("-a").args([data, copy]).status().unwrap().success());
        self.restart(member);
        self.wait();
    }

    /// Restores what was on the disk of a member that was killed from the copy, and starts it.
    pub fn restore(&mut self, member: usize) {
        let (data, copy) = (self.data(member), self.data(member).with_extension("copy"));
        fs::remove_dir_all(&data).unwrap();
        fs::rename(copy, data).unwrap();
        self.restart(member);
        self.wait();
    }

    /// Makes a member anew, as after a disaster: with nothing on its disk.
    pub fn empty(&mut self, member: usize) {
        self.kill(member);
        fs::remove_dir_all(self.data(member)).unwrap();
        self.restart(member);
        self.wait();
    }

    fn data(&self, member: usize) -> PathBuf {
        self.folder.join(format!("m{member}"))
    }

    /// Where a key is, as `--config` has it.
    pub fn source(&self, key: &str) -> String {
        format!("etcd://{}/{key}", self.members[0].client)
    }

    /// Writes a key of etcd, without a lease.
    pub fn put(&self, key: &str, value: &str) {
        let body = serde_json::json!({"key": base64(&format!("/{key}")), "value": base64(value)});
        self.call("kv/put", &body);
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str) {
        if self.election == "zookeeper" {
            let mut command = Command::new("java");
            command.args(["-cp", ZOOKEEPER, "org.apache.zookeeper.ZooKeeperMain"]);
            command.args(["-server", &self.members[0].client.to_string(), "delete", &format!("/{key}")]);
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
        self.call("kv/deleterange", &serde_json::json!({"key": base64(&format!("/{key}"))}));
    }

    fn call(&self, what: &str, body: &serde_json::Value) {
        let url = format!("http://{}/v3/{what}", self.members[0].client);
        let output =
            Command::new("curl").args(["-sfm", "20", "-d", &body.to_string(), &url]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// The member of etcd that leads.
    pub fn leader(&self) -> Option<usize> {
        let ask = |member: &Member| {
            let mut command = Command::new("curl");
            command.args([
                "-sm",
                "1",
                "-d",
                "{}",
                &format!("http://{}/v3/maintenance/status", member.client),
            ]);
            let answer = command.output().ok()?.stdout;
            serde_json::from_slice::<serde_json::Value>(&answer).ok()
        };
        self.members.iter().position(|member| {
            ask(member).is_some_and(|status| status["leader"] == status["header"]["member_id"])
        })
    }
}

fn base64(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}
