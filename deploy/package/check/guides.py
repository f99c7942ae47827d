"""Guides, typed by somebody with sudo on booted machines."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lives import push
from machines import PROJECT, Machine, Service, audit, check, later, machine, package, until

KAFKA = PROJECT / "deploy/dev/kafka.sh"


class Step(NamedTuple):
    #: `walk`: to be typed; `set`: to be set in a file.
    does: str
    #: Which machine, and of `set` which file.
    where: list[str]
    text: str


def steps(guide: str) -> list[Step]:
    """What a guide has marked to be done."""
    marked = re.findall(r"<!-- (walk|set)(?:: (.*?))? -->\n```\w+\n(.*?)```", (PROJECT / f"docs/{guide}.md").read_text(), re.DOTALL)
    return [Step(does, where.split(), text) for does, where, text in marked]


class Reader:
    """Somebody who does what guides say."""

    def __init__(self, on: Machine, name: str) -> None:
        self.on, self.name, self.typed = on, name, 0
        on.run(f"useradd --create-home --shell /bin/bash {name} && echo '{name} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{name}")

    def folder(self, name: str, *files: str) -> str:
        """A folder at home with copies of the files."""
        folder = f"/home/{self.name}/{name}"
        self.on.run(f"mkdir {folder} && cp {' '.join(files)} {folder}")
        return folder

    def types(self, commands: str, folder: str) -> str:
        said = self.on.run(f"cd {folder} && USER={self.name} runuser --user {self.name} -- bash -euc {shlex.quote(commands)}")
        self.typed += len(commands.splitlines())
        return said

    def walks(self, guide: str, folder: str, between: Callable[[], object] = lambda: None) -> None:
        """All of a guide; `between` comes after its first commands."""
        first, *rest = steps(guide)
        self.types(first.text, folder)
        between()
        for step in rest:
            self.types(step.text, folder)

    def sets(self, file: str, text: str) -> None:
        """Puts each key where the file explains it."""
        self.on.write(file, edited(self.on.run(f"cat {file}"), text).encode())


def edited(file: str, text: str) -> str:
    """A file of the package with the keys of `text` set in it."""
    lines = file.splitlines()

    def line_of(pattern: str, after: int) -> int:
        found = next((at for at in range(after, len(lines)) if re.match(pattern, lines[at])), None)
        check(found is not None, f"the file has no line {pattern!r}")
        return found

    table = 0
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("["):
            table = line_of(rf"(# )?{re.escape(line)}$", 0)
            lines[table] = line
        else:
            key = re.match(r"[^=]+=", line)[0]
            lines[line_of(rf"(# )?{re.escape(key)}", table)] = line
    return "\n".join(lines) + "\n"


def let_in(on: Machine, phone: str) -> str:
    """Where the phone pushes to."""
    said = on.run(f"runuser --user pi -- gaitway agent phone add {phone}")
    return "http://127.0.0.1:8000" + re.search(r"/data/\S+", said)[0]


def at_home(suite: str) -> str:
    """docs/install-pi.md, upgrading.md and backup.md."""
    with machine(suite) as on, tempfile.TemporaryDirectory() as folder:
        owner = Reader(on, "pi")
        owner.walks("install-pi", owner.folder("new", f"/packages/{package('gaitway').name}", "/packages/SHA256SUMS"))
        until(lambda: "gaitway" in on.run("id --name --groups pi"), "the owner is in the group")
        on.run(f"gaitway replay /recordings/a-short-run.csv.gz --speed max --to {let_in(on, 'walker')}")
        readings = audit(on, 1)
        owner.walks("upgrading", owner.folder("later", on.bring(later(package("gaitway"), Path(folder)))))
        check(audit(on, 1) == readings, "an upgrade keeps it")

        def goes_on() -> None:
            on.run("useradd --create-home eve")
            on.run("runuser --user eve -- cat /var/backups/gaitway/warehouse.db", fails_with="Permission denied")
            # Readings that the copy has not; the agent knows that they were forwarded.
            push(on, let_in(on, "runner"))
            check(audit(on, 2) == readings + 1, "what comes after the copy is in the warehouse")

        owner.walks("backup", "/home/pi", between=goes_on)
        sessions = on.run("sqlite3 /var/lib/private/gaitway/warehouse.db 'SELECT count(*), count(DISTINCT sessionId) FROM ACTIVITY_RECORDS'")
        check(sessions.strip() == f"{readings}|1", f"what was restored is what was copied: {sessions}")
        check(on.run("stat --format %a /var/lib/private/gaitway/warehouse.db").strip() == "600", "it is the service's alone")
        return f"{owner.typed} lines typed"


def first_relay(suite: str) -> str:
    """docs/first-relay.md, from the home of an agent to PostgreSQL, through a real Kafka."""
    subprocess.run([KAFKA, "jars"], check=True, stdout=subprocess.DEVNULL)
    with (
        machine(suite, "postgresql", "openssl") as vm,
        machine(suite, beside=vm) as pi,
        tempfile.TemporaryDirectory(prefix="gaitway-kafka-") as data,
    ):
        for on in (vm, pi):
            on.run("echo 127.0.0.1 relay.example.org kafka.example.org >>/etc/hosts")
        in_its_network = ["nsenter", "--target", str(vm.leader), "--net", KAFKA]
        subprocess.run([*in_its_network, "start", "--port", "9092", "--data", data], check=True, stdout=subprocess.DEVNULL)
        try:
            return relayed(vm, pi)
        finally:
            subprocess.run([*in_its_network, "stop", "--data", data], check=True, stdout=subprocess.DEVNULL)


def relayed(vm: Machine, pi: Machine) -> str:
    operator, owner = Reader(vm, "debian"), Reader(pi, "pi")
    services = ("gaitway", "gaitway-relay", "gaitway-sink")
    readers = {
        "vm": (operator, operator.folder("new", *(f"/packages/{package(name).name}" for name in services))),
        "pi": (owner, owner.folder("new", f"/packages/{package('gaitway-agent').name}")),
    }
    said = {"vm": "", "pi": ""}
    pushed = 0
    for step in steps("first-relay"):
        on, *rest = (part.rstrip(",") for part in step.where)
        reader, folder = readers[on]
        if step.does == "set":
            reader.sets(rest[0], step.text)
            continue
        if rest:
            token = re.search(r"/data/(\S+)", said["pi"])[1]
            replay = f"gaitway replay /recordings/a-short-run.csv.gz --speed max --to http://127.0.0.1:8000/data/{token}"
            pushed = int(re.search(r"(?m)^readings +(\d+)$", vm.run(replay))[1])
            until(lambda: stored(vm) >= pushed, f"{pushed} readings are in PostgreSQL")
        code = re.search(r"relay\.example\.org:8883 (\S+)", said["vm"])
        said[on] = reader.types(step.text.replace("CODE", code[1] if code else "CODE"), folder)
    check("attic" in said["vm"], f"the agent is known: {said['vm']}")
    for user in ("sink", "reader", "operator"):
        password = vm.run(f"cat /root/gaitway_{user}.password").strip()
        check(len(password) == 32, f"{user} has a password")
        check(password not in vm.run("journalctl --no-pager"), f"the password of {user} is in no log")
    for name in ("sink.toml", "./sink.toml", "../gaitway/sink.toml"):
        vm.run(f"cd /etc/gaitway && gaitway doctor --ntp none --config {name}")
    check(stored(vm) == pushed > 0, f"{stored(vm)} of {pushed} readings are in PostgreSQL")
    for name in ("gaitway-relay", "gaitway-sink"):
        check(Service(vm, name).is_up(), f"{name} runs")
    return f"{operator.typed + owner.typed} lines typed, {pushed} readings from the Pi in PostgreSQL"


def stored(on: Machine) -> int:
    """Readings in PostgreSQL; none before its tables are there."""
    said = on.run("runuser --user postgres -- psql -d gaitway -Atc 'SELECT count(*) FROM raw_data.activity_records'", may_fail=True)
    return int(said) if said.strip().isdigit() else 0
