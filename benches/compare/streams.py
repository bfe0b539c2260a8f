"""The rows about TCP that is passed on: HTTP goes through, and nobody looks at it.

HAProxy in `mode tcp` with `option splice-auto`, nginx's `stream`, Envoy's `tcp_proxy`, and a `tcp` listener.
"""

import contextlib
import http.client
import pathlib
import time

import caches
import load
import machine
import proxies
import single


def nginx(place, port, backend):
    return nginx_stream(place, "streams", f"127.0.0.1:{port} backlog=4096", backend)


def nginx_stream(place, name, listen, backend, more=""):
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
        {more}
    }}
}}
"""
    return proxies.nginx_command(place, name, text)


def haproxy(place, port, backend):
    return single.haproxy(place, "streams", port, backend, mode="tcp", lines=["option splice-auto"])


def envoy(place, port, backend):
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "in",
        "cluster": "backend",
    }
    return single.envoy(place, "streams", port, backend, proxy)


def pointsman(place, port, backend):
    return single.pointsman(place, "streams", port, backend, protocol="tcp")


def floor(place, port, backend):
    return proxies.floor(place, port, backend)


CONFIGURATIONS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy, "pointsman": pointsman}


class Passed(single.Single):
    """How proxies of connections are started and tried: before the backend of all rows."""

    configurations = CONFIGURATIONS

    @contextlib.contextmanager
    def origin(self, place, port):
        yield place.ports["backend"]

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


class SmallPassedRow(PassedRow):
    """The same with small ones, where the floor takes part."""

    configurations = {"floor": floor, **CONFIGURATIONS}


class PassedIdle(Passed, load.IdleRow):
    """What a connection that is passed on and waits takes."""


ROWS = [
    PassedIdle("tcp-idle", "memory of a connection that is passed on and waits", None, goals={"haproxy": 0.5}),
    SmallPassedRow("tcp-small", "TCP passed on: 127 bytes there and back on 32 connections", load.wrk),
    PassedRow("tcp-bulk", "TCP passed on: 10 MB at once", load.wrk, path=proxies.BULK, connections=4),
    PassedRow("tcp-connect", "TCP passed on: a new connection for each 127 bytes", load.wrk_close),
]
