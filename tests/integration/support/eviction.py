"""Eviction policies in the plainest Python, to compare `pointsman cache replay` with.

    eviction.py TRACE LIMIT SEED    prints `policy requests hits hit_bytes evictions` for each policy

Written from the policies' descriptions, and not from the program's code; sizes of a key do not change here."""

import sys
from collections import OrderedDict


def fifo(keys, _):
    return keys[0]


def lifo(keys, _):
    return keys[-1]


def split_mix(state):
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        yield mixed ^ (mixed >> 31)


class Listed:
    """Policies that need one list: `pick` says which leaves, `moves` whether a touch makes the newest."""

    def __init__(self, limit, pick, moves):
        self.limit, self.pick, self.moves = limit, pick, moves
        self.sizes, self.order = {}, []

    def touch(self, key):
        if self.moves:
            self.order.remove(key)
            self.order.append(key)

    def admit(self, key, size):
        left = 0
        while sum(self.sizes.values()) + size > self.limit:
            victim = self.pick(self.order, self.sizes)
            self.order.remove(victim)
            del self.sizes[victim]
            left += 1
        self.order.append(key)
        self.sizes[key] = size
        return left


class Random:
    """The last object takes the place of the one that leaves, so that places stay without gaps."""

    def __init__(self, limit, seed):
        self.limit, self.numbers = limit, split_mix(seed)
        self.sizes, self.places = {}, []

    def touch(self, key):
        pass

    def admit(self, key, size):
        left = 0
        while sum(self.sizes.values()) + size > self.limit:
            at = next(self.numbers) * len(self.places) >> 64
            victim, last = self.places[at], self.places.pop()
            if at < len(self.places):
                self.places[at] = last
            del self.sizes[victim]
            left += 1
        self.places.append(key)
        self.sizes[key] = size
        return left


class Lfu:
    """Each count's objects in the order in which they came to it; all counts are halved now and then."""

    def __init__(self, limit):
        self.limit, self.sizes, self.requests = limit, {}, 0
        self.levels = [OrderedDict() for _ in range(256)]
        self.counts = {}

    def raise_count(self, key):
        count = self.counts.get(key, 0)
        self.levels[count].pop(key, None)
        self.counts[key] = min(count + 1, 255)
        self.levels[self.counts[key]][key] = True
        self.requests += 1
        if self.requests >= 40 * max(len(self.sizes), 32):
            self.requests = 0
            before, self.levels = self.levels, [OrderedDict() for _ in range(256)]
            for count, level in enumerate(before):
                for key in level:
                    self.levels[count // 2][key] = True
                    self.counts[key] = count // 2

    def touch(self, key):
        self.raise_count(key)

    def admit(self, key, size):
        left = 0
        while sum(self.sizes.values()) + size > self.limit:
            level = next(level for level in self.levels if level)
            victim = next(iter(level))
            del level[victim], self.counts[victim], self.sizes[victim]
            left += 1
        self.sizes[key] = size
        self.raise_count(key)
        return left


class S3Fifo:
    """Small, main and ghost queue; each from the oldest to the newest."""

    def __init__(self, limit):
        self.limit, self.sizes, self.counts = limit, {}, {}
        self.small, self.main, self.ghost = OrderedDict(), OrderedDict(), OrderedDict()

    def touch(self, key):
        self.counts[key] = min(self.counts[key] + 1, 3)

    def leave_small(self):
        while self.small:
            key, size = self.small.popitem(last=False)
            if self.counts[key] <= 1:
                self.ghost[key] = size
                while sum(self.ghost.values()) > self.limit - self.limit // 10:
                    self.ghost.popitem(last=False)
                return key
            self.counts[key] = 0
            self.main[key] = size
        return None

    def leave_main(self):
        while True:
            key, size = self.main.popitem(last=False)
            if self.counts[key] == 0:
                return key
            self.counts[key] -= 1
            self.main[key] = size

    def admit(self, key, size):
        left = 0
        while sum(self.sizes.values()) + size > self.limit:
            victim = None
            if sum(self.small.values()) >= self.limit // 10 or not self.main:
                victim = self.leave_small()
            if victim is None:
                victim = self.leave_main()
            del self.sizes[victim], self.counts[victim]
            left += 1
        queue = self.small
        if key in self.ghost:
            del self.ghost[key]
            queue = self.main
        queue[key] = self.sizes[key] = size
        self.counts[key] = 0
        return left


def main():
    path, limit, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open(path) as lines:
        trace = [(key, int(size)) for key, size in map(str.split, lines)]
    caches = {
        "s3-fifo": S3Fifo(limit),
        "fifo": Listed(limit, fifo, False),
        "lifo": Listed(limit, lifo, False),
        "lru": Listed(limit, fifo, True),
        "mru": Listed(limit, lifo, True),
        "lfu": Lfu(limit),
        "random": Random(limit, seed),
    }
    for name, cache in caches.items():
        hits = hit_bytes = evictions = 0
        for key, size in trace:
            if key in cache.sizes:
                hits, hit_bytes = hits + 1, hit_bytes + size
                cache.touch(key)
            elif size <= limit:
                evictions += cache.admit(key, size)
        print(name, len(trace), hits, hit_bytes, evictions)


main()
