"""Debians that are booted, packages, and what is looked at in a service."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
PACKAGES = PROJECT / "target/packages"
RECORDINGS = PROJECT / "examples"

#: What a machine has before a package comes; more than a small Debian has are curl, sudo, SQLite's shell and procps.
INCLUDED = ("systemd", "systemd-sysv", "dbus", "init-system-helpers", "procps", "curl", "sudo", "sqlite3")

#: Everything on a busy machine.
PATIENCE = 120.0

#: Exposure that `systemd-analyze security` may find.
EXPOSURE_AT_MOST = 2.0


class Failed(Exception):
    """What was found not to be so."""


def check(holds: object, what: str) -> None:
    if not holds:
        raise Failed(what)


def until(holds: Callable[[], object], what: str) -> object:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.2)
    raise Failed(f"not within {PATIENCE:.0f} s: {what}")


class Machine:
    """A Debian that runs."""

    def __init__(self, root: Path, console: Path, beside: Machine | None) -> None:
        self._console = console.open("wb")
        self._nspawn = subprocess.Popen(
            [
                "systemd-nspawn", "--directory", root, "--boot", "--register=no", "--keep-unit",
                f"--network-namespace-path=/proc/{beside.leader}/ns/net" if beside else "--private-network",
                f"--bind-ro={PACKAGES}:/packages", f"--bind-ro={RECORDINGS}:/recordings",
            ],
            stdin=subprocess.DEVNULL, stdout=self._console, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.leader = until(self._find_leader, f"the machine boots (its console: {console})")
        until(self._has_booted, f"the machine has booted (its console: {console})")

    def _find_leader(self) -> int | None:
        check(self._nspawn.poll() is None, f"systemd-nspawn ended: {Path(self._console.name).read_text()}")
        waiting = [self._nspawn.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return pid
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return None

    def _has_booted(self) -> bool:
        return self.run("systemctl is-system-running", may_fail=True).strip() in ("running", "degraded")

    def run(self, command: str, *, may_fail: bool = False, fails_with: str | None = None) -> str:
        """What it says. `fails_with`: it must fail, and say that."""
        entered = ["nsenter", "--target", str(self.leader), "--all", "--", "sh", "-c", command]
        done = subprocess.run(entered, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if fails_with is not None:
            check(done.returncode != 0 and fails_with in said, f"{command}: must fail with {fails_with!r}, says {said}")
        elif not may_fail:
            check(done.returncode == 0, f"{command}: {said}")
        return said

    def write(self, file: str, content: bytes) -> None:
        entered = ["nsenter", "--target", str(self.leader), "--all", "--", "sh", "-c", f"cat >{file}"]
        subprocess.run(entered, input=content, check=True)

    def bring(self, file: Path) -> str:
        """Where a copy of the file is there."""
        self.run("mkdir -p /later")
        there = f"/later/{file.name}"
        self.write(there, file.read_bytes())
        return there

    def ends(self) -> None:
        subprocess.run(["kill", "-s", "RTMIN+4", str(self.leader)], check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(30)
        if self._nspawn.poll() is None:
            self._nspawn.kill()
            self._nspawn.wait()
        self._console.close()


class Service:
    def __init__(self, machine: Machine, unit: str) -> None:
        self.machine, self.unit = machine, unit

    def show(self, name: str) -> str:
        return self.machine.run(f"systemctl show {self.unit} --property {name} --value").strip()

    def is_up(self) -> bool:
        return self.show("ActiveState") == "active"

    def await_up(self) -> None:
        try:
            until(self.is_up, f"{self.unit} runs")
        except Failed as failed:
            raise Failed(f"{failed}: {self.journal()}") from None

    def journal(self) -> str:
        return self.machine.run(f"journalctl --unit {self.unit} --no-pager --lines 40 --output cat", may_fail=True)

    def kill(self, signal: str = "KILL") -> None:
        """Ends what runs, and waits for what takes its place."""
        before = self.show("MainPID")
        self.machine.run(f"kill -s {signal} {before}")
        until(lambda: self.is_up() and self.show("MainPID") not in (before, "0"), f"{self.unit} is started again")

    def start_ms(self) -> float:
        """From the start of its process to READY=1."""
        began, ready = (int(self.show(f"{name}Monotonic")) for name in ("ExecMainStartTimestamp", "ActiveEnterTimestamp"))
        return (ready - began) / 1000

    def memory_mb(self) -> float:
        status = self.machine.run(f"cat /proc/{self.show('MainPID')}/status")
        return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) * 1024 / 1e6


def package(name: str, architecture: str = "amd64") -> Path:
    found = sorted(PACKAGES.glob(f"{name}_*_{architecture}.deb"))
    check(len(found) == 1, f"{PACKAGES} has {len(found)} packages {name} for {architecture}: run deploy/package.sh")
    return found[0]


def base_root(suite: str, included: str) -> Path:
    """A root that was made before, or a new one."""
    root = PROJECT / f"target/package/roots/{suite}-{zlib.crc32(included.encode()):08x}"
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent) as folder:
            new = Path(folder) / "root"
            made = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={included}", suite, str(new)]
            subprocess.run(made, check=True)
            new.rename(root)
    return root


@contextlib.contextmanager
def machine(suite: str, *more: str, beside: Machine | None = None) -> Iterator[Machine]:
    """One that has `more` packages of Debian's; `beside` another one it is in that one's network."""
    base = base_root(suite, ",".join(INCLUDED + more))
    with tempfile.TemporaryDirectory(prefix="gaitway-machine-") as folder:
        root = Path(folder) / "root"
        subprocess.run(["cp", "--archive", "--reflink=auto", base, root], check=True)
        booted = Machine(root, Path(folder) / "console", beside)
        try:
            yield booted
        finally:
            booted.ends()


def later(deb: Path, into: Path) -> Path:
    """The same package under a later version, as the next release comes."""
    tree = into / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: (.*)$", r"Version: \1+later", control.read_text()))
    new = into / deb.name.replace("_", "_later_", 1)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, new], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return new


def verify(on: Machine, unit: str) -> str:
    """`systemd-analyze` finds nothing to say of the unit, and little that it could do to the machine."""
    said = on.run(f"systemd-analyze verify --man=no {unit}.service")
    check(not said.strip(), f"systemd-analyze verify: {said}")
    said = on.run(f"systemd-analyze security {unit}.service --no-pager", may_fail=True)
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1])
    check(exposure <= EXPOSURE_AT_MOST, f"{unit} has exposure {exposure}")
    return f"exposure {exposure}"


def install(on: Machine, file: str) -> None:
    on.run(f"DEBIAN_FRONTEND=noninteractive dpkg --install {file}")


def is_sandboxed(service: Service) -> None:
    """The process is nobody, may do nothing, and writes nowhere but into its own folder."""
    on, pid = service.machine, service.show("MainPID")
    status = on.run(f"cat /proc/{pid}/status")
    check(not re.search(r"(?m)^Uid:\s+0\s", status), f"{service.unit} runs as root")
    check(re.search(r"(?m)^CapEff:\s+0{16}$", status), f"{service.unit} has capabilities: {status}")
    check(re.search(r"(?m)^NoNewPrivs:\s+1$", status), f"{service.unit} may gain privileges")
    check(re.search(r"(?m)^Seccomp:\s+2$", status), f"{service.unit} has no filter of system calls")
    folder = on.run(f"stat --format '%a' /var/lib/private/{service.unit}").strip()
    check(folder == "700", f"its folder has mode {folder}")
    mounts = on.run(f"cat /proc/{pid}/mountinfo")
    check(re.search(r"(?m)^\S+ \S+ \S+ \S+ / ro", mounts), "it could write into the system")


def stalls(service: Service) -> None:
    """One that stands still is ended by the watchdog and started again."""
    on = service.machine
    folder = f"/run/systemd/system/{service.unit}.service.d"
    on.run(f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=3s\\n' >{folder}/quick.conf && systemctl daemon-reload")
    on.run(f"systemctl restart {service.unit}")
    service.kill("STOP")
    check("watchdog timeout" in service.journal().lower(), f"the watchdog did it: {service.journal()}")
    on.run(f"rm -r {folder} && systemctl daemon-reload && systemctl restart {service.unit}")
    service.await_up()


def audit(on: Machine, sessions: int) -> int:
    """The readings that were accepted, each of which is in the warehouse once."""

    def counted() -> dict | None:
        found = json.loads(on.run("gaitway audit --json", may_fail=True))
        return found if len(found["sessions"]) >= sessions and all(s["spooled"] == 0 for s in found["sessions"]) else None

    until(counted, f"{sessions} sessions are in the warehouse")
    said = on.run("gaitway audit")
    found = re.search(r"adds up: (\d+) sessions?, ([\d,]+) readings accepted", said)
    check(found and int(found[1]) == sessions, f"audit: {said}")
    return int(found[2].replace(",", ""))
