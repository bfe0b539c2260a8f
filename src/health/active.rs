//! Active checks: sends them when [`Checks`] says so, and reports to it how they went.
//!
//! One task per backend on the control thread ([`run`]), which lives through reloads: a new generation's
//! settings come through a channel, and the state of the backend stays. Next stop: `health::state`.

mod fault;
mod http2;
mod probe;
mod udp;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use self::fault::{dial_reason, innermost, io_reason};
pub use self::{
    fault::Fault,
    probe::{CheckVersion, Probe},
};
use super::{
    Change,
    conf::{CheckKind, HealthCheckConf, InitialState},
    state::{Checks, Thresholds},
};
use crate::{
    backend::Address,
    error::Kind,
    h1::HeadLimits,
    moment::Moment,
    net::{
        Stream,
        dial::{self, Target},
        happy_eyeballs,
        hyper_io::HyperIo,
    },
};

/// Bytes of an answer that are read.
const ANSWER_MOST: usize = 64 * 1024;
/// What hyper reads into has this size at least.
const LEAST_BUFFER: usize = 8192;
/// How long the body of an answer is read whose status came.
const READING: Duration = Duration::from_millis(100);

/// Checks a backend until `probes` holds nothing or its sender is gone, then retires its checks. What is
/// sent to `probes` meanwhile holds from the next check on; a check under way that asks in another way is given
/// up for that. `on_change` is called at each change of state, with the settings that hold then.
pub async fn run(probes: watch::Receiver<Option<Arc<Probe>>>, on_change: impl Fn(&Probe, Change)) {
    schedule(probes, async |probe| send(probe).await, on_change).await;
}

/// Sends one check and waits for the verdict on its answer.
pub async fn send(probe: &Probe) -> Result<(), Fault> {
    let conf = &probe.conf;
    let end = Instant::now() + conf.timeout;
    // Boxed: a TLS handshake and an exchange are large, and between checks there is neither.
    let check = Box::pin(async {
        match conf.kind {
            CheckKind::Http => check_http(probe, end).await,
            CheckKind::Tcp => check_tcp(probe).await,
            CheckKind::Udp => check_udp(probe).await,
            CheckKind::Grpc => {
                let stream = connect(probe).await?;
                Ok(http2::check_grpc(conf, &host_of(probe), stream, probe.limits).await?)
            }
        }
    });
    timeout_at(end, check).await.unwrap_or_else(|_| match probe.backend.is_look_up_awaited() {
        true => Err(Fault::NotLookedUp),
        false => Err(format!("no answer within {:?}", conf.timeout).into()),
    })
}

/// When checks are sent, apart from how.
async fn schedule(
    mut probes: watch::Receiver<Option<Arc<Probe>>>,
    send: impl AsyncFn(&Probe) -> Result<(), Fault>,
    on_change: impl Fn(&Probe, Change),
) {
    let Some(mut probe) = probes.borrow_and_update().clone() else {
        return;
    };
    let clock = Clock::start();
    let mut rng = fastrand::Rng::new();
    let mut checks = begin(&probe, clock.now(), &mut rng);
    loop {
        let due = checks.next().unwrap_or_default();
        tokio::select! {
            biased;
            changed = probes.changed() => {
                if changed.is_err() || !adopt(&mut probe, &mut probes, &mut checks, clock.now()) {
                    return checks.retire(&probe.backend, clock.now());
                }
                continue;
            }
            () = sleep_until(clock.instant(due)) => checks.on_sent(clock.now(), &mut rng),
        }
        // Awaited here, so that there is never a second one under way.
        let result = tokio::select! {
            biased;
            result = send(&probe) => Some(result),
            () = replaced(&mut probes, &probe) => None,
        };
        // Also here: `replaced` has taken note of what `changed` would otherwise report.
        if probes.has_changed().is_err() || !adopt(&mut probe, &mut probes, &mut checks, clock.now()) {
            return checks.retire(&probe.backend, clock.now());
        }
        let verdict = match &result {
            Some(Ok(())) => Ok(()),
            Some(Err(Fault::OfBackend(reason))) => Err(reason.as_str()),
            Some(Err(Fault::NoSocket | Fault::NotLookedUp)) => {
                checks.on_not_made();
                continue;
            }
            None => {
                checks.on_given_up(clock.now());
                continue;
            }
        };
        let counts = &probe.backend.shared.health_counts;
        let count = if verdict.is_ok() { &counts.passed } else { &counts.failed };
        count.fetch_add(1, Relaxed);
        counts.checked_at.store(crate::telemetry::clock::unix_millis(), Relaxed);
        if let Some(change) = checks.on_result(probe.index, &probe.backend, verdict, clock.now()) {
            on_change(&probe, change);
        }
    }
}

fn begin(probe: &Probe, now: Moment, rng: &mut fastrand::Rng) -> Checks {
    let is_up = match probe.backend.shared.is_known.load(Relaxed) {
        true => probe.backend.is_probed_up(),
        false => probe.conf.initial == InitialState::Up,
    };
    Checks::new(thresholds(probe), probe.conf.interval, is_up, &probe.backend, now, rng)
}

fn thresholds(probe: &Probe) -> Thresholds {
    Thresholds { rise: probe.conf.rise, fall: probe.conf.fall }
}

/// Takes over what `probes` holds; `false` when it holds nothing.
fn adopt(
    probe: &mut Arc<Probe>,
    probes: &mut watch::Receiver<Option<Arc<Probe>>>,
    checks: &mut Checks,
    now: Moment,
) -> bool {
    let Some(new) = probes.borrow_and_update().clone() else {
        return false;
    };
    if !Arc::ptr_eq(probe, &new) {
        checks.set(thresholds(&new), new.conf.interval, now);
        *probe = new;
    }
    true
}

/// Ready once the backend is checked in another way than this, or no longer. Else a check would hold on to what a reload has
/// mended for as long as its `timeout`.
async fn replaced(probes: &mut watch::Receiver<Option<Arc<Probe>>>, probe: &Probe) {
    let is_other = |new: &Option<Arc<Probe>>| new.as_ref().is_none_or(|new| !new.asks_as(probe));
    // Without a sender it is no longer checked either.
    let _ = probes.wait_for(is_other).await;
}

/// The clock of the runtime, which tests stop, in terms of [`Moment`].
struct Clock(Moment, Instant);

impl Clock {
    fn start() -> Self {
        Self(Moment::now(), Instant::now())
    }

    fn now(&self) -> Moment {
        self.0.plus(self.1.elapsed())
    }

    fn instant(&self, moment: Moment) -> Instant {
        // A moment that does not fit is as good as never; a day later it is looked at again.
        let after = moment.since(self.0);
        self.1.checked_add(after).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400))
    }
}

/// `GET` of a path over a connection of its own; the status decides as soon as it came.
async fn check_http(probe: &Probe, end: Instant) -> Result<(), Fault> {
    let stream = connect(probe).await?;
    let is_agreed = stream.alpn() == Some(b"h2");
    let is_http2 = match probe.version {
        CheckVersion::Http1 => false,
        CheckVersion::Http2 => true,
        CheckVersion::Agreed => is_agreed,
    };
    if is_http2 {
        return Ok(http2::check_path(&probe.conf, &host_of(probe), stream, probe.limits).await?);
    }
    let request = request(probe)?;
    let HeadLimits { bytes, fields, target: _ } = probe.limits;
    let mut builder = http1::Builder::new();
    builder.max_headers(fields).max_buf_size(bytes.max(LEAST_BUFFER));
    let (mut sender, connection) =
        builder.handshake(HyperIo(stream)).await.map_err(|it| answer_error(&it))?;
    let drive = async {
        // What ends the connection reaches the exchange through its own error.
        drop(connection.await);
        std::future::pending().await
    };
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|it| answer_error(&it))?;
        let status = response.status().as_u16();
        if !probe.conf.expect_status.iter().any(|range| range.contains(status)) {
            return Err(format!("status {status}").into());
        }
        // Nothing in the body says another thing, nor that it does not end.
        let _ = timeout_at(end.min(Instant::now() + READING), read_some(response.into_body())).await;
        Ok(())
    };
    tokio::select! {
        biased;
        verdict = exchange => verdict,
        never = drive => never,
    }
}

/// The host that a check names.
fn host_of(probe: &Probe) -> String {
    match &*probe.conf.host {
        "" => probe.backend.address.host().into_owned(),
        host => host.into(),
    }
}

fn request(probe: &Probe) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::get(&probe.conf.path).header(header::HOST, host_of(probe));
    let headers = &probe.conf.headers;
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(header::USER_AGENT.as_str())) {
        request = request.header(header::USER_AGENT, "pointsman-health-check");
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| format!("the request cannot be built: {error}"))
}

/// Reads the body so far that the backend need not see its answer refused, and no further.
async fn read_some(mut body: Incoming) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > ANSWER_MOST {
            break;
        }
    }
}

fn answer_error(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        return "the response head is larger, or has more fields, than the upstream's `limits` allow".into();
    }
    if error.is_parse() {
        return "the answer is not HTTP".into();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "the connection was closed without an answer".into();
    }
    innermost(error)
}

/// Connects; where it is configured, sends and waits for what is expected.
async fn check_tcp(probe: &Probe) -> Result<(), Fault> {
    let mut stream = connect(probe).await?;
    let HealthCheckConf { send, expect, .. } = &probe.conf;
    if !send.is_empty() {
        stream.write_all(send.as_bytes()).await.map_err(|it| io_reason(&it))?;
        stream.flush().await.map_err(|it| io_reason(&it))?;
    }
    if expect.is_empty() {
        return Ok(());
    }
    let mut answer = Vec::new();
    let mut looked = 0;
    // A backend may say it byte by byte: nothing is looked through twice but what may be a beginning of it.
    while memchr::memmem::find(answer.get(looked..).unwrap_or_default(), expect.as_bytes()).is_none() {
        looked = (answer.len() + 1).saturating_sub(expect.len());
        if answer.len() >= ANSWER_MOST {
            return Err(format!("{expect:?} is not in the first 64 KiB of the answer").into());
        }
        if stream.read_buf(&mut answer).await.map_err(|it| io_reason(&it))? == 0 {
            return Err(format!("the connection was closed without {expect:?}").into());
        }
    }
    Ok(())
}

/// Sends a datagram to each of the backend's addresses, and waits for an answer with what is expected from one of them.
async fn check_udp(probe: &Probe) -> Result<(), Fault> {
    let HealthCheckConf { send, expect, .. } = &probe.conf;
    let addresses = addresses(probe).await?;
    let addresses: Vec<_> = addresses.iter().map(|address| checked(*address, probe)).collect();
    let datagram = [&*probe.first, send.as_bytes()].concat();
    udp::ask_any(&addresses, &datagram, expect.as_bytes()).await
}

/// The backend's addresses, once its name was looked up.
async fn addresses(probe: &Probe) -> Result<Arc<Vec<SocketAddr>>, Fault> {
    let addresses = probe.backend.addresses().await;
    let is_ours = addresses.is_empty() && probe.backend.shared.has_no_socket.load(Relaxed);
    if is_ours { Err(Fault::NoSocket) } else { Ok(addresses) }
}

/// The address that is checked for one of the backend's.
fn checked(mut address: SocketAddr, probe: &Probe) -> SocketAddr {
    if let Some(port) = probe.conf.port {
        address.set_port(port);
    }
    address
}

/// A connection to the first of the backend's addresses that takes one, as requests connect.
async fn connect(probe: &Probe) -> Result<Stream, Fault> {
    let shared = &probe.backend.shared;
    let connected = match &probe.backend.address {
        Address::Unix(path) => dial::plain(&Target::Unix(path.clone()), &probe.first).await,
        Address::Host { .. } | Address::OfName { .. } | Address::Srv(_) => {
            let addresses = addresses(probe).await?;
            let ordered = shared.in_order(&addresses, 0, Moment::now());
            let ordered: Vec<_> = ordered.iter().map(|address| checked(*address, probe)).collect();
            let outcome = happy_eyeballs::connect(&ordered, probe.conf.timeout, &probe.first).await;
            // Another port says nothing of the one that requests go to.
            if probe.conf.port.is_none() {
                shared.put_behind(&outcome.behind, Moment::now());
            }
            outcome.connected
        }
    };
    let mut plain = connected.map_err(|error| match error.kind() {
        Kind::NoSocket => Fault::NoSocket,
        Kind::Unresolved => "the name has no address".into(),
        _ => dial_reason(&error).into(),
    })?;
    let Some((config, name, how)) = probe.tls.clone() else {
        return Ok(Stream::Plain(plain));
    };
    let asked = dial::ask_for_tls(&mut plain, how).await;
    asked.map_err(|error| format!("TLS: {}", dial_reason(&error)))?;
    let stream = dial::tls(plain, config, name).await;
    stream.map_err(|error| format!("TLS: {}", dial_reason(&error)).into())
}

#[cfg(test)]
mod tests;
