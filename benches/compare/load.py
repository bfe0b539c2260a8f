"""The rows: what is sent, by which program, and what comes out of it.

wrk sends HTTP/1.1, h2load HTTP/2. New TLS handshakes are ab's, since wrk resumes sessions when it reconnects: ab
speaks HTTP/1.0 without keep-alive and never resumes.
"""

import dataclasses
import pathlib
import re
import subprocess
import sys
import time

import machine
import proxies

SMALL, LARGE = "/small", "/large"


@dataclasses.dataclass
class Figures:
    """One turn of one proxy. What a row does not measure is None."""

    requests: int | None = None
    per_second: float | None = None
    p50: float | None = None  # seconds
    p99: float | None = None
    p999: float | None = None
    cpu: float | None = None  # seconds per request
    resident: int | None = None  # bytes afterwards
    per_connection: float | None = None  # bytes that an idle connection added
    per_object: float | None = None  # bytes that a stored object added beyond its body
    errors: int = 0


@dataclasses.dataclass
class Row:
    """The same load on every proxy."""

    key: str
    title: str
    send: object  # (url, seconds, place) -> Figures without CPU and memory
    scheme: str = "http"
    path: str = SMALL
    connections: int = 32
    goals: dict = dataclasses.field(default_factory=dict)  # peer → most that Pointsman ÷ peer may be

    def proxies(self, chosen):
        return [name for name in chosen if name in proxies.CONFIGURATIONS and name != "floor"]

    def start(self, name, place, options):
        return proxies.start(name, place)

    def check(self, proxy, place):
        proxies.check(proxy)

    def rounds(self, wanted):
        return wanted

    def warm_up(self, proxy, place):
        self.send(self, proxy.url(self.scheme, self.path), 1, place)

    def measure(self, proxy, place, options):
        before = proxy.process.cpu_seconds()
        figures = self.send(self, proxy.url(self.scheme, self.path), options.seconds, place)
        used = proxy.process.cpu_seconds() - before
        if not figures.requests:
            raise machine.Trouble(f"{proxy.name} answered nothing in the row {self.key}:\n{proxy.process.said()}")
        figures.cpu = used / figures.requests
        figures.resident = proxy.process.resident_bytes()
        return figures


class SmallRow(Row):
    """One that the floor takes part in: what it reads is a whole request or response."""

    def proxies(self, chosen):
        return [name for name in chosen if name in proxies.CONFIGURATIONS]


class LogRow(Row):
    """Pointsman beside itself with its access log on."""

    def proxies(self, chosen):
        return ["pointsman", "pointsman+log"] if "pointsman" in chosen else []


class RulesRow(Row):
    """Pointsman beside itself with ten conditions that each request meets, and five texts with placeholders."""

    def proxies(self, chosen):
        return ["pointsman", "pointsman+rules"] if "pointsman" in chosen else []


class IdleRow(Row):
    """What a proxy keeps for each of many connections that have made one request and now wait."""

    def rounds(self, wanted):
        return 1  # A second round would find the memory of the first still there.

    def warm_up(self, proxy, place):
        pass

    def clients(self, proxy, options):
        """The program that opens them."""
        port = proxy.http if self.scheme == "http" else proxy.https
        command = [sys.executable, str(pathlib.Path(__file__).with_name("idle_clients.py"))]
        return [*command, self.scheme, str(port), self.path, str(options.idle_connections)]

    def measure(self, proxy, place, options):
        before = settled(proxy.process.resident_bytes)
        clients = subprocess.Popen(
            self.clients(proxy, options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=machine.on_cores(place.load_cores),
        )
        try:
            said = clients.stdout.readline().split()  # They give up by themselves when it takes too long.
            if said[:1] != ["open"]:
                why = " ".join(said) or "the idle clients died"
                raise machine.Trouble(f"{proxy.name}: {why}\n{proxy.process.said()}")
            after = settled(proxy.process.resident_bytes)
            clients.stdin.close()  # Now they look whether all are still open, and end.
            alive = int(clients.stdout.readline().split()[1])
            clients.wait(60)
        finally:
            clients.kill()
            clients.wait()
        return Figures(
            resident=after,
            per_connection=(after - before) / options.idle_connections,
            errors=options.idle_connections - alive,
        )


def settled(memory, seconds=10):
    """What `memory` gives once it stays the same for a second, or after a while anyway."""
    deadline = time.monotonic() + seconds
    last, since = memory(), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < 1:
        time.sleep(0.1)
        now = memory()
        if abs(now - last) > 64 * 1024:
            last, since = now, time.monotonic()
    return memory()


def run(command, seconds, place):
    """What a load generator prints. It ends by itself; the limit is for one that does not."""
    done = subprocess.run(
        [machine.which(command[0]), *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + 30,
        preexec_fn=machine.on_cores(place.load_cores),
    )
    if done.returncode:
        raise machine.Trouble(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def number(pattern, text, otherwise=None):
    found = re.search(pattern, text, re.MULTILINE)
    if found:
        return float(found[1])
    if otherwise is None:
        raise machine.Trouble(f"expected {pattern!r} in what a load generator said:\n{text[-2000:]}")
    return otherwise


def wrk(row, url, seconds, place, *headers):
    command = ["wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", "--latency", "--timeout", "10s", *headers, url]
    text = run(command, seconds, place)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Figures(
        requests=int(number(r"(\d+) requests in", text)),
        per_second=number(r"Requests/sec:\s+([\d.]+)", text),
        p50=wrk_time(r"^\s+50%\s+(\S+)$", text),
        p99=wrk_time(r"^\s+99%\s+(\S+)$", text),
        errors=int(number(r"Non-2xx or 3xx responses: (\d+)", text, 0))
        + (sum(map(int, sockets.groups())) if sockets else 0),
    )


def wrk_time(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        return None
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", found[1]).groups()
    return float(value) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def wrk_ruled(row, url, seconds, place):
    return wrk(row, f"{url}?a=1&b=12", seconds, place, "-H", "User-Agent: count", "-H", "Accept: */*")


def wrk_close(row, url, seconds, place):
    return wrk(row, url, seconds, place, "-H", "Connection: close")


def ab(row, url, seconds, place):
    table = place.folder / "ab.csv"
    # -t sets a limit of 50,000 requests too; the -n behind it lifts that.
    command = ["ab", "-q", "-c", str(row.connections), "-t", str(seconds), "-n", "100000000", "-f", "TLS1.3"]
    text = run([*command, "-e", str(table), url], seconds, place)
    times = dict(line.split(",") for line in table.read_text().splitlines()[1:])
    return Figures(
        requests=int(number(r"Complete requests:\s+(\d+)", text)),
        per_second=number(r"Requests per second:\s+([\d.]+)", text),
        p50=float(times["50"]) / 1e3,
        p99=float(times["99"]) / 1e3,
        errors=int(number(r"Failed requests:\s+(\d+)", text)) + int(number(r"Non-2xx responses:\s+(\d+)", text, 0)),
    )


def h2load_single(row, url, seconds, place):
    return h2load(row, url, seconds, place, streams=1)


def h2load(row, url, seconds, place, streams=16):
    # Not where a configuration is: a proxy that watches that folder would be told of each line.
    log = place.logs / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", f"-c{row.connections}", f"-m{streams}", "-D", str(seconds), f"--log-file={log}", url]
    text = run(command, seconds, place)
    if "Application protocol: h2" not in text:
        raise machine.Trouble(f"h2load did not get HTTP/2:\n{text[-2000:]}")
    done = int(number(r"requests: .* (\d+) done", text))
    times = sorted(int(line.rsplit("\t", 1)[1]) for line in log.read_text().splitlines())
    return Figures(
        requests=done,
        per_second=done / seconds,
        p50=times[len(times) // 2] / 1e6,
        p99=times[len(times) * 99 // 100] / 1e6,
        # A response may be counted just before its request is.
        errors=max(0, done - int(number(r"status codes: (\d+) 2xx", text))) + int(number(r"(\d+) failed", text)),
    )


ROWS = [
    SmallRow("keepalive-32", "keep-alive, 32 connections, 127 bytes", wrk, goals={"nginx": 1.0, "haproxy": 0.85}),
    SmallRow(
        "keepalive-512",
        "keep-alive, 512 connections, 127 bytes",
        wrk,
        connections=512,
        goals={"nginx": 0.85, "haproxy": 0.85},
    ),
    SmallRow("keepalive-9000", "keep-alive, 9,000 connections, 127 bytes", wrk, connections=9_000),
    Row("large", "keep-alive, 32 connections, 100 kB", wrk, path=LARGE, goals={"haproxy": 0.9}),
    Row("close", "a new connection per request, 127 bytes", wrk_close, goals={"nginx": 1.0, "haproxy": 1.0}),
    Row("tls", "TLS 1.3 keep-alive, 32 connections, 127 bytes", wrk, "https", goals={"nginx": 0.85, "haproxy": 0.85}),
    Row(
        "tls-large",
        "TLS 1.3 keep-alive, 32 connections, 100 kB",
        wrk,
        "https",
        LARGE,
        goals={"nginx": 0.7, "haproxy": 0.7},
    ),
    Row(
        "tls-handshake",
        "a new TLS 1.3 handshake per request, P-256",
        ab,
        "https",
        goals={"nginx": 0.6, "haproxy": 0.6},
    ),
    Row("h2", "HTTP/2 over TLS, 32 connections of 16 streams, 127 bytes", h2load, "https", goals={"nginx": 0.7, "haproxy": 0.95}),
    LogRow("log", "the access log of Pointsman, keep-alive, 32 connections, 127 bytes", wrk),
    RulesRow("rules", "ten conditions and five templates of Pointsman, keep-alive, 32 connections", wrk_ruled),
    IdleRow("idle", "memory of an idle keep-alive connection", None, goals={"bytes": 1_200}),
    IdleRow("idle-tls", "memory of an idle keep-alive connection, TLS", None, "https", goals={"bytes": 12_000}),
    IdleRow("idle-h2", "memory of an idle connection of HTTP/2", None, "h2", goals={"haproxy": 1.0}),
]
