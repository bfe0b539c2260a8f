"""Rows beside plain requests: uploads, and how late the latest are at a constant rate."""

import dataclasses
import pathlib
import threading

import load
import proxies


def upload(size):
    """wrk with bodies of so many bytes."""

    def send(row, url, seconds, place):
        script = place.folder / f"upload-{size}.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {size})\n')
        return load.wrk(row, url, seconds, place, "-s", str(script))

    return send


class TailRow(load.Row):
    """A constant rate, the same for all: a share of what the slowest of them can do. While Pointsman has its turn, its
    file is edited and its metrics are read each second."""

    compares = "p99"
    rate = None

    def check(self, proxy, place):
        super().check(proxy, place)
        most = load.wrk(self, proxy.url(self.scheme, self.path), 2, place).per_second
        self.rate = min(self.rate or most, most)

    def warm_up(self, proxy, place):
        pass

    def measure(self, proxy, place, options):
        stop = threading.Event()
        editing = threading.Thread(target=edit, args=(proxy, place, stop))
        if proxy.name == "pointsman":
            editing.start()
        try:
            return super().measure(proxy, place, options)
        finally:
            stop.set()
            if editing.ident:
                editing.join()


def edit(proxy, place, stop):
    """An edit each second that changes an upstream."""
    file = pathlib.Path(place.folder, "pointsman.toml")
    text, number = file.read_text(), 0
    while not stop.wait(1):
        number += 1
        file.write_text(text.replace("max_idle = 512", f"max_idle = {512 + number % 2}"))
    file.write_text(text)


def steady(row, url, seconds, place):
    """h2load, HTTP/1.1, so many requests per second."""
    log = place.folder / "steady.log"
    log.unlink(missing_ok=True)
    each = max(1, round(row.rate * row.share / row.connections))
    command = ["h2load", "--h1", "-t1", f"-c{row.connections}", f"--rps={each}", "-D", str(seconds)]
    text = load.run([*command, f"--log-file={log}", url], seconds, place)
    done = int(load.number(r"requests: .* (\d+) done", text))
    times = sorted(int(line.rsplit("\t", 1)[1]) for line in log.read_text().splitlines())
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))] / 1e6
    return load.Figures(
        requests=done,
        per_second=done / seconds,
        p50=at(0.5),
        p99=at(0.99),
        p999=at(0.999),
        errors=int(load.number(r"(\d+) failed", text)),
    )


@dataclasses.dataclass
class Tail(TailRow):
    share: float = 0.5


ROWS = [
    load.Row("upload-10k", "uploads of 10 kB, keep-alive, 32 connections", upload(10_000), path=proxies.UPLOAD),
    load.Row("upload-1m", "uploads of 1 MB, keep-alive, 32 connections", upload(1_000_000), path=proxies.UPLOAD),
    Tail("tail-30", "latency at 30 % of what the slowest can do, 32 connections", steady, share=0.3),
    Tail("tail-70", "latency at 70 % of what the slowest can do, 32 connections", steady, share=0.7),
]
