"""The rows about WebSockets: a message there and one back on 32 of them, and what one that waits takes.

The server and the clients are this file too: `echo PORT`; `ask PORT CLIENTS SECONDS`, where each client sends its next
message when the answer to the last one has come; and `hold PORT COUNT`, which opens so many, waits for the end of its
input and says how many are still open.
"""

import base64
import hashlib
import resource
import select
import socket
import subprocess
import sys
import time

import load
import machine
import proxies
import single

# 100 bytes of text, masked with zeros from the client (RFC 6455 §5.3), and as they come back.
PAYLOAD = b"x" * 100
ASKED = b"\x81\xe4\0\0\0\0" + PAYLOAD
ANSWERED = b"\x81\x64" + PAYLOAD
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PER_ADDRESS = 5_000
IP_BIND_ADDRESS_NO_PORT = 24


def accept(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def nginx(place, port, behind):
    text = proxies.NGINX.format(
        folder=place.folder,
        name="websocket-nginx",
        http=f"""
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 600s;
        }}
    }}""",
    ).replace("worker_connections 12500", "worker_connections 24500")
    return proxies.nginx_command(place, "websocket-nginx", text)


def haproxy(place, port, behind):
    return single.haproxy(place, "websocket", port, behind, lines=["option forwardfor"])


def pointsman(place, port, behind):
    return single.pointsman(place, "websocket", port, behind)


def floor(place, port, behind):
    return proxies.floor(place, port, behind, "apart")


CONFIGURATIONS = {"nginx": nginx, "haproxy": haproxy, "pointsman": pointsman}


class Joined(single.Single):
    """How they are started and tried."""

    configurations = CONFIGURATIONS

    def origin(self, place, port):
        return single.running("echo", [sys.executable, __file__, "echo", str(port)], place, port)

    def check(self, proxy, place):
        try:
            with opened(proxy.http, "127.0.0.1") as client:
                client.sendall(ASKED)
                if received(client, len(ANSWERED)) != ANSWERED:
                    raise machine.Trouble(f"{proxy.name} brings back something else")
        except OSError as error:
            raise machine.Trouble(f"{proxy.name}: {error!r}\n{proxy.process.said()}") from error


class MessageRow(Joined, load.Row):
    """Messages there and back."""

    configurations = {"floor": floor, **CONFIGURATIONS}

    def exchange(self, port, seconds, place):
        command = [sys.executable, __file__, "ask", str(port), str(self.connections), str(seconds)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=seconds + 30, preexec_fn=machine.on_cores(place.load_cores)
        )
        count, p50, p99 = done.stdout.split()
        return load.Figures(requests=int(count), per_second=int(count) / seconds, p50=float(p50), p99=float(p99))

    def warm_up(self, proxy, place):
        self.exchange(proxy.http, 1, place)

    def measure(self, proxy, place, options):
        before = proxy.process.cpu_seconds()
        figures = self.exchange(proxy.http, options.seconds, place)
        figures.cpu = (proxy.process.cpu_seconds() - before) / figures.requests
        figures.resident = proxy.process.resident_bytes()
        return figures


class IdleRow(Joined, load.IdleRow):
    """What one takes that waits."""

    def clients(self, proxy, options):
        return [sys.executable, __file__, "hold", str(proxy.http), str(options.idle_connections)]


def received(client, length):
    got = b""
    while len(got) < length:
        some = client.recv(length - len(got))
        if not some:
            raise OSError("it ended early")
        got += some
    return got


def opened(port, source):
    client = socket.socket()
    client.settimeout(20)
    # The port is chosen when it connects: one that another destination has will do (ip(7)).
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    client.bind((source, 0))
    client.connect(("127.0.0.1", port))
    client.sendall(
        f"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += received(client, 1)
    if b" 101 " not in head.split(b"\r\n")[0]:
        raise OSError(head.split(b"\r\n")[0].decode())
    return client


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def echo(port):
    raise_limit()
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    poller, clients = select.epoll(), {}
    poller.register(listener, select.EPOLLIN)
    while True:
        for number, _ in poller.poll():
            if number == listener.fileno():
                client, _ = listener.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = [client, b"", False]
                poller.register(client, select.EPOLLIN)
                continue
            entry = clients[number]
            try:
                some = entry[0].recv(65536)
            except OSError:
                some = b""
            if not some:
                poller.unregister(number)
                entry[0].close()
                del clients[number]
                continue
            if entry[2]:
                entry[1] += some
                count, rest = divmod(len(entry[1]), len(ASKED))
                entry[1] = entry[1][len(entry[1]) - rest :]
                entry[0].send(ANSWERED * count)
                continue
            entry[1] += some
            if b"\r\n\r\n" in entry[1]:
                fields = [line.split(": ", 1) for line in entry[1].decode().split("\r\n") if ": " in line]
                key = next(value for name, value in fields if name.lower() == "sec-websocket-key")
                entry[0].send(
                    f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    f"Sec-WebSocket-Accept: {accept(key)}\r\n\r\n".encode()
                )
                entry[1], entry[2] = b"", True


def ask(port, clients, seconds):
    poller, sockets, times = select.epoll(), {}, []
    for _ in range(clients):
        client = opened(port, "127.0.0.1")
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller.register(client, select.EPOLLIN)
        sockets[client.fileno()] = [client, 0, time.monotonic()]
        client.send(ASKED)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for number, _ in poller.poll(0.2):
            entry = sockets[number]
            entry[1] += len(entry[0].recv(65536))
            if entry[1] >= len(ANSWERED):
                now = time.monotonic()
                times.append(now - entry[2])
                entry[1], entry[2] = 0, now
                entry[0].send(ASKED)
    times.sort()
    print(len(times), times[len(times) // 2], times[len(times) * 99 // 100])


def hold(port, count):
    raise_limit()
    held = []
    for at in range(count):
        try:
            client = opened(port, f"127.0.0.{1 + at // PER_ADDRESS % 250}")
            client.sendall(ASKED)
            received(client, len(ANSWERED))
            held.append(client)
        except OSError as error:
            return print(f"connection {at}: {error!r}")
    print(f"open {len(held)}", flush=True)
    sys.stdin.read()
    alive = 0
    for client in held:
        client.setblocking(False)
        try:
            alive += bool(client.recv(1))
        except BlockingIOError:
            alive += 1
    print(f"alive {alive}", flush=True)


ROWS = [
    MessageRow("websocket", "WebSockets: a message of 100 bytes there and back, 32 of them", None, goals={"nginx": 0.95, "haproxy": 0.95}),
    IdleRow("websocket-idle", "memory of a WebSocket that waits", None, goals={"haproxy": 1.0}),
]

if __name__ == "__main__":
    {"echo": echo, "ask": ask, "hold": hold}[sys.argv[1]](*map(int, sys.argv[2:]))
