"""The rows about HTTP/2 on both sides, without TLS: prior knowledge from the client and to the backend.

HAProxy with `proto h2` on both sides, nginx's `grpc_pass` (its only way to an HTTP/2 backend), Envoy, and an upstream
with `protocol = "h2"`.
"""

import subprocess

import load
import machine
import proxies
import single


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
    return single.running("http2-backend", proxies.nginx_command(place, "http2-backend", text), place, port)


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
    lines = ["option forwardfor", "http-request set-header X-Forwarded-Proto http"]
    return single.haproxy(place, "http2", port, behind, bind="proto h2", lines=lines, server="proto h2")


def envoy(place, port, behind):
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    protocol = {"@type": f"type.googleapis.com/{kind}", "explicit_http_config": {"http2_protocol_options": {}}}
    manager = single.envoy_http(codec_type="HTTP2", use_remote_address=True)
    return single.envoy(place, "http2", port, behind, manager, typed_extension_protocol_options={kind: protocol})


def pointsman(place, port, behind):
    return single.pointsman(place, "http2", port, behind, upstream='protocol = "h2"')


CONFIGURATIONS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy, "pointsman": pointsman}


class Http2Row(single.Single, load.Row):
    """Requests by HTTP/2 to a backend that speaks HTTP/2."""

    configurations = CONFIGURATIONS

    def origin(self, place, port):
        return backend(place, port)

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
