"""The agent for other processors, by emulation."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
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
