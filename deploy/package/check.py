#!/usr/bin/env python3
"""Installs, runs, breaks, upgrades, removes and purges the packages of target/packages on machines that are booted for it.

A machine is a Debian of its own with systemd as its first process, in a container without a network (systemd-nspawn): what the units
say of users, folders, secrets, watchdog and sandbox is in force. Needs root, systemd-container and mmdebstrap.

    deploy/package/check.py [--suite bookworm] [--keep]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
PACKAGES = PROJECT / "target/packages"
RECORDINGS = PROJECT / "examples"

LATE = PROJECT / "tests/data/golden/late"

QEMU = {"arm64": "qemu-aarch64-static", "armhf": "qemu-arm-static"}

#: What a machine has before a package comes; more than a small Debian has are curl, sudo, SQLite's shell and procps.
INCLUDED = "systemd,systemd-sysv,dbus,init-system-helpers,procps,curl,sudo,sqlite3"

#: Everything on a busy machine.
PATIENCE = 120.0

#: Largest package of the agent, bytes.
AGENT_AT_MOST = 6_000_000

#: Exposure that `systemd-analyze security` may find.
EXPOSURE_AT_MOST = 2.0

PUSH = {
    "messageId": 1,
    "sessionId": "session",
    "deviceId": "phone",
    "payload": [{"name": "accelerometer", "time": 1_769_850_000_000_000_000, "values": {"x": 1.0, "y": 2.0, "z": 3.0}}],
}


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

    def __init__(self, root: Path, console: Path) -> None:
        self._console = console.open("wb")
        self._nspawn = subprocess.Popen(
            [
                "systemd-nspawn", "--directory", root, "--boot", "--private-network", "--register=no", "--keep-unit",
                f"--bind-ro={PACKAGES}:/packages", f"--bind-ro={RECORDINGS}:/recordings",
            ],
            stdin=subprocess.DEVNULL, stdout=self._console, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._leader = until(self._find_leader, f"the machine boots (its console: {console})")
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
        entered = ["nsenter", "--target", str(self._leader), "--all", "--", "sh", "-c", command]
        done = subprocess.run(entered, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if fails_with is not None:
            check(done.returncode != 0 and fails_with in said, f"{command}: must fail with {fails_with!r}, says {said}")
        elif not may_fail:
            check(done.returncode == 0, f"{command}: {said}")
        return said

    def bring(self, file: Path) -> str:
        """Where a copy of the file is there."""
        there = f"/later/{file.name}"
        entered = ["nsenter", "--target", str(self._leader), "--all", "--", "sh", "-c", f"mkdir -p /later && cat >{there}"]
        with file.open("rb") as content:
            subprocess.run(entered, stdin=content, check=True)
        return there

    def ends(self) -> None:
        subprocess.run(["kill", "-s", "RTMIN+4", str(self._leader)], check=False)
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


def base_root(suite: str) -> Path:
    """A root that was made before, or a new one."""
    root = PROJECT / f"target/package/roots/{suite}-{zlib.crc32(INCLUDED.encode()):08x}"
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent) as folder:
            new = Path(folder) / "root"
            made = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDED}", suite, str(new)]
            subprocess.run(made, check=True)
            new.rename(root)
    return root


@contextlib.contextmanager
def machine(suite: str) -> Iterator[Machine]:
    base = base_root(suite)
    with tempfile.TemporaryDirectory(prefix="gaitway-machine-") as folder:
        root = Path(folder) / "root"
        subprocess.run(["cp", "--archive", "--reflink=auto", base, root], check=True)
        booted = Machine(root, Path(folder) / "console")
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
    new = into / f"later_{deb.name}"
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
    check("watchdog" in service.journal().lower() or int(service.show("NRestarts")) > 0, "the watchdog did it")
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


def everything_at_home(on: Machine, later_deb: str) -> str:
    """The package gaitway: from its installation to its purge."""
    name = package("gaitway").name
    install(on, f"/packages/{name}")
    service = Service(on, "gaitway")
    service.await_up()
    told = [f"ready after {service.start_ms():.0f} ms", verify(on, "gaitway")]
    is_sandboxed(service)
    check(on.run("systemctl is-enabled gaitway").strip() == "enabled", "it starts at the next boot")
    check("gaitway" in on.run("gaitway --version"), "the command is there")
    on.run("test -f /usr/share/man/man1/gaitway.1.gz && test -f /usr/share/bash-completion/completions/gaitway")

    replay = "gaitway replay /recordings/a-short-run.csv.gz --speed max --to"
    on.run(f"{replay} http://127.0.0.1:8000/data")
    readings = audit(on, 1)

    # Phones are let in by root, by the group's members, and by nobody else.
    said = on.run("gaitway agent phone add anna")
    url = re.search(r"http://\S+/data/\S+", said)[0]
    on.run("useradd --create-home ben && useradd --create-home eve && usermod --append --groups gaitway ben")
    on.run("runuser --user ben -- gaitway agent phone add ben")
    on.run("runuser --user eve -- gaitway agent phone add eve", fails_with="usermod --append --groups gaitway")
    listed = on.run("gaitway agent phone list")
    check("anna" in listed and "ben" in listed and "eve" not in listed, f"phone list: {listed}")
    token = url.rsplit("/", 1)[1]
    refused = on.run(f"{replay} http://127.0.0.1:8000/data --give-up 1", may_fail=True)
    check("refuse" in refused or "499" in refused, f"without a token: {refused}")

    pushed = f"http://127.0.0.1:8000/data/{token}"
    on.run(f"curl --fail --silent --show-error --header content-type:application/json --data '{json.dumps(PUSH)}' {pushed}")
    service.kill()
    readings += 1
    check(audit(on, 2) == readings, "what was accepted before the kill is there")
    stalls(service)

    # An upgrade while a phone pushes.
    on.run(f"for n in $(seq 2 400); do curl --silent --output /dev/null --write-out '%{{http_code}}\\n' "
           f"--header content-type:application/json --retry 60 --retry-all-errors --retry-delay 1 --data \"$(echo '{json.dumps(PUSH)}' | sed \"s/\\\"messageId\\\": 1,/\\\"messageId\\\": $n,/\")\" "
           f"{pushed}; done >/tmp/pushed 2>&1 & echo $! >/tmp/pusher")  # fmt: skip
    until(lambda: int(on.run("wc -l </tmp/pushed")) > 20, "the phone pushes")
    before = service.show("MainPID")
    install(on, later_deb)
    service.await_up()
    check(service.show("MainPID") != before, "an upgrade starts the new program")
    until(lambda: int(on.run("wc -l </tmp/pushed")) >= 399, "the phone is done")
    answers = on.run("sort /tmp/pushed | uniq -c")
    check(answers.split() == ["399", "200"], f"each push was accepted: {answers}")
    readings += 399
    check(audit(on, 2) == readings, "nothing is lost by an upgrade, and nothing is there twice")
    told.append(f"{service.memory_mb():.1f} MB after {readings} readings")

    on.run("dpkg --remove gaitway")
    check(on.run("systemctl is-active gaitway", may_fail=True).strip() != "active", "what is removed runs no more")
    on.run("test -f /etc/gaitway/up.toml && test -f /var/lib/private/gaitway/warehouse.db && ! test -e /usr/bin/gaitway")
    install(on, f"/packages/{name}")
    service.await_up()
    check(audit(on, 2) == readings, "what was kept is there after it was removed and installed again")
    on.run("dpkg --purge gaitway")
    left = on.run("find / -xdev -name '*gaitway*' -not -path '/proc/*' -not -path '/packages/*' -not -path '/tmp/*'")
    expected = {"/var/lib/systemd/deb-systemd-helper-enabled"}
    rest = [path for path in left.split() if path not in expected and not path.startswith(("/later", "/var/log", "/var/tmp"))]
    check(not rest, f"a purge leaves {rest}")
    return ", ".join(told)


def agent_alone(on: Machine, later_deb: str) -> str:
    """The package gaitway-agent."""
    deb = package("gaitway-agent")
    check(deb.stat().st_size <= AGENT_AT_MOST, f"{deb.name} has {deb.stat().st_size} bytes")
    install(on, f"/packages/{deb.name}")
    service = Service(on, "gaitway-agent")
    service.await_up()
    told = [f"ready after {service.start_ms():.0f} ms", verify(on, "gaitway-agent")]
    is_sandboxed(service)
    push = f"curl --fail --silent --show-error --header content-type:application/json --data '{json.dumps(PUSH)}' http://127.0.0.1:8000/data"
    on.run(push)
    for command in ("gaitway agent phone add anna", "gaitway-agent phone list", "gaitway agent spool check"):
        on.run(command)
    on.run("gaitway relay --help", fails_with="the package gaitway-relay is not installed")
    on.run("gaitway audit", fails_with="the package gaitway has this command; of what is installed here: gaitway-agent")

    def messages() -> list[int]:
        streams = json.loads(on.run("gaitway agent spool check --json"))["streams"]
        return [stream["messages"] for stream in streams if stream["stream"] == "raw"]

    check(sum(messages()) == 1, f"the spool has it: {messages()}")
    service.kill()
    install(on, later_deb)
    service.await_up()
    check(sum(messages()) == 1, f"the spool has it still: {messages()}")
    told.append(f"{service.memory_mb():.1f} MB")
    stalls(service)
    install_refused = on.run(f"dpkg --install /packages/{package('gaitway').name}", may_fail=True)
    check("conflict" in install_refused, f"one agent a machine: {install_refused}")
    on.run("dpkg --purge gaitway-agent")
    on.run("! test -e /var/lib/private/gaitway-agent && ! test -e /etc/gaitway && ! test -e /usr/bin/gaitway")
    return ", ".join(told)


def relay_and_sink(on: Machine, _: str) -> str:
    """The packages gaitway-relay and gaitway-sink, which begin when they are configured."""
    names = ("gaitway-relay", "gaitway-sink")
    install(on, " ".join(f"/packages/{package(name).name}" for name in names))
    told = []
    for name in names:
        service = Service(on, name)
        check(not service.is_up(), f"{name} waits for its configuration")
        told.append(f"{name} {verify(on, name)}")
        # A secret is its service's alone.
        on.run(f"printf secret >/etc/gaitway/secrets/{name}/kafka && chmod 600 /etc/gaitway/secrets/{name}/kafka")
        on.run(f"systemctl start {name}")
        service.await_up()
        is_sandboxed(service)
        read = on.run(f"nsenter --target {service.show('MainPID')} --mount cat /run/credentials/{name}.service/secret_kafka")
        check(read == "secret", f"its secret is {read!r}")
        service.kill()
    on.run("dpkg --purge " + " ".join(names))
    on.run("! test -e /etc/gaitway && ! test -e /usr/bin/gaitway && ! test -e /var/lib/private/gaitway-relay")
    return ", ".join(told)


def walked(guide: str) -> list[str]:
    """The commands of a guide that stand below a mark."""
    return re.findall(r"<!-- walk.*? -->\n```sh\n(.*?)```", (PROJECT / f"docs/{guide}.md").read_text(), re.DOTALL)


def guides(on: Machine, later_deb: str) -> str:
    """What docs/install-pi.md, upgrading.md and backup.md have their readers type, typed by one of them."""
    on.run("useradd --create-home --shell /bin/bash pi && echo 'pi ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/pi")
    on.run(f"mkdir /home/pi/new && cp /packages/{package('gaitway').name} /packages/SHA256SUMS /home/pi/new")
    typed = 0

    def walk(guide: str, folder: str) -> None:
        nonlocal typed
        for commands in walked(guide):
            on.run(f"cd {folder} && USER=pi runuser --user pi -- bash -euc {shlex.quote(commands)}")
            typed += len(commands.splitlines())

    walk("install-pi", "/home/pi/new")
    until(lambda: "gaitway" in on.run("id --name --groups pi"), "the owner is in the group")
    token = re.search(r"/data/(\S+)", on.run("runuser --user pi -- gaitway agent phone add walker"))[1]
    on.run(f"gaitway replay /recordings/a-short-run.csv.gz --speed max --to http://127.0.0.1:8000/data/{token}")
    readings = audit(on, 1)
    walk("backup", "/home/pi")
    check(audit(on, 1) == readings, "what was restored is what was there")
    on.run(f"mkdir /home/pi/later && cp {later_deb} /home/pi/later/gaitway_later.deb")
    walk("upgrading", "/home/pi/later")
    check(audit(on, 1) == readings, "an upgrade keeps it")
    return f"{typed} lines typed"


class Program:
    """A program on this machine; what it logs comes line by line."""

    def __init__(self, *command: object) -> None:
        self.child = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def says(self, message: str) -> dict:
        for line in self.child.stdout:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if said.get("message") == message:
                    # What it says later keeps it waiting for nobody.
                    threading.Thread(target=self.child.stdout.read, daemon=True).start()
                    return said
        raise Failed(f"{self.child.args} ended, {self.child.wait()}, before it said {message!r}")

    def ends(self, number: int) -> None:
        self.child.send_signal(number)
        self.child.wait(60)


def on_another_processor(architecture: str) -> str:
    """The agent for a Pi, under qemu-user: phones push, it is killed at work, and everything is classified and forwarded."""
    qemu, root = QEMU[architecture], PROJECT / f"target/package/sysroot-{architecture}"
    check(root.exists(), f"{root} is missing: deploy/package/toolchain.sh {architecture}")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ending:
        here = Path(folder)
        for name, of in (("gaitway-agent", architecture), ("gaitway", "amd64")):
            subprocess.run(["dpkg-deb", "--extract", package(name, of), here / name], check=True)
        gaitway = here / "gaitway/usr/lib/gaitway/gaitway"
        up = Program(gaitway, "up", "--data-dir", here / "up", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
        ending.callback(up.child.kill)
        relay = up.says("relay listening for agents")["address"]

        def agent(address: str) -> tuple[Program, str]:
            command = (qemu, "-L", root, here / "gaitway-agent/usr/bin/gaitway-agent", "--data-dir", here / "agent")
            program = Program(*command, "--http", address, "--relay", f"mqtt://{relay}")
            ending.callback(program.child.kill)
            return program, program.says("taking pushes at /data")["address"]

        began = time.monotonic()
        program, address = agent("127.0.0.1:0")
        start = time.monotonic() - began
        replay = subprocess.Popen([gaitway, "replay", LATE / "pushes.ndjson.gz", "--speed", "max", "--to", f"http://{address}/data"])
        ending.callback(replay.kill)
        for _ in range(3):
            time.sleep(0.3)
            program.ends(signal.SIGKILL)
            program, _ = agent(address)
        check(replay.wait(PATIENCE) == 0, "every push is accepted")
        warehouse = here / "up/warehouse.db"

        def audit() -> dict | None:
            command = [gaitway, "audit", "--json", "--data-dir", here / "agent", "--warehouse", warehouse]
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            found = json.loads(said.stdout)["sessions"]
            return said if found and all(one["spooled"] == 0 for one in found) else None

        said = until(audit, "everything is forwarded")
        check(said.returncode == 0, f"it adds up: {said.stdout}{said.stderr}")
        with contextlib.closing(sqlite3.connect(warehouse)) as rows:
            readings = rows.execute("SELECT count(*) FROM ACTIVITY_RECORDS").fetchone()[0]
            found = {
                (end[:19].replace("T", " "), label): mean
                for end, label, mean in rows.execute("SELECT timestamp, activity, avg_magnitude FROM USER_ACTIVITY_PROCESSED")
            }
        golden = [line.split(",") for line in (LATE / "windows.csv").read_text().splitlines()[1:]]
        for end, _, _, label, mean, _ in golden:
            its = found.get((end, label))
            check(its is not None and abs(its - float(mean)) <= 1e-9 * float(mean), f"the window of {end}: {label}, {mean}, not {its}")
        program.ends(signal.SIGTERM)
        check(program.child.returncode == 0, "it ends when it is asked to")
    return f"{readings} readings through three kills, Spark's {len(golden)} windows; first start after {start:.1f} s under qemu"


CHECKS = (("gaitway", everything_at_home), ("gaitway-agent", agent_alone), ("gaitway-relay", relay_and_sink), ("guides", guides))


def checked(on: str, name: str, run: Callable[[], str]) -> bool:
    began = time.monotonic()
    try:
        said, holds = run(), True
    except Failed as failed:
        said, holds = f"FAILED: {failed}", False
    print(f"{on:9} {name:14} {time.monotonic() - began:4.0f} s  {said}", flush=True)
    return holds


def booted(suite: str, name: str, lives: Callable[[Machine, str], str]) -> str:
    with machine(suite) as on, tempfile.TemporaryDirectory() as folder:
        return lives(on, on.bring(later(package("gaitway" if name == "guides" else name), Path(folder))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", action="append", help="Debian's, may be given more than once [default: bookworm]")
    parser.add_argument("--only", choices=[name for name, _ in CHECKS] + list(QEMU), action="append")
    args = parser.parse_args()
    hold = True
    for suite in args.suite or ["bookworm"]:
        for name, lives in CHECKS:
            if not args.only or name in args.only:
                hold &= checked(suite, name, lambda: booted(suite, name, lives))
    for architecture in QEMU:
        if not args.only or architecture in args.only:
            hold &= checked(architecture, "gaitway-agent", lambda: on_another_processor(architecture))
    for deb in sorted(PACKAGES.glob("*.deb")):
        print(f"{deb.stat().st_size / 1e6:6.2f} MB  {deb.name}")
    return 0 if hold else 1


if __name__ == "__main__":
    sys.exit(main())
