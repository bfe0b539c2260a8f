//! Active health checks: a task for each backend of an upstream that has them.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::watch, task::spawn_local};

use crate::{
    backend::{self, Backend},
    health::{
        Change,
        active::{self, CheckVersion, Probe},
        conf::{CheckKind, HealthCheckConf},
    },
    moment::Moment,
    runtime::Snapshot,
    telemetry::metrics::NameId,
    upstream::{ClientTls, Upstream, announce, conf::UpstreamProtocol, log_change},
};

/// The checks of the current generation. A backend that remains keeps its task, and with it what the
/// checks before have said: only how it is checked is set anew.
#[derive(Debug, Default)]
pub(super) struct ActiveChecks {
    /// By upstream: the one that its checks were made of, and for each of its backends the way to its task.
    upstreams: HashMap<NameId, (Arc<Upstream>, Checked)>,
}

type Checked = HashMap<*const backend::Shared, watch::Sender<Option<Arc<Probe>>>>;

impl ActiveChecks {
    /// Goes on with the checks of `snapshot`, on the control loop. Those of backends that are gone end.
    pub(super) fn set(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.upstreams);
        for upstream in &snapshot.upstreams {
            let (known, mut tasks) = match before.remove(&upstream.name) {
                Some((known, tasks)) => (Some(known), tasks),
                None => (None, Checked::new()),
            };
            if !known.is_some_and(|known| Arc::ptr_eq(&known, upstream)) {
                tasks = upstream.conf.health_check.as_ref().map_or_else(Checked::new, |conf| {
                    let indexed = upstream.backends.iter().enumerate();
                    indexed.filter_map(|(index, it)| begin(upstream, conf, (index, it), &mut tasks)).collect()
                });
            }
            if !tasks.is_empty() {
                self.upstreams.insert(upstream.name, (upstream.clone(), tasks));
            }
        }
    }
}

/// Tells the task of a backend how it is checked from here on, or starts one.
fn begin(
    upstream: &Arc<Upstream>,
    conf: &HealthCheckConf,
    (index, backend): (usize, &Arc<Backend>),
    before: &mut Checked,
) -> Option<(*const backend::Shared, watch::Sender<Option<Arc<Probe>>>)> {
    let identity = Arc::as_ptr(&backend.shared);
    let probe = match probe(upstream, conf, index, backend) {
        Ok(probe) => Arc::new(probe),
        Err(why) => {
            let upstream = &upstream.conf.name;
            tracing::error!(%upstream, backend = &*backend.name, "cannot be checked: {why}");
            backend.shared.set_why(format!("cannot be checked: {why}").into());
            return None;
        }
    };
    if let Some(sender) = before.remove(&identity) {
        sender.send_replace(Some(probe));
        return Some((identity, sender));
    }
    let (sender, probes) = watch::channel(Some(probe));
    // Not the upstream: the task outlives this generation.
    let (name, queue) = (upstream.conf.name.clone(), upstream.queue.clone());
    let on_change = move |probe: &Probe, change: Change| {
        log_change(&name, &probe.backend.name, &change);
        queue.call_if_free(Moment::now());
    };
    spawn_local(async move { active::run(probes, on_change).await });
    Some((identity, sender))
}

fn probe(
    upstream: &Upstream,
    conf: &HealthCheckConf,
    index: usize,
    backend: &Arc<Backend>,
) -> Result<Probe, String> {
    let name = |tls: &ClientTls| {
        let name = tls.name_for(backend);
        let config = match conf.kind {
            CheckKind::Http | CheckKind::Grpc => tls.http2.as_ref().unwrap_or(&tls.config),
            CheckKind::Tcp | CheckKind::Udp => &tls.config,
        };
        name.map(|name| (config.clone(), name, upstream.conf.starttls)).map_err(|error| error.to_string())
    };
    let tls = upstream.tls.as_ref().map(name).transpose()?;
    let first = match conf.kind {
        CheckKind::Udp => announce::own_datagram_header(&upstream.conf),
        CheckKind::Http | CheckKind::Tcp | CheckKind::Grpc => announce::own_header(&upstream.conf),
    };
    let version = match upstream.conf.protocol {
        UpstreamProtocol::Http1 => CheckVersion::Http1,
        UpstreamProtocol::H2 => CheckVersion::Http2,
        UpstreamProtocol::Auto => CheckVersion::Agreed,
    };
    let limits = upstream.conf.limits.of_head();
    Ok(Probe { conf: conf.clone(), backend: backend.clone(), index, tls, version, first, limits })
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, net::TcpListener, time::Duration};

    use tokio::{runtime::LocalRuntime, time::sleep};

    use super::*;
    use crate::admin::tests::{CONFIG, shared};

    #[test]
    fn each_backend_of_a_checked_upstream_is_checked() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        let text = format!(
            "{CONFIG}[upstream.health_check]\nkind = \"tcp\"\ninterval = \"10ms\"\nrise = 1\ninitial = \"down\"\n"
        );
        let text = text.replace("unix:/run/app.sock", &format!("127.0.0.1:{port}"));
        let shared = shared(&text);
        let snapshot = shared.snapshot.load_full();
        let checked = &snapshot.upstreams[1].backends[0];
        assert!(!checked.is_probed_up());
        let queue = &snapshot.upstreams[1].queue;
        queue.set_most(1);
        let waits = queue.join(snapshot.upstreams[1].passive.backends(), None).unwrap();
        LocalRuntime::new().unwrap().block_on(async {
            let mut checks = ActiveChecks::default();
            checks.set(&snapshot);
            while !checked.is_probed_up() {
                sleep(Duration::from_millis(1)).await;
            }
            // Who waits for it is called.
            poll_fn(|cx| waits.poll_called(cx)).await;
        });
        // The other upstream has no checks.
        assert_eq!(&*snapshot.upstreams[0].backends[0].shared.why(), "not checked yet");
    }
}
