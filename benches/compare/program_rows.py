"""The rows about programs that measure or copy, to their servers through connections that are passed on.

PostgreSQL's pgbench, redis-benchmark, iperf3, scp, and dnsperf by UDP. What counts is how long one unit takes (a
transaction, a command, a mebibyte, a question); the processor's time of the proxy for it stands beside it. The servers
are asked for nothing that lasts: no fsync, no snapshots.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import caches
import datagrams
import load
import machine
import single
import streams

MEBIBYTES = 512


def need(command, package):
    found = machine.which(command)
    if not found:
        raise caches.Unavailable(f"it needs {package} of Debian's packages")
    return found


def as_postgres():
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def of_postgres(name):
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found:
        raise caches.Unavailable("it needs postgresql of Debian's packages")
    return str(found[-1])


def run(command, seconds, place):
    return load.run(command, seconds + 60, place)


class Program(streams.Passed, load.Row):
    """A program beside its server, and each proxy between them."""

    compares = "p50"

    def server(self, place, port):
        raise NotImplementedError

    def prepare(self, place, port):
        """Once the server accepts."""

    def ask(self, place, port, seconds):
        """(units, seconds that they took)."""
        raise NotImplementedError

    @contextlib.contextmanager
    def origin(self, place, port):
        with single.running(self.key, self.server(place, port), place, port):
            self.prepare(place, port)
            yield

    def check(self, proxy, place):
        self.ask(place, proxy.http, 1)

    def warm_up(self, proxy, place):
        pass

    def measure(self, proxy, place, options):
        before = proxy.process.cpu_seconds()
        units, took = self.ask(place, proxy.http, options.seconds)
        used = proxy.process.cpu_seconds() - before
        return load.Figures(
            requests=units,
            per_second=units / took,
            p50=took / units,
            cpu=used / units,
            resident=proxy.process.resident_bytes(),
        )


class Pgbench(Program):
    def server(self, place, port):
        folder = place.folder / f"postgres-{port}"
        folder.mkdir()
        if as_postgres():
            shutil.chown(folder, "postgres", "postgres")
        made = [*as_postgres(), of_postgres("initdb"), "-A", "trust", "-U", "me", "-N", "-D", str(folder / "data")]
        done = subprocess.run(made, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise machine.Trouble(f"initdb:\n{done.stderr}")
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "fsync=off"]
        return [*as_postgres(), of_postgres("postgres"), "-D", str(folder / "data"), *options]

    def client(self, port):
        return [*as_postgres(), of_postgres("pgbench"), "-h", "127.0.0.1", "-U", "me", "-p", str(port)]

    def prepare(self, place, port):
        run([*self.client(port), "-i", "-q", "postgres"], 30, place)

    def ask(self, place, port, seconds):
        text = run([*self.client(port), "-S", "-c", "8", "-T", str(seconds), "postgres"], seconds, place)
        if load.number(r"failed transactions: (\d+)", text):
            raise machine.Trouble(text)
        rate = load.number(r"^tps = ([\d.]+)", text)
        return load.number(r"actually processed: (\d+)", text), load.number(r"actually processed: (\d+)", text) / rate


class Redis(Program):
    def server(self, place, port):
        options = ["--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        return [need("redis-server", "redis-server"), *options]

    def ask(self, place, port, seconds):
        count = 30_000 * seconds
        command = [need("redis-benchmark", "redis-tools"), "-p", str(port), "-t", "set,get", "-n", str(count), "-c", "32", "--csv"]
        rates = [float(rate) for rate in re.findall(r'^"[SG]ET","([\d.]+)"', run(command, seconds * 10, place), re.MULTILINE)]
        return 2 * count, sum(count / rate for rate in rates)


class Iperf(Program):
    def server(self, place, port):
        return [need("iperf3", "iperf3"), "-s", "-B", "127.0.0.1", "-p", str(port)]

    def ask(self, place, port, seconds):
        command = ["iperf3", "-c", "127.0.0.1", "-p", str(port), "-t", str(seconds), "-P", "2", "-J"]
        end = json.loads(run(command, seconds, place))["end"]["sum_received"]
        return end["bytes"] / 2**20, end["seconds"]


class Copy(Program):
    def server(self, place, port):
        if os.geteuid():
            raise caches.Unavailable("sshd needs to run as root")
        at = lambda name: str(place.folder / name)
        for key in ["ssh-host", "ssh-user"]:
            if not pathlib.Path(at(key)).exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", at(key)], check=True, timeout=30)
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
        pathlib.Path(at("sshd_config")).write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {at('ssh-host')}\nAuthorizedKeysFile {at('ssh-user.pub')}\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin yes\n"
            "Subsystem sftp internal-sftp\n"
        )
        if not pathlib.Path(at("sent")).exists():
            pathlib.Path(at("sent")).write_bytes(os.urandom(1 << 20) * MEBIBYTES)
        return [need("sshd", "openssh-server"), "-D", "-f", at("sshd_config")]

    def ask(self, place, port, seconds):
        command = [need("scp", "openssh-client"), "-q", "-P", str(port), "-i", str(place.folder / "ssh-user")]
        for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR"]:
            command += ["-o", option]
        began = time.monotonic()
        run([*command, str(place.folder / "sent"), f"root@127.0.0.1:{place.folder}/came"], 120, place)
        took = time.monotonic() - began
        if (place.folder / "came").stat().st_size != MEBIBYTES << 20:
            raise machine.Trouble("a copy that is not whole")
        (place.folder / "came").unlink()
        return MEBIBYTES, took


class Dnsperf(Program):
    configurations = datagrams.CONFIGURATIONS
    accepts = False

    def server(self, place, port):
        names = [f'local-data: "n{number}.test. A 10.0.0.{number}"' for number in range(100)]
        file = place.folder / "unbound.conf"
        file.write_text(
            f'server:\ninterface: 127.0.0.1\nport: {port}\naccess-control: 127.0.0.0/8 allow\nchroot: ""\nusername: ""\n'
            'pidfile: ""\ndo-daemonize: no\nuse-syslog: no\nlocal-zone: "test." static\n' + "\n".join(names) + "\n"
        )
        (place.folder / "names").write_text("".join(f"n{number}.test A\n" for number in range(100)))
        return [need("unbound", "unbound"), "-d", "-c", str(file)]

    def ask(self, place, port, seconds):
        command = [need("dnsperf", "dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-d", str(place.folder / "names")]
        text = run([*command, "-c", "20", "-l", str(seconds)], seconds, place)
        done = load.number(r"Queries completed:\s+(\d+)", text)
        if load.number(r"Queries lost:\s+(\d+)", text):
            raise machine.Trouble(f"questions were lost:\n{text}")
        return done, done / load.number(r"Queries per second:\s+([\d.]+)", text)


HAPROXY = {"haproxy": 1.0}
ROWS = [
    Pgbench("pgbench", "pgbench through TCP, a SELECT", None, goals=HAPROXY),
    Redis("redis", "redis-benchmark through TCP, a SET or GET", None, goals=HAPROXY),
    Iperf("iperf3", "iperf3 through TCP, a mebibyte", None, goals=HAPROXY),
    Copy("scp", "scp through TCP, a mebibyte", None, goals=HAPROXY),
    Dnsperf("dnsperf", "dnsperf to unbound through UDP, a question", None, goals={"nginx": 1.05}),
]
