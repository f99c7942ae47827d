#!/usr/bin/env python3
"""What a program is made of by others, and their licences' texts, which whoever passes the program on has to pass on too.

    deploy/package/licences.py PACKAGE FEATURES TARGET… >third-party.txt
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

#: Names of files with a licence or what it asks to be told.
LICENCE = re.compile(r"(UN)?LICEN[CS]E|COPYING|COPYRIGHT|NOTICE", re.IGNORECASE)

#: Folders of a crate in which it has something else than what is linked.
ELSEWHERE = {"tests", "test", "benches", "examples", "fuzz", "doc", "docs", "target", "bindgen", "external", "demos"}

#: Sources of C that a crate compiles for another one.
COMPILED = {"openssl-sys": "openssl-src"}


def linked(package: str, features: str, targets: list[str]) -> set[tuple[str, str]]:
    """Names and versions of crates that are linked in."""
    found = set()
    for target in targets:
        command = ["cargo", "tree", "--locked", "--package", package, "--features", features, "--target", target]
        command += ["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
            if line.strip():
                name, version, *_ = line.split()
                found.add((name, version.removeprefix("v")))
    return found


def main() -> int:
    package, features, *targets = sys.argv[1:]
    told = subprocess.run(["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"], check=True, capture_output=True, text=True)
    crates = {(crate["name"], crate["version"]): crate for crate in json.loads(told.stdout)["packages"]}
    wanted = linked(package, features, targets)
    wanted |= {key for of, source in COMPILED.items() for key in crates if key[0] == source and any(name == of for name, _ in wanted)}
    others = sorted(key for key in wanted if crates[key]["source"])
    texts: dict[str, list[str]] = defaultdict(list)
    print(f"{package} is made of these, too:\n")
    for name, version in others:
        crate = crates[name, version]
        print(f"  {name} {version}: {crate['license'] or crate['license_file']}, {crate['repository'] or 'https://crates.io/crates/' + name}")
        folder = Path(crate["manifest_path"]).parent
        for file in sorted(folder.rglob("*")):
            place = file.relative_to(folder)
            if LICENCE.match(file.name) and file.is_file() and file.suffix not in {".rs", ".py", ".c", ".h"} and not ELSEWHERE & set(place.parts[:-1]):
                text = file.read_text(errors="replace").strip()
                if text:
                    texts[text].append(f"{name} {version} ({place})")
    silent = [f"{name} {version}" for name, version in others if not any(f"{name} {version} (" in one for whose in texts.values() for one in whose)]
    if silent:
        print(f"\nWithout a text of their own: {', '.join(silent)}.")
    for text, whose in sorted(texts.items(), key=lambda entry: entry[1]):
        print(f"\n{'=' * 100}\n{', '.join(whose)}:\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
