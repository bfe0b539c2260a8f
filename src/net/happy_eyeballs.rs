//! A connection to whichever address of a name answers first (RFC 8305, "Happy Eyeballs").
//!
//! The attempts begin one after the other, families in turn, each a moment after the one before or as soon as one has
//! failed, and the first that comes to a connection ends the others. So an address that nobody answers at costs that
//! moment and not the whole time to connect. Which addresses were behind is for the caller to remember.

use std::{future::poll_fn, net::SocketAddr, pin::Pin, sync::Arc, task::Poll, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time::timeout;

use super::{
    dial::{self, Failures, Target},
    stream::{Plain, Stream},
};
use crate::error::{Kind, ProxyError, Result};

/// RFC 8305 §5, the Connection Attempt Delay: recommended, and at least.
const DELAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(10));

/// How it went with the addresses of a name.
#[derive(Debug)]
pub struct Outcome {
    /// The connection, or why there is none: [`Kind::Unresolved`] without any address.
    pub connected: Result<Plain>,
    /// Addresses that failed, or were tried first and had not answered.
    pub behind: Vec<SocketAddr>,
}

/// The order in which addresses are tried: those that were behind lately come last, families take turns, IPv6 first
/// (RFC 8305 §4), and in each the one at `start`, counted round, is the first.
pub fn order(
    addresses: &[SocketAddr],
    start: usize,
    is_behind: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let (last, first): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.iter().partition(|it| is_behind(it));
    let mut ordered = Vec::with_capacity(addresses.len());
    for part in [first, last] {
        let (mut six, mut four): (Vec<SocketAddr>, Vec<SocketAddr>) =
            part.into_iter().partition(SocketAddr::is_ipv6);
        for family in [&mut six, &mut four] {
            let by = start.checked_rem(family.len()).unwrap_or(0);
            family.rotate_left(by);
        }
        let (mut six, mut four) = (six.into_iter(), four.into_iter());
        loop {
            let before = ordered.len();
            ordered.extend(six.next().into_iter().chain(four.next()));
            if ordered.len() == before {
                break;
            }
        }
    }
    ordered
}

/// Connects to the first of `addresses` that answers, and says `first` over that connection alone. The caller bounds the
/// time; it is `within`, of which each address has a share.
pub async fn connect(addresses: &[SocketAddr], within: Duration, first: &[u8]) -> Outcome {
    // Most names have one.
    if let [address] = addresses {
        let connected = dial::plain(&Target::Tcp(*address), first).await;
        return Outcome { connected, behind: Vec::new() };
    }
    let mut race = Race::default();
    let (mut left, delay) = (addresses.iter(), delay(addresses.len(), within));
    loop {
        match left.next() {
            Some(address) => race.begin(*address),
            None if race.running.is_empty() => {
                return Outcome { connected: Err(race.failures.end()), behind: race.behind };
            }
            None => {}
        }
        let ended = tokio::select! {
            biased;
            ended = poll_fn(|cx| race.poll(cx)) => ended,
            () = tokio::time::sleep(delay), if left.len() > 0 => continue,
        };
        match ended {
            Some(connected) => {
                let connected = dial::say(connected, first).await;
                let beaten = race.running.iter().map(|(address, _)| *address);
                race.behind.extend(beaten);
                return Outcome { connected, behind: race.behind };
            }
            // There is no socket for the other addresses either.
            None if race.is_over => left = [].iter(),
            None => {}
        }
    }
}

/// The same, with TLS over that connection where it is asked for. Where that fails, or is not done in its share of the time,
/// the addresses that are left may be other servers, and are tried.
pub async fn connect_with_tls(
    mut addresses: Vec<SocketAddr>,
    within: Duration,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
) -> Result<Stream> {
    let mut failure = None;
    loop {
        let plain = match (connect(&addresses, within, &[]).await.connected, failure) {
            (Ok(plain), _) => plain,
            // What came of the one that answered says more.
            (Err(error), failure) => return Err(failure.unwrap_or(error)),
        };
        let Some((config, name)) = &tls else { return Ok(Stream::Plain(plain)) };
        let failed = match &plain {
            Plain::Tcp(stream) => stream.peer_addr().ok(),
            Plain::Unix(_) => None,
        };
        let handshake = dial::tls(plain, config.clone(), name.clone());
        let done = match addresses.len() {
            // The caller has a limit.
            1 => handshake.await,
            left => timeout(share(left, within), handshake)
                .await
                .unwrap_or_else(|late| Err(ProxyError::because(Kind::UpstreamTls, late))),
        };
        let error = match done {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let before = addresses.len();
        addresses.retain(|address| Some(*address) != failed);
        if addresses.is_empty() || addresses.len() == before {
            return Err(error);
        }
        failure = Some(error);
    }
}

/// Time from one attempt to the next: so that the last one still has its share.
fn delay(addresses: usize, within: Duration) -> Duration {
    share(addresses, within).clamp(DELAY.1, DELAY.0)
}

/// What each of so many addresses has of a time.
fn share(addresses: usize, within: Duration) -> Duration {
    within / u32::try_from(addresses).unwrap_or(u32::MAX).saturating_add(1)
}

type Attempt = Pin<Box<dyn Future<Output = Result<Plain>> + Send>>;

#[derive(Default)]
struct Race {
    running: Vec<(SocketAddr, Attempt)>,
    behind: Vec<SocketAddr>,
    failures: Failures,
    /// Nothing is left here for another socket.
    is_over: bool,
}

impl Race {
    fn begin(&mut self, address: SocketAddr) {
        let attempt = async move { dial::connect(&Target::Tcp(address)).await };
        self.running.push((address, Box::pin(attempt)));
    }

    /// The connection of the first attempt that came to one; `None` when one has failed.
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Plain>> {
        let ended = self.running.iter_mut().enumerate().find_map(|(index, (_, attempt))| {
            match attempt.as_mut().poll(cx) {
                Poll::Ready(result) => Some((index, result)),
                Poll::Pending => None,
            }
        });
        let Some((index, result)) = ended else { return Poll::Pending };
        let (address, _) = self.running.swap_remove(index);
        Poll::Ready(match result {
            Ok(connected) => Some(connected),
            Err(error) => {
                self.behind.push(address);
                self.is_over |= self.failures.add(error);
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::{
        error::Kind,
        tls::{client, conf::UpstreamTlsConf},
    };

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// An address that does not answer: its queue is full.
    fn black_hole() -> (SocketAddr, Vec<socket2::Socket>) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let stream = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = stream();
        listener.bind(&any).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = |_| {
            let socket = stream();
            socket.set_nonblocking(true).unwrap();
            let _is_under_way = socket.connect(&address);
            socket
        };
        let filling = (0..4).map(fill);
        (address.as_socket().unwrap(), std::iter::once(listener).chain(filling).collect())
    }

    #[test]
    fn families_take_turns_and_who_was_behind_is_last() {
        let all = addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "[::2]:1"]);
        let expected = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "10.0.0.3:1"]);
        assert_eq!(order(&all, 0, |_| false), expected);
        let expected = addresses(&["[::2]:1", "10.0.0.2:1", "[::1]:1", "10.0.0.3:1", "10.0.0.1:1"]);
        assert_eq!(order(&all, 1, |_| false), expected);
        let expected = addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(order(&all, 0, SocketAddr::is_ipv6), expected);
        assert_eq!(order(&all, 7, |_| true).len(), 5);
        assert!(order(&[], 3, |_| false).is_empty());
    }

    #[test]
    fn every_address_has_a_share_of_the_time() {
        let within = |millis, count| delay(count, Duration::from_millis(millis)).as_millis();
        assert_eq!((within(2000, 2), within(2000, 9), within(300, 2), within(5, 2)), (250, 200, 100, 10));
    }

    #[tokio::test]
    async fn an_address_without_answer_costs_a_moment_only() {
        let (hole, _hole) = black_hole();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let begun = Instant::now();
        let outcome = connect(&[hole, good], Duration::from_secs(2), b"first").await;
        assert!(outcome.connected.is_ok() && begun.elapsed() >= DELAY.0);
        assert_eq!(outcome.behind, [hole]);
        // With little time the attempts come sooner. Once of many: a busy machine may be late by as much.
        let (both, mut tries) = ([hole, good], 0);
        loop {
            let outcome = connect(&both, Duration::from_millis(90), b"");
            let outcome = timeout(Duration::from_millis(200), outcome).await;
            if outcome.is_ok_and(|it| it.connected.is_ok()) {
                break;
            }
            tries += 1;
            assert!(tries < 50);
        }
    }

    #[tokio::test]
    async fn a_refusal_is_followed_by_the_next_at_once() {
        // Bound, so that nobody else gets the port, and not listening.
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let refusing = bound.local_addr().unwrap().as_socket().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        // Once of several: a busy machine may be late by as much.
        let mut at_once = false;
        for _ in 0..5 {
            let begun = Instant::now();
            let outcome = connect(&[refusing, good], Duration::from_secs(60), b"first").await;
            assert!(outcome.connected.is_ok());
            assert_eq!(outcome.behind, [refusing]);
            at_once |= begun.elapsed() < DELAY.0;
        }
        assert!(at_once);
        let outcome = connect(&[refusing, refusing], Duration::from_secs(60), b"").await;
        assert_eq!(outcome.connected.unwrap_err().kind(), Kind::Connect);
        assert_eq!(connect(&[], DELAY.0, b"").await.connected.unwrap_err().kind(), Kind::Unresolved);
    }

    #[tokio::test]
    async fn address_without_tls_hides_no_other() {
        use std::io::Read;
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let both = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        // Each closes what it accepts, and says what came: a ClientHello is a record of the handshake (RFC 8446 §5.1).
        let accepting = std::thread::spawn(|| {
            listeners.map(|listener| {
                let mut kind = [0];
                listener.accept().unwrap().0.read_exact(&mut kind).unwrap();
                kind[0]
            })
        });
        let conf = crate::schema::section::absent::<UpstreamTlsConf>().unwrap();
        let (config, _) = client::build(&UpstreamTlsConf { verify: false, ..conf }).unwrap();
        let tls = Some((config, ServerName::try_from("localhost").unwrap()));
        let begun = timeout(Duration::from_secs(20), connect_with_tls(both.to_vec(), DELAY.0 * 20, tls));
        assert_eq!(begun.await.unwrap().unwrap_err().kind(), Kind::UpstreamTls);
        assert_eq!(accepting.join().unwrap(), [22, 22]);
        let (hole, _held) = black_hole();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = vec![hole, listener.local_addr().unwrap()];
        assert!(connect_with_tls(addresses, Duration::from_secs(20), None).await.is_ok());
    }

    /// Run again by itself, where IPv6 is turned off.
    #[test]
    fn addresses_without_ipv6_here_hide_no_others() {
        const ALONE: &str = "POINTSMAN_WITHOUT_IPV6";
        if std::env::var_os(ALONE).is_none() {
            let in_namespace = |script: &str| {
                let off = "ip link set lo up && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6";
                let mut command = std::process::Command::new("unshare");
                command.args(["--net", "--map-root-user", "sh", "-c", &format!("{off} && {script}"), "sh"]);
                command.arg(std::env::current_exe().unwrap()).env(ALONE, "1");
                command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
                crate::sync::children::begin(|| command.spawn())
                    .and_then(std::process::Child::wait_with_output)
            };
            if !in_namespace("true").is_ok_and(|output| output.status.success()) {
                if let Some(list) = std::env::var_os("POINTSMAN_SKIPPED") {
                    let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
                    std::io::Write::write_all(
                        &mut list,
                        b"a network without IPv6: there are no namespaces\n",
                    )
                    .unwrap();
                }
                return;
            }
            let name = "net::happy_eyeballs::tests::addresses_without_ipv6_here_hide_no_others";
            let output = in_namespace(&format!("exec \"$1\" --exact {name}")).unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (good, gone) = (listener.local_addr().unwrap(), addresses(&["127.0.0.1:1"])[0]);
            let six = addresses(&["[2001:db8::1]:80", "[::1]:80"]);
            let within = Duration::from_secs(60);
            for six in six {
                assert!(connect(&[six, good], within, b"").await.connected.is_ok(), "{six}");
                for order in [[gone, six], [six, gone], [six, six]] {
                    let failed = connect(&order, within, b"").await.connected.unwrap_err();
                    assert_eq!(failed.kind(), Kind::Connect, "{order:?}");
                }
                let alone = connect(&[six], within, b"").await.connected.unwrap_err();
                assert_eq!(
                    (alone.kind(), dial::datagrams(six).unwrap_err().kind()),
                    (Kind::Connect, Kind::Connect)
                );
            }
        });
    }

    #[tokio::test]
    async fn only_the_winner_is_spoken_to() {
        use std::io::Read;
        let mut tries = 0;
        let listeners = loop {
            let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let both = listeners.each_ref().map(|it| it.local_addr().unwrap());
            let begun = std::time::Instant::now();
            let outcome = connect(&both, Duration::from_secs(20), b"first").await;
            drop(outcome.connected.unwrap());
            // Else the second attempt may have begun, and rightly.
            if begun.elapsed() < Duration::from_millis(200) {
                break listeners;
            }
            tries += 1;
            assert!(tries < 20);
        };
        let mut said = String::new();
        listeners[0].accept().unwrap().0.read_to_string(&mut said).unwrap();
        assert_eq!(said, "first");
        listeners[1].set_nonblocking(true).unwrap();
        assert!(listeners[1].accept().map(|(stream, _): (TcpStream, _)| stream).is_err());
    }
}
