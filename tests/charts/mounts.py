"""What a Pod's volumes hold, written to a folder as the kubelet writes it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from checks import holds
from policy import contents, environment

# Of Secrets that users bring.
KEYS = {"account-1": "0000000000000000000000000000c001", "account-2": "0000000000000000000000000000c002"}
BROUGHT = {
    "keys.toml": "".join(f'[[key]]\nname = "{name}"\nvalue = "{value}"\n' for name, value in KEYS.items()),
    "tenants.toml": '[[tenant]]\nname = "alice"\ntoken = "0000000000000000000000000000d001"\n',
    "sidekey.toml": "",
    "admin-token": "0000000000000000000000000000e001\n",
    "url": "redis://captcha-redis:6379",
}


def certificates(binary):
    """As a user makes them; the CA's own key is not for a Secret."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([binary, "cert", "--host", "2captcha.com", "--out", folder], check=True, capture_output=True)
        return {name: (Path(folder) / name).read_text() for name in ("cert.pem", "key.pem", "ca.pem")}


class Pod:
    """One rendered Pod on this machine: its paths are below `folder`."""

    def __init__(self, folder, pod, container, objects):
        self.folder, self.container = Path(folder), container
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        self.environment = {}
        for name, value in environment(container).items():
            if isinstance(value, dict):
                self.environment[name] = entries(objects, "Secret", value["secretKeyRef"]["name"])[value["secretKeyRef"]["key"]]
            else:
                self.environment[name] = self.here(value)
        for mount in container["volumeMounts"]:
            place = self.place(mount["mountPath"])
            files = self.files(volumes[mount["name"]], objects)
            if files is None:
                place.mkdir(parents=True)
            else:
                swap(place, files)

    def here(self, value):
        """Paths in the container, as paths of this machine."""
        return f"{self.folder}{value}" if value.startswith("/") else value

    def place(self, path):
        return self.folder / path.lstrip("/")

    def arguments(self):
        return [argument.replace("--config=/", f"--config={self.folder}/") for argument in self.container["args"]]

    def config(self):
        return next(argument for argument in self.arguments() if argument.startswith("--config="))

    def files(self, volume, objects):
        if "configMap" in volume:
            return entries(objects, "ConfigMap", volume["configMap"]["name"])
        if "secret" in volume or "csi" in volume:
            if "SIDEKEY_KEYS_DIR" in self.environment and volume["name"] == "sidekey-keys":
                return KEYS
            held = entries(objects, "Secret", volume["secret"]["secretName"])
            chosen = volume["secret"].get("items")
            return {item["path"]: held[item["key"]] for item in chosen} if chosen else held
        return None


def entries(objects, kind, name):
    """Of an object of the render, or of one that users bring: then a file of each kind."""
    found = [contents(one) for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found[0] if found else BROUGHT


def swap(place, files):
    """All steps of the kubelet's AtomicWriter, in its order."""
    place.mkdir(parents=True, exist_ok=True)
    data = place / "..data"
    old = data.resolve() if data.is_symlink() else None
    number = 1 + max((int(one.name.rpartition("_")[2]) for one in place.glob("..2026_*")), default=0)
    fresh = place / f"..2026_{number}"
    fresh.mkdir()
    for name, text in files.items():
        (fresh / name).write_text(text)
        (fresh / name).chmod(0o644)
    temporary = place / "..data_tmp"
    temporary.symlink_to(fresh.name)
    temporary.rename(data)
    for name in files:
        visible = place / name
        if not visible.is_symlink():
            visible.symlink_to(f"..data/{name}")
    for visible in place.iterdir():
        if not visible.name.startswith("..") and visible.name not in files:
            visible.unlink()
    if old:
        shutil.rmtree(old)
    holds(data.is_symlink(), f"{place} is not as the kubelet leaves it")
