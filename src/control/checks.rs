//! Active health checks: a task for each backend of an upstream that has them.

use std::{borrow::Cow, sync::Arc};

use tokio::{sync::watch, task::spawn_local};

use crate::{
    backend::{Address, Backend},
    health::{
        active::{self, Probe},
        conf::HealthCheckConf,
    },
    runtime::Snapshot,
    upstream::{ClientTls, Upstream},
};

/// Starts the checks of a snapshot, on the control loop.
pub(super) fn start(snapshot: &Snapshot) {
    for upstream in &snapshot.upstreams {
        let Some(conf) = &upstream.conf.health_check else { continue };
        for (index, backend) in upstream.backends.iter().enumerate() {
            match probe(upstream, conf, index, backend) {
                Ok(probe) => drop(spawn_local(check(upstream.clone(), probe))),
                Err(why) => {
                    let upstream = &upstream.conf.name;
                    tracing::error!(%upstream, backend = &*backend.name, "cannot be checked: {why}");
                    backend.shared.set_why(format!("cannot be checked: {why}").into());
                }
            }
        }
    }
}

/// Checks a backend for as long as the program runs.
async fn check(upstream: Arc<Upstream>, probe: Probe) {
    // The sender is held for as long as the checks go on: without it they would end.
    let (_held, probes) = watch::channel(Some(Arc::new(probe)));
    active::run(probes, |_, change| upstream.log_change(&change)).await;
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
    use std::{net::TcpListener, time::Duration};

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
        LocalRuntime::new().unwrap().block_on(async {
            start(&snapshot);
            while !checked.is_probed_up() {
                sleep(Duration::from_millis(1)).await;
            }
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
