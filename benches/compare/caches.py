"""The proxies as caches: configurations that store what the backend lets them, and serve it for an hour.

One thread each where that can be asked for (Varnish has a pool, on the one core that all proxies share); access log
off, which in Varnish means its log in shared memory, as it always runs. nginx keeps bodies in files on a tmpfs and
sends them with sendfile; HAProxy, Varnish and Pointsman keep them in their own memory.
"""

import contextlib
import http.client
import os
import pathlib
import subprocess
import tempfile

import machine
import proxies

ROOM = 256  # MiB for what a row stores, unless it says more.
SHARED_MEMORY = pathlib.Path("/dev/shm")


class Unavailable(Exception):
    """Why a proxy cannot take part, in a sentence."""


@contextlib.contextmanager
def start(name, place, room=ROOM):
    """One cache that runs, with `room` MiB; its port is both `http` and `https`, of which only the first is used."""
    port = machine.free_ports(1)[0]
    with contextlib.ExitStack() as stack:
        command = CONFIGURATIONS[name](place, port, room, stack)
        process = machine.Process(name, command, place.proxy_cores, place.folder / f"{name}-cache.log")
        stack.callback(process.stop)
        process.wait_for(port, seconds=20)  # Varnish compiles its configuration.
        yield proxies.Proxy(name, process, port, port)


def check(proxy, place, path, body):
    """The body, three times on one connection, the third time without the backend."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.http, timeout=10)
    where = f"{proxy.name}: GET {proxy.url('http', path)}"
    try:
        for _ in range(3):
            before = asked(place)
            connection.request("GET", path)
            answer = connection.getresponse()
            got = answer.read()
            if answer.status != 200 or got != body:
                raise machine.Trouble(f"{where}: {answer.status} and {len(got)} bytes, not 200 and the body")
        if asked(place) != before:
            raise machine.Trouble(f"{where}: the third request went to the backend too; it is not stored")
    except (OSError, http.client.HTTPException) as error:
        raise machine.Trouble(f"{where}: {error!r}\n{proxy.process.said()}") from error
    finally:
        connection.close()


def asked(place):
    """How many requests for what may be stored the backend has had: it writes a line for each, at once."""
    with (place.logs / proxies.STORED_LOG).open("rb") as lines:
        return sum(block.count(b"\n") for block in iter(lambda: lines.read(1 << 20), b""))


def nginx(place, port, room, stack):
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else place.folder
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-", dir=memory)))
    folder.chmod(0o755)  # Its worker is another user when we are root.
    return proxies.nginx_command(
        place,
        "nginx-cache",
        proxies.NGINX.format(
            folder=place.folder,
            name="nginx-cache",
            http=f"""
    proxy_cache_path {folder}/stored levels=1:2 keys_zone=pages:64m max_size={room}m inactive=1h use_temp_path=off;
    upstream backend {{
        server 127.0.0.1:{place.ports["backend"]};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        tcp_nopush off;  # On loopback it makes each file wait 40 ms for an acknowledgement.
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache pages;
        }}
    }}""",
        ),
        place.workers,
    )


def haproxy(place, port, room, stack):
    file = place.folder / "haproxy-cache.cfg"
    file.write_text(f"""
global
    nbthread {place.workers}
    maxconn {proxies.CONNECTIONS}
    no strict-limits
    tune.bufsize 32768
cache pages
    total-max-size {room}
    max-object-size 1000000
    max-age 3600
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 60s
    timeout http-keep-alive 600s
frontend plain
    bind 127.0.0.1:{port} backlog 4096
    default_backend backend
backend backend
    http-request cache-use pages
    http-response cache-store pages
    server backend 127.0.0.1:{place.ports["backend"]}
""")
    return [machine.which("haproxy"), "-db", "-f", str(file)]


def varnish(place, port, room, stack):
    # As root it changes to a user of its own, who must be able to enter the folder.
    command = [machine.which("varnishd"), "-F", "-n", str(place.folder / "varnish")]
    command += ["-a", f"127.0.0.1:{port}", "-b", f"127.0.0.1:{place.ports['backend']}", "-T", "none"]
    return [*command, "-s", f"malloc,{room}m", "-p", "thread_pools=1", "-p", "timeout_idle=600"]


def pointsman(place, port, room, stack):
    file = place.folder / "pointsman-cache.toml"
    file.write_text(f"""
[runtime]
workers = {place.workers}
drain_timeout = "1s"

[log]
access = "off"

[[listener]]
name = "plain"
address = "127.0.0.1:{port}"
max_connections = {proxies.CONNECTIONS}
[listener.timeouts]
idle = "10m"

[[route]]
name = "everything"
upstream = "backend"
cache = "pages"

[[cache]]
name = "pages"
memory = "{room}MiB"

[[upstream]]
name = "backend"
max_idle = 512
[[upstream.backend]]
address = "127.0.0.1:{place.ports["backend"]}"
""")
    checked = subprocess.run(
        [str(place.pointsman), "check", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        env=dict(os.environ, NO_COLOR="1"),
    )
    if checked.returncode == 2:
        problem = (checked.stdout + checked.stderr).strip().replace(f"{file}:", "line ")
        raise Unavailable(f"this binary refuses the configuration of a cache:\n{problem}")
    return [str(place.pointsman), "run", "--config", str(file)]


def floor(place, port, room, stack):
    return proxies.floor(place, port)


CONFIGURATIONS = {"floor": floor, "nginx": nginx, "haproxy": haproxy, "varnish": varnish, "pointsman": pointsman}
