"""The little of YAML that provisioning files need."""

import json
import textwrap


WIDE = 120


def listed(entry, indent=2):
    """A mapping as an entry of a list: lines."""
    lines = mapping(entry, indent + 2)
    return [" " * indent + "- " + lines[0].lstrip(), *lines[1:]]


def mapping(entry, indent):
    lines = []
    for key, value in entry.items():
        lines += pair(key, value, indent)
    return lines


def pair(key, value, indent):
    head = " " * indent + f"{key}:"
    if isinstance(value, dict):
        return [head, *mapping(value, indent + 2)] if value else [f"{head} {{}}"]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [head, *(line for one in value for line in listed(one, indent + 2))]
    if isinstance(value, str) and "\n" in value:
        return [f"{head} |-", *(" " * (indent + 2) + line for line in value.split("\n"))]
    written = f"{head} {json.dumps(value, ensure_ascii=False)}"
    if len(written) > WIDE and isinstance(value, str):
        return [f"{head} >-", *textwrap.wrap(value, WIDE, initial_indent=" " * (indent + 2),
                                             subsequent_indent=" " * (indent + 2), break_long_words=False,
                                             break_on_hyphens=False)]
    return [written]
