"""Asks for many objects on one connection, many at a time: fill.py PORT PREFIX COUNT [STEP].

Every STEP-th of PREFIX0, PREFIX1 … It prints how many of the answers were good. A program of its own, so that it
does not run on the core of the proxy.
"""

import contextlib
import socket
import sys

AHEAD = 64  # Requests that wait for their answers.
GOOD = b"HTTP/1.1 200 OK\r\n"


def main():
    port, prefix, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    step = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    wanted = range(0, count, step)
    good = 0
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as one:
        reader = one.makefile("rb", 1 << 16)
        for at in range(0, len(wanted), AHEAD):
            group = wanted[at : at + AHEAD]
            one.sendall(b"".join(f"GET {prefix}{n} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for n in group))
            good += sum(answer(reader) for _ in group)
    print(f"good {good}")


def answer(reader):
    """Reads one answer; whether it is a 200."""
    line = reader.readline()
    length = None
    while (field := reader.readline()) not in (b"\r\n", b""):
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if length is None or len(reader.read(length)) != length:
        raise SystemExit("an answer without a length, or cut short")
    return line == GOOD


if __name__ == "__main__":
    main()
