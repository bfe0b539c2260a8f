//! Binding a listener's sockets: one per worker, so that the kernel spreads new connections.

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown},
    },
    path::Path,
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::yielding::hold_back;
use crate::config::{listen::ListenAddress, socket_access::SocketAccess};

/// The sockets of a listener, one per worker, and the address that they are bound to.
#[derive(Debug)]
pub struct Bound {
    /// A socket for each worker.
    pub sockets: Vec<OwnedFd>,
    /// Where they listen; the port is a real one also when 0 was asked for.
    pub address: String,
    /// Whose the file of a unix socket is.
    pub owner: Owner,
}

/// Whose the file of a unix socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This program's: it goes with it.
    Own,
    /// That of the program before this one, until that lets go: it is this one's then.
    Before,
    /// A service manager's, which opened the socket: it stays.
    Manager,
}

impl Bound {
    /// These sockets by other descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let sockets = self.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { sockets, address: self.address.clone(), owner: self.owner })
    }
}

/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// How a listener is bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// The port is held by this program already, under another address.
    pub is_ours: bool,
    /// Clients may use several paths, where the kernel knows how.
    pub mptcp: bool,
    /// The address may be another node's for now (`IP_FREEBIND`).
    pub is_virtual: bool,
    /// Who may open the file of a unix socket.
    pub access: SocketAccess,
}

/// Of a socket of TCP.
#[derive(Clone, Copy, Debug)]
struct Kind {
    transport: Protocol,
    is_virtual: bool,
}

impl Kind {
    const PLAIN: Self = Self { transport: Protocol::TCP, is_virtual: false };
}

/// Binds a listener for so many workers.
pub fn bind(address: &ListenAddress, workers: usize, manner: Manner) -> io::Result<Bound> {
    let Manner { is_ours, mptcp, is_virtual, access } = manner;
    match address {
        ListenAddress::Tcp(address) => {
            bind_tcp(*address, workers, is_ours, Kind { transport: transport(mptcp), is_virtual })
        }
        ListenAddress::Udp(address) => bind_udp(*address, workers, is_ours, is_virtual),
        ListenAddress::Unix(path) => bind_unix(path, workers, access),
    }
}

/// Binds the admin endpoint. Only its owner may open a unix socket: who can, can change everything.
pub fn bind_private(address: &ListenAddress) -> io::Result<Bound> {
    match address {
        ListenAddress::Tcp(address) | ListenAddress::Udp(address) => {
            bind_tcp(*address, 1, false, Kind::PLAIN)
        }
        ListenAddress::Unix(path) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                // Where that fails, binding says what is missing.
                let _ = fs::DirBuilder::new().mode(0o755).create(folder);
            }
            bind_unix(path, 1, SocketAccess { mode: Some(0o600), ..SocketAccess::default() })
        }
    }
}

/// What a program before this one bound, with as many more sockets as the workers need.
pub fn complete(handed: &Bound, address: &ListenAddress, workers: usize) -> io::Result<Bound> {
    let mut sockets = handed.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
    for index in sockets.len()..workers {
        let Some(first) = sockets.first() else {
            return Err(io::Error::other(format!("there is no socket for worker {index}")));
        };
        // A service manager's socket does not share its port: nobody could bind another one beside it.
        let first = SockRef::from(first);
        let is_shared = !matches!(address, ListenAddress::Unix(_)) && first.reuse_port()?;
        let socket = match (address, handed.address.parse()) {
            (ListenAddress::Tcp(_), Ok(bound)) if is_shared => {
                let transport = first.protocol()?.unwrap_or(Protocol::TCP);
                let socket =
                    tcp_socket(bound, true, Kind { transport, is_virtual: is_virtual(&first, bound) })?;
                socket.listen(BACKLOG)?;
                socket.into()
            }
            (ListenAddress::Udp(_), Ok(bound)) if is_shared => {
                udp_socket(bound, true, is_virtual(&first, bound))?.into()
            }
            _ => first.try_clone()?.into(),
        };
        sockets.push(socket);
    }
    if matches!(address, ListenAddress::Tcp(_)) {
        // The program before may have ended, or be about to, while it held clients back.
        sockets.iter().for_each(|socket| hold_back(socket, false));
    }
    Ok(Bound { sockets, address: handed.address.clone(), owner: handed.owner })
}

/// TCP, or MPTCP (RFC 8684) where it is asked for and there.
fn transport(mptcp: bool) -> Protocol {
    if !mptcp {
        return Protocol::TCP;
    }
    match Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        Ok(_) => Protocol::MPTCP,
        Err(error) => {
            tracing::warn!("clients can use one path only, because this kernel has no MPTCP: {error}");
            Protocol::TCP
        }
    }
}

fn bind_tcp(address: SocketAddr, workers: usize, is_ours: bool, kind: Kind) -> io::Result<Bound> {
    let open = |address, is_shared| tcp_socket(address, is_shared, kind);
    again_for_any_port(address, || {
        let bound = bind_shared(address, workers, is_ours, open)?;
        for socket in &bound.sockets {
            SockRef::from(socket).listen(BACKLOG)?;
        }
        Ok(bound)
    })
}

/// How often another port is asked for.
const MOST_PORTS: usize = 16;

/// Binds, again where any port would do and the kernel gave one that another program came to listen at meanwhile: with
/// `SO_REUSEADDR` both may be bound to it until one of them listens.
fn again_for_any_port(address: SocketAddr, mut bind: impl FnMut() -> io::Result<Bound>) -> io::Result<Bound> {
    for _ in 1..MOST_PORTS {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() == 0 => {}
            result => return result,
        }
    }
    bind()
}

/// Sockets that share a port with each other and with no other program.
///
/// The first is bound without `SO_REUSEPORT`, so that a second Pointsman gets "address in use" and not half of the
/// traffic; it shares its port only when it has it. Nor would the kernel keep port 0 of a shared socket of UDP to
/// itself: it takes a port that another such socket of this account has (`udp_lib_lport_inuse`).
fn bind_shared(
    address: SocketAddr,
    workers: usize,
    is_ours: bool,
    open: impl Fn(SocketAddr, bool) -> io::Result<Socket>,
) -> io::Result<Bound> {
    let first = open(address, is_ours)?;
    first.set_reuse_port(true)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let others = (1..workers).map(|_| open(address, true));
    let sockets = std::iter::once(Ok(first)).chain(others).map(|socket| socket.map(OwnedFd::from));
    Ok(Bound {
        sockets: sockets.collect::<io::Result<_>>()?,
        address: address.to_string(),
        owner: Owner::Own,
    })
}

fn tcp_socket(address: SocketAddr, is_shared: bool, kind: Kind) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(kind.transport))?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for connections of the last run that are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    if kind.is_virtual {
        set_virtual(&socket, address)?;
    }
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// As of TCP. A client's datagrams come to the same worker for as long as there are as many sockets: the kernel spreads
/// by addresses and ports.
fn bind_udp(address: SocketAddr, workers: usize, is_ours: bool, is_virtual: bool) -> io::Result<Bound> {
    let open = |address, is_shared| udp_socket(address, is_shared, is_virtual);
    again_for_any_port(address, || bind_shared(address, workers, is_ours, open))
}

/// Bytes that wait to be read while a worker is busy; the kernel caps it at `net.core.rmem_max`.
const RECEIVE_BUFFER: usize = 4 << 20;

fn udp_socket(address: SocketAddr, is_shared: bool, is_virtual: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Not SO_REUSEADDR: with UDP that lets any program bind the same port.
    socket.set_reuse_port(is_shared)?;
    if is_virtual {
        set_virtual(&socket, address)?;
    }
    // What the kernel gives is what there is.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Lets a socket be bound to an address that this machine does not have yet.
fn set_virtual(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) }
}

/// Whether a socket was bound so.
fn is_virtual(socket: &SockRef<'_>, address: SocketAddr) -> bool {
    let is_free = if address.is_ipv6() { socket.freebind_v6() } else { socket.freebind_v4() };
    is_free.unwrap_or(false)
}

fn bind_unix(path: &Path, workers: usize, access: SocketAccess) -> io::Result<Bound> {
    let is_socket = fs::metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if is_socket {
        if !is_left_behind(path)? {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens: until then nobody can connect.
    let listening = permit(path, access).and_then(|()| socket.listen(BACKLOG));
    let again = |_| socket.try_clone().map(OwnedFd::from);
    let sockets = listening.and_then(|()| (0..workers).map(again).collect::<io::Result<Vec<_>>>());
    if sockets.is_err() {
        let _ = fs::remove_file(path);
    }
    Ok(Bound { sockets: sockets?, address: format!("unix:{}", path.display()), owner: Owner::Own })
}

/// Whether a socket's file is of a program that is gone: only then does nobody listen there. One whose queue is full is
/// not waited for.
fn is_left_behind(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    let answer = probe.connect(&SockAddr::unix(path)?);
    Ok(answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// Gives a socket's file the permissions, the owner and the group that are said.
pub fn permit(path: &Path, SocketAccess { mode, owner, group }: SocketAccess) -> io::Result<()> {
    let failed = |what: &str, error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "; for another owner, or a group that Pointsman is not in, it needs CAP_CHOWN"
            }
            _ => "",
        };
        io::Error::new(error.kind(), format!("the {what} of its file cannot be set: {error}{remedy}"))
    };
    if owner.is_some() || group.is_some() {
        chown(path, owner, group).map_err(|error| failed("owner", error))?;
    }
    match mode {
        Some(mode) => {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| failed("mode", error))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        net::TcpStream,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn workers_share_a_port_and_other_programs_cannot() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = bind(&ListenAddress::Tcp(any), 3, Manner::default()).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        let taken: SocketAddr = bound.address.parse().unwrap();
        assert_ne!(taken.port(), 0);
        let error = bind(&ListenAddress::Tcp(taken), 1, Manner::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn another_port_is_taken_where_any_would_do() {
        let bound = |tries: &mut usize| {
            *tries += 1;
            match *tries {
                3 => Ok(Bound { sockets: Vec::new(), address: String::new(), owner: Owner::Own }),
                _ => Err(io::ErrorKind::AddrInUse.into()),
            }
        };
        for (address, expected) in [("127.0.0.1:0", 3), ("127.0.0.1:80", 1)] {
            let mut tries = 0;
            let result = again_for_any_port(address.parse().unwrap(), || bound(&mut tries));
            assert_eq!((tries, result.is_ok()), (expected, expected == 3), "{address}");
        }
        let mut tries = 0;
        let never = again_for_any_port("[::1]:0".parse().unwrap(), || {
            tries += 1;
            Err(io::ErrorKind::AddrInUse.into())
        });
        assert_eq!((never.unwrap_err().kind(), tries), (io::ErrorKind::AddrInUse, MOST_PORTS));
    }

    #[test]
    fn ports_of_udp_are_shared_by_workers_alone() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = bind(&ListenAddress::Udp(any), 3, Manner::default()).unwrap();
        let taken: SocketAddr = bound.address.parse().unwrap();
        let cookies: HashSet<u64> =
            bound.sockets.iter().map(|socket| SockRef::from(socket).cookie().unwrap()).collect();
        assert_eq!((bound.sockets.len(), cookies.len()), (3, 3));
        let error = bind(&ListenAddress::Udp(taken), 1, Manner::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        // The same port of TCP is another, though one or the other is some other program's.
        let is_another = |_| {
            let bound = bind(&ListenAddress::Udp(any), 1, Manner::default()).unwrap();
            let same = ListenAddress::Tcp(bound.address.parse().unwrap());
            bind(&same, 1, Manner::default()).is_ok()
        };
        assert!((0..50).any(is_another));
        let more = complete(&bound, &ListenAddress::Udp(taken), 4).unwrap();
        assert_eq!(more.sockets.len(), 4);
    }

    #[test]
    fn an_exclusive_socket_is_shared_by_descriptors() {
        for is_shared in [false, true] {
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let socket = tcp_socket(any, is_shared, Kind::PLAIN).unwrap();
            socket.listen(1).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            let owner = Owner::Manager;
            let handed = Bound { sockets: vec![socket.into()], address: address.to_string(), owner };
            let bound = complete(&handed, &ListenAddress::Tcp(address), 3).unwrap();
            let cookies: HashSet<u64> =
                bound.sockets.iter().map(|socket| SockRef::from(socket).cookie().unwrap()).collect();
            assert_eq!((bound.sockets.len(), cookies.len()), (3, if is_shared { 3 } else { 1 }));
        }
    }

    #[test]
    fn sockets_that_held_clients_back_let_them_in_again() {
        let any = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        for is_shared in [false, true] {
            let mut before = bind(&any, if is_shared { 2 } else { 1 }, Manner::default()).unwrap();
            SockRef::from(&before.sockets[0]).set_reuse_port(is_shared).unwrap();
            before.sockets.iter().for_each(|socket| hold_back(socket, true));
            let address = before.address.parse().unwrap();
            before.owner = if is_shared { Owner::Before } else { Owner::Manager };
            let _next = complete(&before, &ListenAddress::Tcp(address), 3).unwrap();
            for _ in 0..8 {
                let client = TcpStream::connect_timeout(&address, Duration::from_secs(5));
                assert!(client.is_ok(), "{client:?}");
            }
        }
    }

    #[test]
    fn a_stale_socket_file_is_replaced_not_one_in_use() {
        let path = std::env::temp_dir().join(format!("pointsman-socket-{}", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let bound = bind(&address, 2, Manner::default()).unwrap();
        assert_eq!(bind(&address, 2, Manner::default()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        // A program that another test is starting has it open for a moment.
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(error) = bind(&address, 2, Manner::default()) {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(Instant::now() < end, "its file is never taken for stale");
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::remove_file(path).unwrap();
    }
}
