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
import single
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
    return single.running("json", proxies.nginx_command(place, "json", text), place, port)


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
    lines = ["compression algo gzip", "compression type application/json"]
    return single.haproxy(place, "gzip", port, behind, lines=lines)


def envoy(place, port, behind):
    def compressor(name, kind):
        common = {"common_config": {"content_type": ["application/json"]}}
        library = {"@type": f"type.googleapis.com/envoy.extensions.compression.{kind}"}
        return {
            "name": name,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor",
                "response_direction_config": common,
                "choose_first": name == "zstd",
                "compressor_library": {"name": name, "typed_config": library},
            },
        }

    filters = [compressor("zstd", "zstd.compressor.v3.Zstd"), compressor("gzip", "gzip.compressor.v3.Gzip")]
    return single.envoy(place, "gzip", port, behind, single.envoy_http(*filters))


def pointsman(place, port, behind):
    return single.pointsman(
        place, "gzip", port, behind, route='compression = ["zstd", "br", "gzip"]', upstream="max_idle = 512"
    )


CONFIGURATIONS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy, "pointsman": pointsman}


class CompressionRow(single.Single, load.Row):
    """Responses compressed for a client that takes these encodings."""

    configurations = CONFIGURATIONS

    def __init__(self, key, title, accept, goals):
        super().__init__(key, title, self.ask, path=PATH, connections=8, goals=goals)
        self.accept = accept

    def ask(self, row, url, seconds, place):
        return load.wrk(row, url, seconds, place, "-H", f"Accept-Encoding: {self.accept}")

    def origin(self, place, port):
        return backend(place, port)

    def check(self, proxy, place):
        wheels.wait_until_it_answers(proxy.url("http", PATH))
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
