"""The table of values in the chart's README, made from the comments of values.yaml; and values against the schema."""

import json
import re

import yaml

import render
from checks import holds

README = render.CHART / "README.md"
VALUES = render.CHART / "values.yaml"
BEGIN, END = "<!-- values: made by tests/charts/run --write -->\n", "<!-- end of values -->\n"
# Known to parent charts only.
ONLY_IN_SCHEMA = {"global", "enabled"}


def write():
    before, _, after = parts()
    README.write_text(before + BEGIN + table() + END + after)


def check_the_readme_has_the_values(_):
    holds(parts()[1] == table(), "README.md is not as values.yaml says: tests/charts/run --write")


def check_schema_and_values_name_the_same(_):
    values, schema = yaml.safe_load(VALUES.read_text()), json.loads((render.CHART / "values.schema.json").read_text())

    def same(path, value, about):
        if "properties" not in about or "Probe" in path:
            return
        holds(about["additionalProperties"] is False, f"{path} takes any name")
        names = about["properties"].keys() - (ONLY_IN_SCHEMA if not path else set())
        holds(names == value.keys(), f"{path}: only in one of schema and values: {names ^ value.keys()}")
        for name in names:
            same(f"{path}.{name}", value[name], about["properties"][name])

    same("", values, schema)


def parts():
    before, _, rest = README.read_text().partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def table():
    rows = ["| value | default | |\n", "|---|---|---|\n"]
    for path, value, comment in leaves():
        shown = "a block of text" if isinstance(value, str) and "\n" in value else f"`{json.dumps(value)}`"
        rows.append(f"| `{path}` | {shown} | {comment} |\n")
    return "".join(rows)


def leaves():
    """Every value that has a comment of its own, and the proof that all others are below one that has."""
    path, comment, found = [], None, []
    inside_text = None
    for line in VALUES.read_text().splitlines():
        indent = len(line) - len(line.lstrip())
        if inside_text is not None and (not line.strip() or indent > inside_text):
            continue
        inside_text = None
        if said := re.match(r"\s*# -- (.*)", line):
            comment = said.group(1)
            continue
        key = re.match(r"\s*([A-Za-z]+):(.*)", line)
        if not key:
            continue
        path = path[: indent // 2] + [key.group(1)]
        if comment:
            found.append((".".join(path), comment))
            comment = None
            inside_text = indent
        else:
            holds(key.group(2).strip() == "", f"values.yaml: {'.'.join(path)} has no comment")
    values = yaml.safe_load(VALUES.read_text())
    for dotted, said in found:
        value = values
        for name in dotted.split("."):
            value = value[name]
        yield dotted, value, said
