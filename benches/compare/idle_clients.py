"""Opens many connections, makes one request on each, and holds them: idle_clients.py http|https|h2 PORT PATH COUNT.

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
    tls = None if scheme == "http" else ssl._create_unverified_context()
    if scheme == "h2":
        tls.set_alpn_protocols(["h2"])
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    deadline = time.monotonic() + PATIENCE
    held = []
    for at in range(count):
        if time.monotonic() > deadline:
            return print(f"only {at} connections were open after {PATIENCE} s")
        try:
            source = f"127.0.0.{1 + at // PER_ADDRESS % 250}"
            held.append(opened(port, source, tls, lambda one: ask_h2(one, path) if scheme == "h2" else ask(one, request)))
        except (OSError, ValueError) as error:
            return print(f"connection {at}: {error!r}")
    print(f"open {len(held)}", flush=True)
    sys.stdin.read()
    print(f"alive {sum(is_open(one) for one in held)}", flush=True)


def opened(port, source, tls, asks):
    """A connection that has had its answer."""
    one = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    if not tls:
        asks(one)
        return one
    secure = tls.wrap_socket(one, server_hostname="localhost")
    asks(secure)
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


def ask_h2(one, path):
    """The same as a stream of HTTP/2 (RFC 9113): its fields are of the static table, or literal (RFC 7541)."""
    literals = b"\x04" + bytes([len(path)]) + path.encode() + b"\x01\x09localhost"
    head = b"\x82\x87" + literals  # :method GET, :scheme https, :path, :authority
    one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 5, 1, head))
    got, is_answered, is_over = b"", False, False
    while not is_over:
        while len(got) < 9 or len(got) < 9 + int.from_bytes(got[:3], "big"):
            got += received(one)
        length, kind, flags, stream = int.from_bytes(got[:3], "big"), got[3], got[4], int.from_bytes(got[5:9], "big")
        payload, got = got[9 : 9 + length], got[9 + length :]
        if kind == 4 and not flags & 1:
            one.sendall(frame(4, 1, 0, b""))
        if kind == 1:
            is_answered = 0x88 in payload[:8]  # :status 200, behind an update of the table's size perhaps.
        if kind in (3, 7):
            raise ValueError("the stream or the connection was given up")
        is_over = kind in (0, 1) and flags & 1 and stream == 1
    if not is_answered:
        raise ValueError("not answered with 200")


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


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
