"""Opens many connections, makes one request on each, and holds them: idle_clients.py http|https PORT PATH COUNT.

It prints `open COUNT`, waits for the end of its input, prints `alive N` and ends. A program of its own, so that it
has its own descriptors. TLS objects are dropped once their request is answered: only the socket is needed to wait.
"""

import contextlib
import resource
import socket
import ssl
import sys
import time

PER_ADDRESS = 5_000  # Connections from one loopback address, well below the range of ports.
PATIENCE = 240  # seconds for all


def main():
    scheme, port, path, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < count + 50:
        return print(f"only {hard} descriptors are allowed here, {count} connections do not fit")
    tls = ssl._create_unverified_context() if scheme == "https" else None
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    deadline = time.monotonic() + PATIENCE
    held = []
    for at in range(count):
        if time.monotonic() > deadline:
            return print(f"only {at} connections were open after {PATIENCE} s")
        try:
            held.append(opened(port, f"127.0.0.{1 + at // PER_ADDRESS % 250}", tls, request))
        except (OSError, ValueError) as error:
            return print(f"connection {at}: {error!r}")
    print(f"open {len(held)}", flush=True)
    sys.stdin.read()
    print(f"alive {sum(is_open(one) for one in held)}", flush=True)


def opened(port, source, tls, request):
    """A connection that has had its answer."""
    one = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    if not tls:
        ask(one, request)
        return one
    secure = tls.wrap_socket(one, server_hostname="localhost")
    ask(secure, request)
    return socket.socket(fileno=secure.detach())


def ask(one, request):
    one.sendall(request)
    got = b""
    while b"\r\n\r\n" not in got:
        got += received(one)
    head, body = got.split(b"\r\n\r\n", 1)
    lines = head.lower().split(b"\r\n")
    if b" 200" not in lines[0]:
        raise ValueError(lines[0].decode())
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        body += received(one)


def received(one):
    some = one.recv(65536)
    if not some:
        raise ValueError("closed before the answer was whole")
    return some


def is_open(one):
    """Nothing to read is open; bytes (a session ticket) are too; the end is not."""
    one.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return bool(one.recv(1))
    return True


if __name__ == "__main__":
    main()
