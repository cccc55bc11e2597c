"""A running Sidekey with what was rendered, and what the kubelet does to it."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import policy
import render
from cases import FILES
from checks import holds
from mounts import KEYS, Pod, certificates, swap

ALL = {f"account-{n}": f"0000000000000000000000000000c00{n}" for n in range(1, 6)}
PATIENCE_S = 60
# In a mount namespace of its own: $1 is mounted over $2, as subPath does, then the rest runs.
MOUNTED = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


def check_keys_are_replaced_twice_beside_an_application(binary):
    """A Secret with a keys file, in the sidecar of the example's chart. Event-driven watches are deaf from the second swap on."""
    with tempfile.TemporaryDirectory() as folder:
        objects = render.objects(render.template("4", render.example_chart("4", folder)))
    with running(binary, objects) as sidekey:
        place = sidekey.pod.place("/etc/sidekey/keys")
        sidekey.wait_for_keys(KEYS)
        for names in (["account-2", "account-3"], ["account-4", "account-5"]):
            swap(place, {"keys.toml": keys_file(names)})
            sidekey.wait_for_keys(names)
            sidekey.wait_for_submits_by(names)
        holds(sidekey.metric('sidekey_config_file_static{file="%s/keys.toml"}' % place) == 0, "a directory is taken for a subPath mount")


def check_keys_are_replaced_twice_in_a_directory(binary):
    """One file a key, as CSI drivers and External Secrets write them, in the chart's own Deployment."""
    with running(binary, of_chart("csi")) as sidekey:
        place = sidekey.pod.place("/etc/sidekey/keys")
        sidekey.wait_for_keys(KEYS)
        for names in (["account-2", "account-3"], ["account-4"]):
            swap(place, {name: ALL[name] + "\n" for name in names})
            sidekey.wait_for_keys(names)
            sidekey.wait_for_submits_by(names)


def check_a_fixed_https_host_leads_to_sidekey(binary):
    """What the client's container is given makes it call Sidekey and trust it, over two renewals of the certificate."""
    with tempfile.TemporaryDirectory() as folder:
        objects = render.objects(render.template("4", render.example_chart("4", folder, "chart-transparent")))
    with running(binary, objects) as sidekey, tempfile.TemporaryDirectory() as folder:
        pod = policy.pod_of(next(one for one in objects if one["kind"] == "Deployment"))
        client = Pod(folder, pod, pod["containers"][0], objects)
        host, place = pod["hostAliases"][0]["hostnames"][0], sidekey.pod.place("/etc/sidekey/tls")
        trusted = Path(client.environment["CURL_CA_BUNDLE"])
        call = lambda: asked(host, sidekey.tls, trusted, "/in.php?key=any&method=userrecaptcha&googlekey=k&pageurl=http://a")
        sidekey.until(lambda: call()[1].startswith("OK|"), "a client's submit is taken")
        for _ in range(2):
            fresh = certificates(binary)
            swap(place, {name: fresh[name] for name in ("cert.pem", "key.pem")})
            swap(trusted.parent, {"ca.pem": fresh["ca.pem"]})
            # The shown one is first, before those that it is signed by.
            sidekey.until(lambda: (shown := call()[0]) and fresh["cert.pem"].startswith(shown), "the renewed certificate is served")


def check_a_bad_config_map_leaves_the_last_good_one(binary):
    with running(binary, of_chart("default")) as sidekey:
        place = sidekey.pod.place("/etc/sidekey/config")
        good = "sidekey_config_last_reload_successful"
        sidekey.until(lambda: sidekey.metric(good) == 1, "the first configuration is good")
        swap(place, {"sidekey.toml": '[poll]\npaces = "2s"\n'})
        sidekey.until(lambda: sidekey.metric(good) == 0, "a bad one is noticed")
        holds(sidekey.probe("readinessProbe") == 200, "a bad file makes it unready")
        swap(place, {"sidekey.toml": '[poll]\npace = "3s"\n'})
        sidekey.until(lambda: sidekey.metric(good) == 1, "the next good one is taken")


def check_a_file_mounted_by_subpath_is_said(binary):
    """What the chart never does, but users do."""
    if not may_mount():
        return "NOT RUN: mount namespaces are not allowed here"
    with running(binary, of_chart("first-try"), by_itself="/etc/sidekey/keys/keys.toml") as sidekey:
        file = sidekey.pod.place("/etc/sidekey/keys/keys.toml")
        holds(sidekey.metric(f'sidekey_config_file_static{{file="{file}"}}') == 1, "the metric does not say it")
        holds("subPath" in sidekey.said(), "the log does not say it")


def check_a_sidecar_ends_at_once_and_with_zero(binary):
    objects = render.objects((render.EXAMPLES / "sidecar-job.yaml").read_text())
    with running(binary, objects) as sidekey:
        sidekey.wait_for_keys(["account-1"])
        for probe in ("startupProbe", "livenessProbe"):
            holds(sidekey.probe(probe) == 200, f"{probe} fails")
        before = time.monotonic()
        sidekey.process.send_signal(signal.SIGTERM)
        holds(sidekey.process.wait(PATIENCE_S) == 0, f"it ended with {sidekey.process.returncode}")
        took = time.monotonic() - before
        holds(took < 5, f"idle, it needs {took:.1f} s to end: Jobs wait for it")


def check_a_service_serves_while_its_endpoints_go_away(binary):
    with running(binary, of_chart("default")) as sidekey:
        holds(sidekey.probe("readinessProbe") == 200, "it is not ready")
        sidekey.process.send_signal(signal.SIGTERM)
        sidekey.until(lambda: sidekey.probe("readinessProbe") == 503, "it says that it goes")
        holds(sidekey.probe("livenessProbe") == 200, "the kubelet would kill it while it drains")
        answer = sidekey.get(f"http://127.0.0.1:{sidekey.data}/res.php?key=any&action=getbalance")
        holds(answer[0] == 200, f"clients are not served any more: {answer}")
        holds(sidekey.process.wait(PATIENCE_S) == 0, f"it ended with {sidekey.process.returncode}")


def check_files_that_others_write(binary):
    """systemd's credentials, Compose's directory, and what External Secrets and Vault make of their templates."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        unit = (render.EXAMPLES / "sidekey.service").read_text()
        said = dict(line.split("=", 1) for line in re.findall(r"(?m)^Environment=(.*)", unit))
        (folder / "credentials").mkdir()
        credential = re.search(r"(?m)^LoadCredential=(\S+):", unit).group(1)
        private(folder / "credentials" / credential, keys_file(ALL))
        specifiers = {"%d": f"{folder}/credentials", "%S": str(folder)}
        said = {name: re.sub("%[dS]", lambda found: specifiers[found.group()], value) for name, value in said.items()}
        good(binary, folder, said, "sidekey.service")
        if shutil.which("systemd-analyze"):
            (folder / "sidekey.service").write_text(unit.replace("/usr/local/bin/sidekey", str(binary)))
            ran = subprocess.run(["systemd-analyze", "verify", folder / "sidekey.service"], capture_output=True, text=True)
            holds(ran.returncode == 0 and "sidekey.service" not in ran.stderr, ran.stderr)

        compose = render.objects((render.EXAMPLES / "compose.yaml").read_text())[0]["services"]["sidekey"]
        private(folder / "keys.toml", keys_file(ALL))
        good(binary, folder, {name: value for name, value in compose["environment"].items() if "PATH" not in name}, "compose.yaml")

        for name, kind in (("external-secrets-keys-file.yaml", "ExternalSecret"), ("vault-agent.yaml", "Deployment")):
            found = next(one for one in render.objects((render.EXAMPLES / name).read_text()) if one["kind"] == kind)
            if kind == "ExternalSecret":
                text = found["spec"]["target"]["template"]["data"]["keys.toml"]
            else:
                text = found["spec"]["template"]["metadata"]["annotations"]["vault.hashicorp.com/agent-inject-template-keys.toml"]
            values = iter(ALL.values())
            text = re.sub(r"\{\{ [\w.]+ \| toJ(son|SON) \}\}", lambda _: json.dumps(next(values)), text)
            text = re.sub(r"(?m)^\{\{-.*\}\}\n?", "", text)
            holds("{{" not in text and "[[key]]" in text, f"{name}: {text}")
            private(folder / "keys.toml", text)
            good(binary, folder, {}, name)


def may_mount():
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a", "b"):
            Path(folder, name).touch()
        return subprocess.run([*in_namespace(), f"{folder}/a", f"{folder}/b", "true"], capture_output=True).returncode == 0


def in_namespace():
    mine = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *mine, "--mount", "sh", "-c", MOUNTED, "sh"]


def of_chart(name):
    file = next(file for file in FILES if file.stem == f"{name}-values")
    return render.objects(render.template("4", render.CHART, files=(file,)))


def keys_file(names):
    return "".join(f'[[key]]\nname = "{name}"\nvalue = "{ALL[name]}"\n' for name in names)


def private(path, text):
    path.touch(mode=0o600)
    path.write_text(text)


def good(binary, folder, environment, name):
    (folder / "sidekey.toml").touch()
    command = [binary, "check", "--config", folder / "sidekey.toml", "--format", "json"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    said = json.loads(ran.stdout)
    found = [one for one in said["findings"] if one["severity"] != "hint"]
    holds(ran.returncode == 0 and not found, f"{name}: {found}{ran.stderr}")


@contextmanager
def running(binary, objects, by_itself=None):
    """The Sidekey of a render, with a vendor that knows all keys."""
    one = next(one for one in objects if one["kind"] in policy.WORKLOADS and policy.sidekey_of(policy.pod_of(one)))
    pod = policy.pod_of(one)
    with tempfile.TemporaryDirectory() as folder:
        here = Pod(f"{folder}/pod", pod, policy.sidekey_of(pod), objects)
        sandbox = Path(folder) / "sandbox.toml"
        keys = {**ALL, "of-the-example": "0123456789abcdef0123456789abcdef"}
        sandbox.write_text("".join(f'[[accounts]]\nname = "{name}"\nkey = "{key}"\nsolve_ms = 10\n' for name, key in keys.items()))
        vendor = free_port()
        command = [binary, "sandbox", "--config", sandbox, "--listen", f"127.0.0.1:{vendor}"]
        with open(f"{folder}/sandbox.log", "wb") as log:
            vendors = subprocess.Popen(command, stdout=log, stderr=log)
        sidekey = None
        try:
            sidekey = Sidekey(binary, here, vendor, Path(folder) / "sidekey.log", by_itself)
            yield sidekey
        finally:
            for process in (vendors, sidekey and sidekey.process):
                if process and process.poll() is None:
                    process.kill()
                    process.wait()


class Sidekey:
    def __init__(self, binary, pod, vendor, log, by_itself):
        self.pod, self.vendor, self.log, self.binary = pod, vendor, log, binary
        self.data, self.admin, self.tls = free_port(), free_port(), free_port()
        self.environment = pod.environment | {
            "SIDEKEY_LISTEN__HTTP": f"127.0.0.1:{self.data}",
            "SIDEKEY_ADMIN__LISTEN": f"0.0.0.0:{self.admin}",
            "SIDEKEY_VENDOR__URL": f"http://127.0.0.1:{vendor}",
            "SIDEKEY_VENDOR__ALLOW_PLAINTEXT": "true",
            "PATH": os.environ["PATH"],
        }
        if "SIDEKEY_LISTEN__HTTPS" in self.environment:
            self.environment["SIDEKEY_LISTEN__HTTPS"] = f"127.0.0.1:{self.tls}"
        command = [binary, *pod.arguments()]
        if by_itself:
            file = pod.place(by_itself)
            kept = log.parent / "kept"
            kept.write_text(file.read_text())
            shutil.rmtree(file.parent)
            file.parent.mkdir()
            file.touch()
            command = [*in_namespace(), kept, file, *command]
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)
        self.until(lambda: self.probe("startupProbe") == 200, "it starts")

    def probe(self, name):
        """As the kubelet asks."""
        path = self.pod.container.get(name, {"httpGet": {"path": "/readyz"}})["httpGet"]["path"]
        return self.get(f"http://127.0.0.1:{self.admin}{path}")[0]

    def metric(self, name):
        found = [line for line in self.get(f"http://127.0.0.1:{self.admin}/metrics")[1].splitlines() if line.startswith(name + " ")]
        return float(found[0].split()[1]) if found else None

    def wait_for_keys(self, names):
        """`sidekey status` shows them, healthy, and no others but those that end."""

        def shown():
            # As `kubectl exec` runs it: the container's variables say where the admin port is.
            ran = subprocess.run([self.binary, "status"], env=self.environment, cwd=self.pod.folder, capture_output=True, text=True)
            lines = [line for line in ran.stdout.splitlines() if line.startswith("account-") and "draining" not in line]
            healthy = {line.split()[0] for line in lines if "healthy" in line}
            return healthy == set(names) and len(lines) == len(healthy)

        self.until(shown, f"status shows {sorted(names)}")

    def wait_for_submits_by(self, names):
        """Each of them, and nobody else, takes what clients submit."""
        for _ in range(2 * len(names) + 2):
            answer = self.get(f"http://127.0.0.1:{self.data}/in.php?key=any&method=userrecaptcha&googlekey=k&pageurl=http://a")
            holds(answer[1].startswith("OK|"), f"a submit is answered {answer}")
        calls = json.loads(self.get(f"http://127.0.0.1:{self.vendor}/sandbox/record?limit=100000")[1])["calls"]
        submits = [call["account"] for call in calls if call["endpoint"] == "in.php"]
        took = set(submits[-2 * len(names) - 2 :])
        holds(took == set(names), f"{sorted(took)} took submits, not {sorted(names)}")

    def until(self, true, what):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if true():
                return
            time.sleep(0.1)
        holds(False, f"{what}: never came true\n{self.said()[-3000:]}")

    def said(self):
        return self.log.read_text(errors="replace")

    @staticmethod
    def get(url):
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return None, str(error)


def asked(host, port, trusted, path):
    """Over TLS for that host: the certificate that is shown, and the answer. Neither where it is not trusted."""
    try:
        context = ssl.create_default_context(cafile=trusted)
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10), server_hostname=host) as stream:
            shown = ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True))
            stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return shown, stream.makefile().read().rpartition("\n")[2]
    except OSError:
        return "", ""


def free_port():
    """None twice: who was given one may not listen yet."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if port not in GIVEN:
            GIVEN.add(port)
            return port


GIVEN = set()
