"""Asks an address for pages at a steady rate, and says what became of it.

client.py ADDRESS PORT RATE kept|new

The rate is of requests per second; `kept` asks over connections that answers leave open, `new` over one for each request.
A request is begun when it is due, whatever became of those before. It has failed when its connection is refused, reset
or ended before the answer is whole, when the answer is no 200, and when there is none after five seconds; none is sent
twice. The end of the standard input ends it; then there is a line of JSON: answered, failed (by reason), slowest and gap
(the longest time between two answers), in seconds."""

import collections
import errno
import json
import select
import socket
import sys
import time

PATIENCE = 5.0
PAGE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSED = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Client:
    def __init__(self, target, keeps):
        self.target, self.keeps = target, keeps
        self.poll = select.epoll()
        self.poll.register(0, select.EPOLLIN)
        self.busy, self.idle = {}, []
        self.answered, self.failed = 0, collections.Counter()
        self.last, self.gap, self.slowest = None, 0.0, 0.0

    def ask(self, now):
        while self.idle:
            wire = self.idle.pop()
            if self.is_open(wire):
                return self.begin(wire, now, True)
        wire = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wire.connect_ex(self.target) not in (0, errno.EINPROGRESS):
            self.failed["connect"] += 1
            return wire.close()
        self.begin(wire, now, False)

    def is_open(self, wire):
        """Whether its server has not ended it while nothing was asked, which clients look at before they ask."""
        try:
            wire.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            pass
        wire.close()
        return False

    def begin(self, wire, now, is_kept):
        self.busy[wire.fileno()] = [wire, now, b"", is_kept, False]
        self.poll.register(wire.fileno(), select.EPOLLOUT)

    def end(self, number, why):
        wire, begun, answer, is_kept, _ = self.busy.pop(number)
        self.poll.unregister(number)
        now = time.monotonic()
        self.slowest = max(self.slowest, now - begun)
        if why:
            self.failed[f"{why}, {'kept' if is_kept else 'new'}"] += 1
            return wire.close()
        self.answered += 1
        if self.last is not None:
            self.gap = max(self.gap, now - self.last)
        self.last = now
        if self.keeps and b"connection: close" not in answer.lower():
            return self.idle.append(wire)
        wire.close()

    def turn(self, number, event):
        wire, _, answer, _, is_sent = self.busy[number]
        try:
            if not is_sent:
                failed = wire.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if failed:
                    return self.end(number, errno.errorcode.get(failed, "connect"))
                wire.send(PAGE if self.keeps else CLOSED)
                self.busy[number][4] = True
                return self.poll.modify(number, select.EPOLLIN)
            more = wire.recv(4096)
        except BlockingIOError:
            return None
        except OSError as error:
            return self.end(number, errno.errorcode.get(error.errno, "reset"))
        if not more:
            return self.end(number, "ended")
        self.busy[number][2] = answer = answer + more
        head, found, body = answer.partition(b"\r\n\r\n")
        if found and body:
            self.end(number, None if head.startswith(b"HTTP/1.1 200") else head.split(b"\r\n")[0].decode())

    def run(self, rate):
        due, looked = time.monotonic(), 0.0
        while True:
            now = time.monotonic()
            while due <= now:
                self.ask(now)
                due += 1 / rate
            if now - looked > 0.1:
                looked = now
                for number in [it for it, one in self.busy.items() if now - one[1] > PATIENCE]:
                    self.end(number, "no answer")
            for number, event in self.poll.poll(max(0, due - time.monotonic())):
                if number == 0:
                    return
                if number in self.busy:
                    self.turn(number, event)


def main():
    address, port, rate, kind = sys.argv[1:]
    client = Client((address, int(port)), kind == "kept")
    client.run(float(rate))
    said = {"answered": client.answered, "failed": client.failed, "slowest": client.slowest, "gap": client.gap}
    print(json.dumps(said), flush=True)


main()
