"""Helm and Kustomize, called as users call them."""

import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

import tools
from checks import Failed

ROOT = tools.ROOT
CHART = ROOT / "helm/sidekey"
EXAMPLES = ROOT / "deploy/examples"
HELMS = ("3", "4")
# The oldest that the chart allows, the oldest with stable sidecars, the newest.
KUBES = ("1.29.0", "1.33.0", "1.37.0")
RELEASE = "r"


def helm(major, *arguments, folder=ROOT):
    """Its exit code and all that it said. Its caches are kept apart from the user's."""
    home = tools.PLACE / "helm-home"
    environment = os.environ | {f"HELM_{name}_HOME": str(home / name) for name in ("CACHE", "CONFIG", "DATA")}
    ran = subprocess.run([tools.helm(major), *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True)
    return ran.returncode, ran.stdout, ran.stderr


def template(major, chart, values=None, files=(), kube="1.33.0", release=RELEASE):
    """The text that a chart renders to. Values are given in a file: `--set` would hide what YAML makes of numbers."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values or {}, file)
        file.flush()
        options = [option for path in [*files, file.name] for option in ("--values", path)]
        code, out, err = helm(major, "template", release, chart, "--kube-version", kube, *options)
    if code:
        raise Failed(err)
    return out


def objects(text):
    return [one for one in yaml.safe_load_all(text) if one]


def example_chart(major, folder, name="chart"):
    """An example's chart with its dependency, in a copy that keeps the places relative to each other."""
    for part in ("helm/sidekey", f"deploy/examples/{name}"):
        (Path(folder) / part).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-rT", ROOT / part, Path(folder) / part], check=True)
    chart = Path(folder) / "deploy/examples" / name
    subprocess.run(["rm", "-rf", chart / "charts", chart / "Chart.lock"], check=True)
    code, _, err = helm(major, "dependency", "update", chart)
    if code:
        raise Failed(err)
    return chart


def kustomize(folder):
    ran = subprocess.run([tools.kubectl(), "kustomize", folder], capture_output=True, text=True)
    if ran.returncode:
        raise Failed(ran.stderr)
    return ran.stdout


def together(work, items):
    """In a few processes at a time, in order."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda item: work(*item), items))
