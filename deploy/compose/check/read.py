"""read.py COMPOSE.YAML: holds it against the compose specification's schema and prints it as JSON, with variables put in.

Variables come from .env.example, which stands beside ours, and from the environment, which wins.
"""

import json
import os
import re
import sys
from pathlib import Path

import jsonschema
import yaml

HERE = Path(__file__).parent
COMPOSE = HERE.parent
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:?[-?])([^}]*))?\})")


def variables() -> dict[str, str]:
    """What .env.example says."""
    lines = (COMPOSE / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def put_in(text: str, known: dict[str, str], used: set[str]) -> str:
    """`text` with its variables as compose puts them in."""

    def value(found: re.Match[str]) -> str:
        dollar, name, how, otherwise = found.groups()
        if dollar:
            return "$"
        used.add(name)
        present = known.get(name)
        if present is not None and (present or not (how or "").startswith(":")):
            return present
        if how and how.endswith("-"):
            return otherwise
        sys.exit(f"{name} is not set: {otherwise or 'compose would put in nothing'}")

    return VARIABLE.sub(value, text)


def walk(node: object, known: dict[str, str], used: set[str]) -> object:
    """The tree with all its texts put in."""
    if isinstance(node, dict):
        return {key: walk(value, known, used) for key, value in node.items()}
    if isinstance(node, list):
        return [walk(value, known, used) for value in node]
    return put_in(node, known, used) if isinstance(node, str) else node


def main() -> None:
    written = yaml.safe_load(Path(sys.argv[1]).read_text())
    schema = json.loads((HERE / "compose-spec.json").read_text())
    errors = jsonschema.Draft7Validator(schema).iter_errors(written)
    wrong = [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]
    if wrong:
        sys.exit("\n".join(wrong))
    example, used = variables(), set[str]()
    whole = walk(written, example | dict(os.environ), used)
    strange = sorted(used ^ set(example))
    if strange:
        sys.exit(f"not both in .env.example and in compose.yaml: {', '.join(strange)}")
    json.dump(whole, sys.stdout)


if __name__ == "__main__":
    main()
