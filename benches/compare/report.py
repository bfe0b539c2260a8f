"""From turns to a table: medians, and ratios taken round by round."""

import dataclasses
import statistics

BASE = "pointsman"
HEADING = "Medians of the rounds. Ratio: CPU of Pointsman ÷ CPU of the peer, per request (in rows of latency that, p99 or p50), median (lowest–highest)."
BUSY = ["requests/s", "p50", "p99", "CPU/request", "RSS", "errors"]
IDLE = ["per connection", "RSS", "errors"]
OBJECTS = ["per object", "CPU/hit", "RSS", "errors"]
TAIL = ["requests/s", "p50", "p99", "p99.9", "CPU/request", "errors"]
BYTES = {"per_connection": IDLE, "per_object": OBJECTS}


class Row:
    """Every turn of every proxy in one row."""

    def __init__(self, row, turns):
        self.row = row
        self.turns = turns  # proxy → [Figures]
        self.left_out = []  # proxies that could not take part

    def add(self, proxy, figures):
        self.turns[proxy].append(figures)

    def leave_out(self, proxy):
        del self.turns[proxy]
        self.left_out.append(proxy)

    def what(self):
        """What is compared in this row: CPU, or bytes of a connection or an object, or a latency."""
        if compares := getattr(self.row, "compares", None):
            return compares
        figures = [one for turns in self.turns.values() for one in turns]
        return next((what for what in BYTES if any(getattr(one, what) is not None for one in figures)), "cpu")

    def errors(self):
        return sum(figures.errors for turns in self.turns.values() for figures in turns)

    def median(self, proxy, what):
        values = [getattr(figures, what) for figures in self.turns[proxy]]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None

    def ratio(self, peer):
        """Pointsman ÷ peer in CPU per request (or bytes per connection or object): the median and the extremes of the rounds."""
        what = self.what()
        pairs = zip(self.turns.get(BASE, []), self.turns[peer])
        ratios = [getattr(ours, what) / getattr(theirs, what) for ours, theirs in pairs if getattr(theirs, what)]
        return (statistics.median(ratios), min(ratios), max(ratios)) if ratios else None


def block(row):
    """A row as lines, one per proxy."""
    lines = [f"{row.row.title} ({row.row.key})", line("", columns(row), "ratio (goal)")]
    lines += [line(name, cells(row, name), verdict(row, name)) for name in row.turns]
    lines += best(row)
    lines += [line(name, [], "not available") for name in row.left_out]
    return "\n".join([*lines, ""])


def best(row):
    """The ratio to the best of the peers, where there is more than one."""
    peers = [name for name in row.turns if not name.startswith(BASE) and name != "floor"]
    if BASE not in row.turns or len(peers) < 2:
        return []
    what = row.what()
    known = [name for name in peers if row.median(name, what)]
    if not known:
        return []
    least = min(known, key=lambda name: row.median(name, what))
    return [line("", [], f"to the best, {least}: {row.ratio(least)[0]:.2f}")]


def columns(row):
    if row.what() == "p99":
        return TAIL
    return BYTES.get(row.what(), BUSY)


def cells(row, name):
    wanted = ["per_second", "p50", "p99", "p999", "cpu", "resident", *BYTES]
    figures = {what: row.median(name, what) for what in wanted}
    errors = str(sum(one.errors for one in row.turns[name]))
    resident = f"{figures['resident'] / 1e6:.1f} MB"
    if row.what() in BYTES:
        hit = [duration(figures["cpu"])] if row.what() == "per_object" else []
        return [f"{figures[row.what()]:,.0f} B", *hit, resident, errors]
    if row.what() == "p99":
        times = [duration(figures[what]) for what in ["p50", "p99", "p999", "cpu"]]
        return [f"{figures['per_second']:,.0f}", *times, errors]
    return [
        f"{figures['per_second']:,.0f}",
        duration(figures["p50"]),
        duration(figures["p99"]),
        duration(figures["cpu"]),
        resident,
        errors,
    ]


def verdict(row, name):
    """What the last column says: the ratio to this peer, or a goal of Pointsman's own."""
    goals = row.row.goals
    if name.startswith(f"{BASE}+"):
        pairs = zip(row.turns[BASE], row.turns[name])
        more = statistics.median(with_it.cpu - plain.cpu for plain, with_it in pairs)
        return f"{more * 1e6:+.1f} µs for that (goal 1.5 µs: {met(more <= 1.5e-6)})"
    if name == BASE:
        limit = goals.get("bytes")
        return f"(goal {limit:,} B: {met(row.median(name, 'per_connection') <= limit)})" if limit else ""
    ratio = row.ratio(name)
    if not ratio:
        return ""
    text = f"{ratio[0]:.2f} ({ratio[1]:.2f}–{ratio[2]:.2f})"
    return text + (f" (goal {goals[name]:.2f}: {met(ratio[0] <= goals[name])})" if name in goals else "")


def met(it_is):
    return "met" if it_is else "missed"


def line(name, cells, last):
    return (f"  {name:<14}" + "".join(f"{cell:>15}" for cell in cells) + (f"   {last}" if last else "")).rstrip()


def duration(seconds):
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def plain(rows, facts):
    """Everything, for JSON: seconds and bytes."""
    return {
        "facts": facts,
        "rows": [
            {
                "row": row.row.key,
                "title": row.row.title,
                "goals": row.row.goals,
                "not_available": row.left_out,
                "turns": {name: [dataclasses.asdict(one) for one in turns] for name, turns in row.turns.items()},
                "ratios": {name: row.ratio(name) for name in row.turns if name != BASE and BASE in row.turns},
            }
            for row in rows
        ],
    }
