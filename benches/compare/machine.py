"""The machine: what is installed, the cores, processes and what they use."""

import contextlib
import functools
import os
import pathlib
import platform
import random
import resource
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
TICK = os.sysconf("SC_CLK_TCK")

# Command → Debian's package. nginx is the backend too, so it is always needed.
TOOLS = {
    "nginx": "nginx-light",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "ab": "apache2-utils",  # New TLS handshakes: wrk and h2load resume sessions or keep connections, ab does neither.
    "openssl": "openssl",
}

# Peer that is no tool as well → its command. The package has the peer's name, but for PACKAGES.
PEERS = {"haproxy": "haproxy", "varnish": "varnishd", "floor": "cc"}
PACKAGES = {"floor": "gcc"}


class Trouble(Exception):
    """Something that the reader of the terminal must know, in a sentence."""


def which(command):
    return shutil.which(command, path=PATH)


def install(proxies, may_install):
    """Installs what is missing, with apt when that is possible here."""
    tools = TOOLS | {PEERS[name]: PACKAGES.get(name, name) for name in proxies if name in PEERS}
    missing = [package for command, package in tools.items() if not which(command)]
    if not missing:
        return
    wanted = " ".join(missing)
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    possible = which("apt-get") and (not sudo or which("sudo"))
    if not may_install or not possible:
        raise Trouble(f"missing here: {wanted} (Debian's packages); install them, or run this as root on Debian")
    print(f"installing {wanted}", flush=True)
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    get = [*apt, "install", "--no-install-recommends", *missing]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(get, **quiet, timeout=600)
    if done.returncode:  # Package lists may be missing or old.
        subprocess.run([*apt, "update"], **quiet, timeout=300)
        done = subprocess.run(get, **quiet, timeout=600)
    if done.returncode:
        raise Trouble(f"could not install {wanted}:\n{done.stdout[-2000:]}")


def pointsman(given):
    """The binary to measure: the one given, or a release build of this tree."""
    if given:
        if not given.is_file():
            raise Trouble(f"--pointsman: there is no file {given}")
        return given.resolve()
    print("building pointsman (release)", flush=True)
    cargo = ["cargo", "build", "--release", "--locked", "--bin", "pointsman"]
    if subprocess.run(cargo, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=1800).returncode:
        raise Trouble("pointsman does not build")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return (ROOT / target / "release" / "pointsman").resolve()


def raise_descriptor_limit():
    """To the hard limit; all that is started here inherits it."""
    hard = descriptor_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit():
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)


def cores(pin):
    """Which cores a (proxy, everything else) may run on; None = any."""
    here = sorted(os.sched_getaffinity(0))
    if not pin or len(here) < 2:
        return (None, None)
    return ({here[0]}, set(here[1:]))


def describe(cores, proxies):
    placed = "proxies and load on any core"
    if cores[0]:
        placed = f"proxy on core {min(cores[0])}, load and backend on {', '.join(map(str, sorted(cores[1])))}"
    lines = [*facts(proxies).values(), placed]
    load = os.getloadavg()[0]
    if load > 0.5:
        lines.append(f"the machine is busy with something else (load {load:.1f}): trust ratios, not figures")
    return "\n".join([*lines, ""])


def facts(proxies):
    """What a reader of the figures must know of the machine."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    found = {
        "machine": f"{model}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}",
        "nginx": version("nginx", "-v"),
    }
    if "haproxy" in proxies:
        found["haproxy"] = version("haproxy", "-v")
    if "varnish" in proxies:
        found["varnish"] = version("varnishd", "-V")
    return found


def version(command, option):
    done = subprocess.run([which(command), option], capture_output=True, text=True, timeout=10)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def free_ports(count):
    """Ports that nobody has now, and that no connection gets as its own meanwhile: they are beneath what the kernel gives.
    They are taken together, so no two are the same."""
    taken = []
    try:
        for port in random.sample(range(10_000, 32_000), 2_000):
            with contextlib.suppress(OSError):
                taken.append(socket.create_server(("127.0.0.1", port)))
            if len(taken) == count:
                return [one.getsockname()[1] for one in taken]
        raise Trouble(f"no {count} ports are free between 10000 and 32000")
    finally:
        for one in taken:
            one.close()


def on_cores(cores):
    """For subprocess: what the child does before it becomes its program."""
    return (lambda: os.sched_setaffinity(0, cores)) if cores else None


class Process:
    """A program that was started here, and its children."""

    def __init__(self, name, command, cores, log):
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=on_cores(cores),
                env=dict(os.environ, PATH=PATH),
            )

    def wait_for(self, *ports, seconds=10):
        """Until every port accepts."""
        deadline = time.monotonic() + seconds
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError as error:
                    if self.child.poll() is not None:
                        raise Trouble(f"{self.name} ended with {self.child.returncode}:\n{self.said()}") from error
                    if time.monotonic() > deadline:
                        raise Trouble(f"{self.name} does not accept within {seconds} s:\n{self.said()}") from error
                    time.sleep(0.02)

    def said(self):
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self):
        if self.child.poll() is not None:
            return
        for sign, patience in [(signal.SIGTERM, 3), (signal.SIGTERM, 2), (signal.SIGKILL, 5)]:
            self.child.send_signal(sign)
            try:
                self.child.wait(patience)
                return
            except subprocess.TimeoutExpired:
                continue

    def family(self):
        """Its process ids: itself and all below."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = stat(int(entry))
                if fields:
                    parents[int(entry)] = int(fields[1])
        found = [self.child.pid]
        for pid in found:
            found.extend(child for child, parent in parents.items() if parent == pid)
        return found

    def cpu_seconds(self):
        """User and system time of all its threads."""
        if self.child.poll() is not None:
            raise Trouble(f"{self.name} ended with {self.child.returncode} while it was measured:\n{self.said()}")
        every = [stat(pid) for pid in self.family()]
        return sum(int(fields[11]) + int(fields[12]) for fields in every if fields) / TICK

    def resident_bytes(self):
        total = 0
        for pid in self.family():
            try:
                text = pathlib.Path(f"/proc/{pid}/statm").read_text()
            except OSError:
                continue
            total += int(text.split()[1]) * page_size()
        return total


    def anonymous_bytes(self):
        """Resident, without files and shared memory: Varnish logs into 80 MB of that, which fill slowly."""
        total = 0
        for pid in self.family():
            try:
                text = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon:")) * 1024
        return total


@functools.cache
def page_size():
    return os.sysconf("SC_PAGE_SIZE")


def stat(pid):
    """The fields of /proc/PID/stat from the state on; the name before them may hold anything. None = gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()
