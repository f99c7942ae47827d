"""Installs, runs, breaks, upgrades, removes and purges the packages of target/packages on machines that are booted for it, and types the guides.

A machine is a Debian of its own with systemd as its first process, in a container without a network (systemd-nspawn): what the units
say of users, folders, secrets, watchdog and sandbox is in force. Needs root, systemd-container, mmdebstrap, qemu-user-static, and for the guide
to a relay Java and Maven.

    deploy/package/check.sh [--suite bookworm] [--only gaitway]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from guides import at_home, first_relay
from lives import agent_alone, everything_at_home, relay_and_sink
from machines import PACKAGES, Failed, Machine, later, machine, package
from processors import agent_on, home_on


def lived(name: str, lives: Callable[[Machine, str], str]) -> Callable[[str], str]:
    """On a machine of its own, with a later version of the package at hand."""

    def run(suite: str) -> str:
        with machine(suite) as on, tempfile.TemporaryDirectory() as folder:
            return lives(on, on.bring(later(package(name), Path(folder))))

    return run


ON_MACHINES = {
    "gaitway": lived("gaitway", everything_at_home),
    "gaitway-agent": lived("gaitway-agent", agent_alone),
    "gaitway-relay": lived("gaitway-relay", relay_and_sink),
    "guides": at_home,
    "first-relay": first_relay,
}

EMULATED = {
    "gaitway-arm64": ("gaitway", "arm64", home_on),
    "agent-arm64": ("gaitway-agent", "arm64", agent_on),
    "agent-armhf": ("gaitway-agent", "armhf", agent_on),
}


def holds(on: str, name: str, run: Callable[[str], str]) -> bool:
    began = time.monotonic()
    try:
        said, held = run(on), True
    except Failed as failed:
        said, held = f"FAILED: {failed}", False
    print(f"{on:9} {name:14} {time.monotonic() - began:4.0f} s  {said}", flush=True)
    return held


def main() -> int:
    parser = argparse.ArgumentParser(prog="check.sh", description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", action="append", help="Debian's, may be given more than once [default: bookworm]")
    parser.add_argument("--only", choices=[*ON_MACHINES, *EMULATED], action="append")
    parser.add_argument("--without", choices=[*ON_MACHINES, *EMULATED], action="append", default=[])
    args = parser.parse_args()
    wanted = [name for name in args.only or [*ON_MACHINES, *EMULATED] if name not in args.without]
    held = [
        *(holds(suite, name, run) for suite in args.suite or ["bookworm"] for name, run in ON_MACHINES.items() if name in wanted),
        *(holds(architecture, name, run) for key, (name, architecture, run) in EMULATED.items() if key in wanted),
    ]
    for deb in sorted(PACKAGES.glob("*.deb")):
        print(f"{deb.stat().st_size / 1e6:6.2f} MB  {deb.name}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
