"""The commands of docs/kubernetes.md that need no cluster, run with each Helm as a reader would."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import render
import tools
from checks import holds

MARK = "<!-- run: skip because tests/charts runs it"


def check_commands_of_the_document(_):
    text = (tools.ROOT / "docs/kubernetes.md").read_text()
    blocks = re.findall(re.escape(MARK) + r".*?-->\n```console\n(.*?)```", text, re.DOTALL)
    count = 0
    for major in render.HELMS:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "bin").mkdir()
            (place / "bin/helm").symlink_to(tools.helm(major))
            for part in ("helm", "deploy"):
                subprocess.run(["cp", "-r", tools.ROOT / part, place / part], check=True)
            environment = os.environ | {"PATH": f"{place}/bin:{tools.VENV}/bin:{os.environ['PATH']}", "HOME": folder}
            for block in blocks:
                for command, shown in steps(block):
                    count += 1
                    ran = subprocess.run(["bash", "-c", command], cwd=place, env=environment, capture_output=True, text=True)
                    said = ran.stdout + ran.stderr
                    holds(ran.returncode == 0, f"helm {major}: {command}: {said}")
                    at = 0
                    for line in shown:
                        at = said.find(line, at)
                        holds(at >= 0, f"helm {major}: {command}: not said: {line}\n{said}")
    holds(count >= 12, f"only {count} commands were found")
    return f"{count} commands, Helm {' and '.join(render.HELMS)}"


def steps(block):
    """Each command and the lines below it."""
    for part in re.split(r"(?m)^\$ ", block)[1:]:
        command, *shown = part.strip().splitlines()
        yield command, shown
