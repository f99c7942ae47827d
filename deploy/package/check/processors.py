"""Programs for other processors, by emulation."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from machines import PATIENCE, PROJECT, Failed, check, package, until

LATE = PROJECT / "tests/data/golden/late"

QEMU = {"arm64": "qemu-aarch64-static", "armhf": "qemu-arm-static"}


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


class Emulated:
    """Programs of a package for another processor, beside the whole program for this one."""

    def __init__(self, name: str, architecture: str, here: Path, ending: contextlib.ExitStack) -> None:
        self._here, self._ending = here, ending
        root = PROJECT / f"target/package/sysroot-{architecture}"
        check(root.exists(), f"{root} is missing: deploy/package/toolchain.sh {architecture}")
        self._qemu = (QEMU[architecture], "-L", root)
        for kept, of in ((name, architecture), ("gaitway", "amd64")):
            (here / of).mkdir(exist_ok=True)
            subprocess.run(["dpkg-deb", "--extract", package(kept, of), here / of / kept], check=True)
        self._program = here / architecture / name
        self.gaitway = here / "amd64/gaitway/usr/lib/gaitway/gaitway"

    def starts(self, path: str, *arguments: object) -> Program:
        return self.native(*self._qemu, self._program / path, *arguments)

    def native(self, *command: object) -> Program:
        program = Program(*command)
        self._ending.callback(program.child.kill)
        return program

    def survives(self, start: Callable[[str], Program], agent: Path, warehouse: Path) -> str:
        """A recording is pushed, what `start` starts is killed at work, and everything is classified and in the warehouse."""
        began = time.monotonic()
        program = start("127.0.0.1:0")
        address = program.says("taking pushes at /data")["address"]
        first = time.monotonic() - began
        command = [self.gaitway, "replay", LATE / "pushes.ndjson.gz", "--speed", "max", "--to", f"http://{address}/data"]
        replay = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._ending.callback(replay.kill)
        at_work = 0
        for _ in range(3):
            time.sleep(0.3)
            program.ends(signal.SIGKILL)
            at_work += replay.poll() is None
            program = start(address)
            program.says("taking pushes at /data")
        check(at_work, "it is killed while a phone pushes")
        check(replay.wait(PATIENCE) == 0, "every push is accepted")

        def audit() -> subprocess.CompletedProcess | None:
            command = [self.gaitway, "audit", "--json", "--data-dir", agent, "--warehouse", warehouse]
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
        return f"{readings} readings through three kills, {at_work} of them at work, Spark's {len(golden)} windows; first start after {first:.1f} s under qemu"


def agent_on(architecture: str) -> str:
    """The agent, towards a relay on this processor."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ending:
        here = Path(folder)
        emulated = Emulated("gaitway-agent", architecture, here, ending)
        up = emulated.native(emulated.gaitway, "up", "--data-dir", here / "up", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
        relay = f"mqtt://{up.says('relay listening for agents')['address']}"

        def start(address: str) -> Program:
            return emulated.starts("usr/bin/gaitway-agent", "--data-dir", here / "agent", "--http", address, "--relay", relay)

        return emulated.survives(start, here / "agent", here / "up/warehouse.db")


def home_on(architecture: str) -> str:
    """Everything at home, as on a Pi."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ending:
        here = Path(folder)
        emulated = Emulated("gaitway", architecture, here, ending)

        def start(address: str) -> Program:
            return emulated.starts("usr/lib/gaitway/gaitway", "up", "--data-dir", here / "up", "--http", address, "--mqtt", "127.0.0.1:0")

        return emulated.survives(start, here / "up/agent", here / "up/warehouse.db")
