"""The rows about caches: what a hit costs, and what an object costs beyond its bytes."""

import pathlib
import sys

import caches
import load
import proxies

# Requests that a proxy may send to the backend while all should be hits; more count as errors.
MISSES = 5
# Bytes for what each proxy adds to an object.
BEYOND = 3096


class HitRow(load.Row):
    """The same object again and again, out of the cache."""

    def proxies(self, chosen):
        # The floor knows one response.
        known = [name for name in caches.CONFIGURATIONS if name != "floor" or self.path == proxies.STORED_SMALL]
        return [name for name in chosen if name in known]

    def start(self, name, place, options):
        return caches.start(name, place)

    def check(self, proxy, place):
        body = proxies.LARGE if self.path == proxies.STORED_LARGE else proxies.SMALL
        caches.check(proxy, place, self.path, body)

    def measure(self, proxy, place, options):
        before = caches.asked(place)
        figures = super().measure(proxy, place, options)
        misses = caches.asked(place) - before
        figures.errors += misses if misses > MISSES else 0
        return figures


class ObjectRow(HitRow):
    """What a cache takes for each of many small objects, beyond their bodies, and what a hit of any of them costs."""

    def proxies(self, chosen):
        return [name for name in chosen if name in ("varnish", "pointsman")]

    def start(self, name, place, options):
        return caches.start(name, place, room=64 + options.objects * (len(place.object) + BEYOND) // (1 << 20))

    def check(self, proxy, place):
        caches.check(proxy, place, f"{proxies.STORED_OBJECT}first", place.object)

    def rounds(self, wanted):
        return 1  # A second round would find the objects of the first.

    def warm_up(self, proxy, place):
        pass

    def measure(self, proxy, place, options):
        count = options.objects
        before, asked = load.settled(proxy.process.anonymous_bytes), caches.asked(place)
        bad = count - fill(proxy, place, count, 1)
        after = load.settled(proxy.process.anonymous_bytes)
        missing = count - (caches.asked(place) - asked)
        # All must be there still: a sample of them is asked for again.
        step = max(1, count // 1_000)
        asked = caches.asked(place)
        fill(proxy, place, count, step)
        hits = self.any_of(proxy, place, options)
        gone = caches.asked(place) - asked
        return load.Figures(
            cpu=hits.cpu,
            resident=proxy.process.resident_bytes(),
            per_object=(after - before) / count - len(place.object),
            errors=bad + abs(missing) + hits.errors + (gone if gone > MISSES else 0),
        )

    def any_of(self, proxy, place, options):
        """What a hit costs where each request is for another of all objects."""
        script = place.folder / "any.lua"
        path = f'"{proxies.STORED_OBJECT}" .. math.random(0, {options.objects - 1})'
        # The same host as of those that filled it: it is part of what they are found by.
        script.write_text(f'function request() return wrk.format("GET", {path}, {{ Host = "localhost" }}) end\n')
        before = proxy.process.cpu_seconds()
        figures = load.wrk(self, proxy.url("http", "/"), options.seconds, place, "-s", str(script))
        figures.cpu = (proxy.process.cpu_seconds() - before) / figures.requests
        return figures


def fill(proxy, place, count, step):
    """Asks for every `step`-th object; how many came."""
    program = pathlib.Path(__file__).with_name("fill.py")
    command = [sys.executable, str(program), str(proxy.http), proxies.STORED_OBJECT, str(count), str(step)]
    said = load.run(command, 60 + count // 1_000, place)
    return int(load.number(r"^good (\d+)$", said))


ROWS = [
    HitRow(
        "hit",
        "a hit of 127 bytes, keep-alive, 32 connections",
        load.wrk,
        path=proxies.STORED_SMALL,
        goals={"nginx": 0.75, "varnish": 0.4},
    ),
    HitRow(
        "hit-large",
        "a hit of 100 kB, keep-alive, 32 connections",
        load.wrk,
        path=proxies.STORED_LARGE,
        goals={"nginx": 0.95, "varnish": 0.7},
    ),
    ObjectRow("objects", "memory of a stored object beyond its body, and a hit of any of them", None),
]
