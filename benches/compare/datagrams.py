"""The rows about UDP, beside nginx's `stream` and Envoy: datagrams to a server that sends them back.

The server and the clients are this file too, in three kinds: `one` sends the next datagram when the last one has come
back, or after a second; `burst` sends many at once, as the kernel cuts them (UDP_SEGMENT), and the next when all have come
back; `question` asks once from each port, so that each datagram and its answer are a session.
"""

import contextlib
import select
import socket
import subprocess
import sys
import time

import caches
import load
import machine
import single
import streams

LENGTH = 100
LOST_AFTER = 1.0
# Of a burst: how many datagrams, and how long each is.
BURST, PIECE = 16, 1000
# linux/udp.h
UDP_SEGMENT, UDP_GRO = 103, 104


def nginx(place, port, backend, more=""):
    return streams.nginx_stream(place, "datagrams", f"127.0.0.1:{port} udp", backend, more)


def nginx_question(place, port, backend):
    return nginx(place, port, backend, "proxy_responses 1;")


def envoy(place, port, backend, idle="30s"):
    kind = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3"
    route = {"name": "route", "typed_config": {"@type": f"{kind}.Route", "cluster": "backend"}}
    proxy = {
        "@type": f"{kind}.UdpProxyConfig",
        "stat_prefix": "in",
        "idle_timeout": idle,
        "matcher": {"on_no_match": {"action": route}},
    }
    return single.envoy(place, "datagrams", port, backend, proxy, udp=True)


def envoy_question(place, port, backend):
    # It cannot be told that one answer is the end.
    return envoy(place, port, backend, "0.2s")


def pointsman(place, port, backend, responses=0):
    udp = f'udp = {{ idle = "30s", responses = {responses} }}'
    return single.pointsman(place, "datagrams", port, backend, protocol="udp", upstream=udp)


def pointsman_question(place, port, backend):
    return pointsman(place, port, backend, 1)


CONFIGURATIONS = {"nginx": nginx, "envoy": envoy, "pointsman": pointsman}
QUESTIONS = {"nginx": nginx_question, "envoy": envoy_question, "pointsman": pointsman_question}


class DatagramRow(single.Single, load.Row):
    """Clients that send datagrams, and the next when these have come back."""

    configurations = CONFIGURATIONS
    accepts = False
    kind = "one"

    def origin(self, place, port):
        return single.running("echo", [sys.executable, __file__, "echo", str(port)], place, port, accepts=False)

    def check(self, proxy, place):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, contextlib.suppress(OSError):
                client.settimeout(0.5)
                client.connect(("127.0.0.1", proxy.http))
                client.send(b"check")
                if client.recv(100) == b"check":
                    return
            time.sleep(0.1)
        raise machine.Trouble(f"{proxy.name} brings no datagram back:\n{proxy.process.said()}")

    def exchange(self, port, seconds, place):
        command = [sys.executable, __file__, self.kind, str(port), str(self.connections), str(seconds)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=seconds + 30, preexec_fn=machine.on_cores(place.load_cores)
        )
        count, lost, p50, p99 = done.stdout.split()
        if not float(p50):
            raise caches.Unavailable(f"of what it was given {lost} came back in parts, and nothing whole")
        return load.Figures(
            requests=int(count), per_second=int(count) / seconds, p50=float(p50), p99=float(p99), errors=int(lost)
        )

    def warm_up(self, proxy, place):
        self.exchange(proxy.http, 1, place)

    def measure(self, proxy, place, options):
        before = proxy.process.cpu_seconds()
        figures = self.exchange(proxy.http, options.seconds, place)
        used = proxy.process.cpu_seconds() - before
        # There and back are two datagrams.
        figures.cpu = used / figures.requests / 2
        figures.resident = proxy.process.resident_bytes()
        return figures


class BurstRow(DatagramRow):
    """Many at once."""

    kind = "burst"

    def measure(self, proxy, place, options):
        figures = super().measure(proxy, place, options)
        figures.cpu /= BURST
        return figures


class QuestionRow(DatagramRow):
    """A session for each datagram and its answer."""

    configurations = QUESTIONS
    kind = "question"


def echo(port):
    """Sends back what comes, in as few pieces as it came in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        server.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        while True:
            data, more, _, client = server.recvmsg(65536, 64)
            sizes = [int.from_bytes(it[2][:2], sys.byteorder) for it in more if it[1] == UDP_GRO]
            size = sizes[0] if sizes else len(data)
            send(server, data, size, client)


def send(sender, data, size, to=None):
    """In one call, in datagrams of this size."""
    cut = [(socket.SOL_UDP, UDP_SEGMENT, size.to_bytes(2, sys.byteorder))] if len(data) > size else []
    sender.sendmsg([data], cut, 0, *([to] if to else []))


def burst(port, clients, seconds):
    poller, sockets, times = select.epoll(), {}, []
    data, lost = b"x" * (BURST * PIECE), 0
    for _ in range(clients):
        client = opened(port)
        client.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        poller.register(client, select.EPOLLIN)
        sockets[client.fileno()] = [client, 0.0, 0]
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        for entry in sockets.values():
            if now - entry[1] > LOST_AFTER:
                lost += entry[1] > 0
                entry[1:] = [now, len(data)]
                send(entry[0], data, PIECE)
        for number, _ in poller.poll(0.2):
            client, sent, left = entry = sockets[number]
            entry[2] = left - len(client.recv(65536))
            if entry[2] <= 0:
                now = time.monotonic()
                times.append(now - sent)
                entry[1:] = [now, len(data)]
                send(client, data, PIECE)
    say(times, lost)


def question(port, clients, seconds):
    poller, sockets, times = select.epoll(), {}, []
    datagram, lost = b"x" * LENGTH, 0

    def begin():
        client = opened(port)
        poller.register(client, select.EPOLLIN)
        sockets[client.fileno()] = (client, time.monotonic())
        client.send(datagram)

    for _ in range(clients):
        begin()
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if now - next(iter(sockets.values()))[1] > LOST_AFTER:
            number = next(iter(sockets))
            sockets.pop(number)[0].close()
            lost += 1
            begin()
        for number, _ in poller.poll(0.2):
            client, sent = sockets.pop(number)
            client.recv(2000)
            client.close()
            times.append(time.monotonic() - sent)
            begin()
    say(times, lost)


def opened(port):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setblocking(False)
    client.connect(("127.0.0.1", port))
    return client


def say(times, lost):
    times = sorted(times) or [0.0]
    print(len(times), lost, times[len(times) // 2], times[len(times) * 99 // 100])


def one(port, clients, seconds):
    poller, sockets, times = select.epoll(), {}, []
    for _ in range(clients):
        client = opened(port)
        poller.register(client, select.EPOLLIN)
        sockets[client.fileno()] = [client, 0.0]
    datagram, lost = b"x" * LENGTH, 0
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        for entry in sockets.values():
            if now - entry[1] > LOST_AFTER:
                lost += entry[1] > 0
                entry[1] = now
                entry[0].send(datagram)
        for number, _ in poller.poll(0.2):
            client, sent = entry = sockets[number]
            client.recv(2000)
            entry[1] = time.monotonic()
            times.append(entry[1] - sent)
            client.send(datagram)
    say(times, lost)


ROWS = [
    DatagramRow("udp", "UDP, 32 sessions, 100 bytes there and back, per datagram", None, connections=32, goals={"nginx": 0.8}),
    BurstRow("udp-burst", f"UDP, 8 sessions, {BURST} datagrams of {PIECE} bytes at once, per datagram", None, connections=8, goals={"nginx": 0.5}),
    QuestionRow("udp-question", "UDP, a question and its answer from each port, per datagram", None, goals={"envoy": 0.8}),
]

if __name__ == "__main__":
    kinds = {"echo": echo, "one": one, "burst": burst, "question": question}
    kinds[sys.argv[1]](*map(int, sys.argv[2:]))
