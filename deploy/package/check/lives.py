"""Packages, from their installation to their purge."""

from __future__ import annotations

import json
import re

from machines import Machine, Service, audit, check, install, is_sandboxed, package, stalls, until, verify

#: Largest package of the agent, bytes.
AGENT_AT_MOST = 6_000_000

PUSH = {
    "messageId": 1,
    "sessionId": "session",
    "deviceId": "phone",
    "payload": [{"name": "accelerometer", "time": 1_769_850_000_000_000_000, "values": {"x": 1.0, "y": 2.0, "z": 3.0}}],
}


def push(on: Machine, url: str) -> None:
    body = json.dumps(PUSH)
    on.run(f"curl --fail --silent --show-error --header content-type:application/json --data '{body}' {url}")


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
    # The other commands of an agent are about this one, too.
    said = on.run("gaitway agent doctor --ntp none")
    check("/etc/gaitway/up.toml" in said and "anybody" not in said, f"agent doctor: {said}")
    check("/var/lib/gaitway/agent/spool.db" in on.run("gaitway agent spool check"), "agent spool check finds the spool")
    listed = on.run("gaitway agent phone list")
    check("anna" in listed and "ben" in listed and "eve" not in listed, f"phone list: {listed}")
    token = url.rsplit("/", 1)[1]
    refused = on.run(f"{replay} http://127.0.0.1:8000/data --give-up 1", may_fail=True)
    check("refuse" in refused or "499" in refused, f"without a token: {refused}")

    pushed = f"http://127.0.0.1:8000/data/{token}"
    push(on, pushed)
    service.kill()
    readings += 1
    check(audit(on, 2) == readings, "what was accepted before the kill is there")
    stalls(service)

    # An upgrade while a phone pushes.
    on.run(f"for n in $(seq 2 400); do curl --silent --output /dev/null --write-out '%{{http_code}}\\n' "
           f"--header content-type:application/json --retry 60 --retry-all-errors --retry-delay 1 --data \"$(echo '{json.dumps(PUSH)}' | sed \"s/\\\"messageId\\\": 1,/\\\"messageId\\\": $n,/\")\" "
           f"{pushed}; sleep 0.05; done >/tmp/pushed 2>&1 &")  # fmt: skip
    until(lambda: int(on.run("wc -l </tmp/pushed")) > 20, "the phone pushes")
    before = service.show("MainPID")
    on.run("echo '# mine' >>/etc/gaitway/up.toml")
    install(on, later_deb)
    service.await_up()
    check(service.show("MainPID") != before, "an upgrade starts the new program")
    check(int(on.run("wc -l </tmp/pushed")) < 399, "the phone still pushed when the new program was there")
    check("# mine" in on.run("cat /etc/gaitway/up.toml"), "what its owner configured is kept")
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
    push(on, "http://127.0.0.1:8000/data")
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
        check(reads(service, name, by=service) == "secret", "the service reads its secret")
        service.kill()
    relay, sink = (Service(on, name) for name in names)
    check("Permission denied" in reads(relay, "gaitway-relay", by=sink), "a secret is its service's alone")

    # What was switched on is on again when it is installed again.
    on.run("systemctl enable --quiet gaitway-relay && dpkg --remove gaitway-relay")
    check(sink.is_up() and not relay.is_up(), "the one goes without the other")
    check("gaitway-sink" in on.run("gaitway --help") and "gaitway-sink" in on.run("gaitway --version"), "what is left has the command")
    install(on, f"/packages/{package('gaitway-relay').name}")
    relay.await_up()
    on.run("dpkg --purge " + " ".join(names))
    on.run("! test -e /etc/gaitway && ! test -e /usr/bin/gaitway && ! ls -d /var/lib/private/gaitway*")
    return ", ".join(told)


def reads(service: Service, name: str, *, by: Service) -> str:
    """What the user of a service reads where another one sees its secret."""
    pid, status = (one.show("MainPID") for one in (service, by))
    uid = re.search(r"(?m)^Uid:\s+(\d+)", service.machine.run(f"cat /proc/{status}/status"))[1]
    secret = f"/run/credentials/{name}.service/secret_kafka"
    return service.machine.run(f"nsenter --target {pid} --mount setpriv --reuid {uid} --clear-groups cat {secret}", may_fail=True)
