//! Active health checks: a task for each backend of an upstream that has them.

use std::{borrow::Cow, collections::HashMap, slice, sync::Arc};

use tokio::{sync::watch, task::spawn_local};

use crate::{
    backend::{self, Address, Backend},
    health::{
        Change,
        active::{self, Probe},
        conf::HealthCheckConf,
    },
    moment::Moment,
    runtime::Snapshot,
    telemetry::metrics::NameId,
    upstream::{ClientTls, Upstream, log_change},
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
        queue.call_if_free(slice::from_ref(&probe.backend), Moment::now());
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
        let name = tls.name_for(backend, &host(conf, &backend.address));
        name.map(|name| (tls.config.clone(), name)).map_err(|error| error.to_string())
    };
    let tls = upstream.tls.as_ref().map(name).transpose()?;
    Ok(Probe { conf: conf.clone(), backend: backend.clone(), index, tls })
}

/// The host to ask for over TLS where neither configuration nor address has one, as a request would.
fn host<'a>(conf: &'a HealthCheckConf, address: &'a Address) -> Cow<'a, str> {
    if !conf.host.is_empty() {
        // The port is no part of a server name.
        let authority: Option<http::uri::Authority> = conf.host.parse().ok();
        return match authority {
            Some(authority) => authority.host().trim_matches(['[', ']']).to_owned().into(),
            None => (&*conf.host).into(),
        };
    }
    match address {
        Address::Host { host, .. } => (&**host).into(),
        // `_http._tcp.app.example.com` is a service of `app.example.com`.
        Address::Srv(name) => {
            let labels: Vec<&str> = name.split('.').skip_while(|label| label.starts_with('_')).collect();
            labels.join(".").into()
        }
        Address::Unix(_) => "localhost".into(),
    }
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
        let waits = queue.join(false).unwrap();
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

    #[test]
    fn the_name_to_ask_for_has_neither_port_nor_service() {
        let conf = |host: &str| {
            let text = format!(
                "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\n\
                 upstream = \"app\"\n[[upstream]]\nname = \"app\"\n[[upstream.backend]]\n\
                 address = \"127.0.0.1:1\"\n[upstream.health_check]\nhost = \"{host}\"\n"
            );
            let config = crate::config::parse(&text, "test.toml".as_ref()).unwrap();
            config.upstream[0].health_check.clone().unwrap()
        };
        let srv = Address::Srv("_http._tcp.app.test".into());
        let unix = Address::Unix("/run/app.sock".into());
        assert_eq!(host(&conf(""), &srv), "app.test");
        assert_eq!(host(&conf(""), &unix), "localhost");
        assert_eq!(host(&conf("api.test:8443"), &srv), "api.test");
        assert_eq!(host(&conf("api.test"), &unix), "api.test");
        assert_eq!(host(&conf("[::1]:80"), &unix), "::1");
    }
}
