"""The row about UDP: datagrams to a server that sends them back, beside nginx's `stream`.

The server and the clients are this file too: `echo PORT`, and `ask PORT CLIENTS SECONDS`, where each client sends its
next datagram when the last one has come back, or after a second.
"""

import contextlib
import select
import socket
import subprocess
import sys
import time

import load
import machine
import single
import streams

LENGTH = 100
LOST_AFTER = 1.0


def nginx(place, port, backend):
    return streams.nginx_stream(place, "datagrams", f"127.0.0.1:{port} udp", backend)


def pointsman(place, port, backend):
    return single.pointsman(place, "datagrams", port, backend, protocol="udp", upstream='udp = { idle = "30s" }')


CONFIGURATIONS = {"nginx": nginx, "pointsman": pointsman}


class DatagramRow(single.Single, load.Row):
    """Clients that send a datagram, and the next one when it has come back."""

    configurations = CONFIGURATIONS
    accepts = False

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
        command = [sys.executable, __file__, "ask", str(port), str(self.connections), str(seconds)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=seconds + 30, preexec_fn=machine.on_cores(place.load_cores)
        )
        count, lost, p50, p99 = done.stdout.split()
        return load.Figures(
            requests=int(count), per_second=int(count) / seconds, p50=float(p50), p99=float(p99), errors=int(lost)
        )

    def warm_up(self, proxy, place):
        self.exchange(proxy.http, 1, place)

    def measure(self, proxy, place, options):
        before = proxy.process.cpu_seconds()
        figures = self.exchange(proxy.http, options.seconds, place)
        used = proxy.process.cpu_seconds() - before
        if not figures.requests:
            raise machine.Trouble(f"{proxy.name} brought nothing back:\n{proxy.process.said()}")
        # There and back are two datagrams.
        figures.cpu = used / figures.requests / 2
        figures.resident = proxy.process.resident_bytes()
        return figures


def echo(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        while True:
            server.sendto(*server.recvfrom(2000))


def ask(port, clients, seconds):
    poller, sockets, times = select.epoll(), {}, []
    for _ in range(clients):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
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
    times.sort()
    print(len(times), lost, times[len(times) // 2], times[len(times) * 99 // 100])


ROWS = [DatagramRow("udp", "UDP, 32 sessions, 100 bytes there and back, per datagram", None, connections=32)]

if __name__ == "__main__":
    if sys.argv[1] == "echo":
        echo(int(sys.argv[2]))
    ask(*map(int, sys.argv[2:]))
