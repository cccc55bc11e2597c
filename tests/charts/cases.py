"""What is rendered, and what must hold of it."""

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import kubernetes_validate.utils
import yaml

import policy
import render
import tools
from checks import Failed, holds
from mounts import Pod, KEYS

# The schemas are a megabyte each, and read anew for every object.
kubernetes_validate.utils.schema_contents = functools.lru_cache(maxsize=None)(kubernetes_validate.utils.schema_contents)
SCHEMAS = [version for version in kubernetes_validate.utils.all_versions() if version.split(".")[:2] >= ["1", "30"]]
# Of operators; Kubernetes has no schema for them.
FOREIGN = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "ExternalSecret"}
GOLDEN = tools.HERE / "golden"
FILES = sorted((render.CHART / "ci").glob("*-values.yaml"))
REDIS = {"redis": {"existingSecret": "captcha-redis"}}

TRANSPARENT = {"hosts": ["2captcha.com"], "existingSecret": "captcha-tls"}
TRANSPARENT_NO_MORE = {"hosts": [], "existingSecret": "", "trustVariables": []}

# Beside those of helm/sidekey/ci.
GOOD = {
    "ports": {"listen": {"port": 80}, "admin": {"port": 9000}, "service": {"port": 80}, "keys": {"existingSecret": "k"}},
    "both-families": {"listen": {"ipFamilies": ["IPv6", "IPv4"]}, "keys": {"existingSecret": "k"}},
    "existing": {"existingConfigMap": "mine", "keys": {"existingSecret": "k", "secretKey": "keys.toml"}},
    "redis-by-url": {"replicaCount": 2, "redis": {"url": "redis://cache:6379/3"}, "keys": {"existingSecret": "k"}},
    "scaled-by-waiting": {**REDIS, "autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0, "targetWaitingSubmits": 3}},
    "claim-that-exists": {"state": {"claim": {"enabled": True, "existingClaim": "tasks"}}},
    "more-containers": {
        "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "extraEnvFrom": [{"configMapRef": {"name": "proxy"}}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    },
    "long-names": {"nameOverride": "n" * 50, "keys": {"existingSecret": "k"}, "grafanaDashboard": {"enabled": True}},
    "none-with-redis": {**REDIS, "mode": "none", "keys": {"existingSecret": "k"}, "prometheusRule": {"enabled": True}},
    "none-transparent": {"mode": "none", "keys": {"existingSecret": "k"}, "transparent": TRANSPARENT},
    "parent": {"global": {"region": "eu"}, "enabled": True},
    "rolled": {"rollOnConfigChange": False, "rollOnKeysChange": True, "keys": {"inline": f'[[key]]\nname="a"\nvalue="{KEYS["account-1"]}"\n'}},
}
LONG = {"long-names": "release-of-fifty-three-characters-which-is-the-longest"[:53]}

# Values, and a text of the message. That of the schema differs between Helms, so only the name is looked for.
WRONG = [
    ({"replicaCount": 3}, "several replicas must share their state"),
    ({"autoscaling": {"enabled": True}}, "several replicas must share their state"),
    ({"keys": {"inline": "x", "existingSecret": "k"}}, "keys.inline: keys.existingSecret or keys.volume is set"),
    ({"keys": {"volume": {"csi": {}}, "existingSecret": "k"}}, "keys.volume: keys.existingSecret is set"),
    ({"keys": {"inline": "x", "directory": True}}, "keys.directory: keys.inline is one file"),
    ({"tenants": {"inline": "x", "existingSecret": "k"}}, "tenants.inline: tenants.existingSecret is set"),
    ({"admin": {"inline": "x", "existingSecret": "k"}}, "admin.inline: admin.existingSecret is set"),
    ({"redis": {"url": "redis://a:1", "existingSecret": "k"}}, "redis.url: redis.existingSecret is set"),
    ({"redis": {"url": "redis://user:word@a:1"}}, "redis.url: it holds a password"),
    ({"admin": {"port": 8080}}, "admin.port: it is listen.port"),
    ({**REDIS, "state": {"claim": {"enabled": True}}}, "state.claim.enabled: the state is in Redis"),
    ({"podDisruptionBudget": {"enabled": True}}, "podDisruptionBudget.enabled: with one replica"),
    ({**REDIS, "autoscaling": {"enabled": True, "minReplicas": 11}}, "autoscaling.minReplicas: it is above"),
    ({**REDIS, "autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}, "there is nothing to scale by"),
    ({"lingerSeconds": 20}, "terminationGracePeriodSeconds: it must hold"),
    ({"mode": "none", **REDIS, "autoscaling": {"enabled": True}}, "autoscaling.enabled: with mode none"),
    ({"mode": "none", "podDisruptionBudget": {"enabled": True}}, "podDisruptionBudget.enabled: with mode none"),
    ({"mode": "none", "networkPolicy": {"enabled": True}}, "networkPolicy.enabled: with mode none"),
    ({"mode": "none", "serviceMonitor": {"enabled": True}}, "serviceMonitor.enabled: with mode none"),
    ({"mode": "none", "state": {"claim": {"enabled": True}}}, "state.claim.enabled: the state of a sidecar"),
    ({"mode": "none", "podMonitor": {"enabled": True}}, "podMonitor.matchLabels: with mode none"),
    ({"mode": "none", "transparent": {"hosts": ["2captcha.com"]}}, "transparent.existingSecret: hosts are set"),
    ({"mode": "none", "transparent": {"existingSecret": "t"}}, "transparent.hosts: say which hosts"),
    ({"mode": "none", "transparent": {"trustVariables": ["SSL_CERT_FILE"]}}, "transparent.hosts: say which hosts"),
    ({"mode": "none", "listen": {"port": 443}, "transparent": TRANSPARENT}, "transparent.port: it is listen.port"),
    ({"mode": "none", "admin": {"port": 443}, "transparent": TRANSPARENT}, "transparent.port: it is listen.port or admin.port"),
    ({"transparent": TRANSPARENT}, "transparent.hosts: a host can lead to Sidekey in its own Pod only"),
    ({"transparent": {"hosts": ["https://2captcha.com"]}}, "hosts"),
    ({"transparent": {"hosts": ["*.2captcha.com"]}}, "hosts"),
    ({"transparent": {"trustVariables": ["NODE EXTRA"]}}, "trustVariables"),
    ({"mode": "sidecar"}, "mode"),
    ({"keyz": {}}, "keyz"),
    ({"keys": {"existingSecert": "k"}}, "existingSecert"),
    ({"keys": {"existingSecret": "Not_A_Name"}}, "existingSecret"),
    ({"keys": {"inline": 12345}}, "inline"),
    ({"config": {"listen": {"max_connections": 8080}}}, "config"),
    ({"image": {"tag": "latest"}}, "tag"),
    ({"image": {"digest": "sha256:12"}}, "digest"),
    ({"extraVolumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "a"}]}, "subPath"),
    ({"listen": {"ipFamilies": []}}, "ipFamilies"),
    ({"listen": {"port": 0}}, "port"),
    ({"service": {"type": "ExternalName"}}, "type"),
    ({"state": {"claim": {"accessModes": ["ReadWriteMany"]}}}, "accessModes"),
    ({"sidecar": {"resources": {"requests": None}}}, "requests"),
    ({"podMonitor": {"interval": 30}}, "interval"),
]


@functools.cache
def renders():
    """All that is rendered, by name: the chart over values, Helms and Kubernetes versions, and what users copy."""
    jobs = {}
    for major in render.HELMS:
        for kube in render.KUBES:
            for file in FILES:
                jobs[f"{file.stem} helm {major} kubernetes {kube}"] = (major, render.CHART, {}, (file,), kube)
            for name, values in GOOD.items():
                release = LONG.get(name, render.RELEASE)
                jobs[f"{name} helm {major} kubernetes {kube}"] = (major, render.CHART, values, (), kube, release)
    texts = render.together(render.template, jobs.values())
    found = {name: render.objects(text) for name, text in zip(jobs, texts)}
    for major in render.HELMS:
        with tempfile.TemporaryDirectory() as folder:
            found |= {f"{name} helm {major}": render.objects(text) for name, text in applications(major, folder).items()}
    for file in sorted(render.EXAMPLES.glob("*.yaml")):
        if file.name != "compose.yaml":
            found[f"examples/{file.name}"] = render.objects(file.read_text())
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        with tempfile.TemporaryDirectory() as folder:
            found[f"component on a {kind}"] = render.objects(on_a(kind, folder))
    for example in ("kustomize", "kustomize-transparent"):
        found[f"examples/{example}"] = render.objects(render.kustomize(render.EXAMPLES / example))
    return found


def applications(major, folder):
    """Charts of users that include the sidecar."""
    chart = render.example_chart(major, folder)
    found = {"application": render.template(major, chart)}
    more = {"listen": {"port": 8081}, "admin": {"port": 9191}, "keys": {"existingSecret": "captcha-keys"}, **REDIS,
            "tenants": {"existingSecret": "t"}, "admin": {"existingSecret": "a", "port": 9191},
            "sidecar": {"readinessProbe": True}, "datadog": {"enabled": True}, "podAnnotations": {"example.com/a": "b"}}  # fmt: skip
    found["application with everything"] = render.template(major, chart, {"sidekey": more})
    transparent = render.example_chart(major, folder, "chart-transparent")
    found["application in transparent mode"] = render.template(major, transparent)
    several = {"hosts": ["2captcha.com", "api.2captcha.com"], "port": 8443, "trustVariables": ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]}
    both = {"transparent": several, "listen": {"ipFamilies": ["IPv6", "IPv4"]}}
    found["application in transparent mode above port 1024"] = render.template(major, transparent, {"sidekey": both})
    lowest = {"listen": {"port": 80}, "admin": {"port": 81}}
    found["application in transparent mode with ports below"] = render.template(major, transparent, {"sidekey": lowest})
    high = {**lowest, "transparent": {"port": 8443}}
    found["application in transparent mode with http below"] = render.template(major, transparent, {"sidekey": high})
    found["application that is transparent no more"] = render.template(major, transparent, {"sidekey": {"transparent": TRANSPARENT_NO_MORE}})
    # Under another name.
    definition, template = chart / "Chart.yaml", chart / "templates/deployment.yaml"
    definition.write_text(definition.read_text().replace("  - name: sidekey\n", "  - name: sidekey\n    alias: captcha\n"))
    template.write_text(template.read_text().replace(".Subcharts.sidekey", ".Subcharts.captcha"))
    values = chart / "values.yaml"
    values.write_text(values.read_text().replace("sidekey:\n", "captcha:\n", 1))
    code, _, err = render.helm(major, "dependency", "update", chart)
    holds(code == 0, err)
    found["application with an alias"] = render.template(major, chart)
    return found


def on_a(kind, folder):
    """The component on other workloads than that of the example."""
    app = yaml.safe_load((render.EXAMPLES / "kustomize/deployment.yaml").read_text())
    app["kind"] = kind
    if kind == "Job":
        app["apiVersion"] = "batch/v1"
        del app["spec"]["selector"]
        app["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    if kind == "StatefulSet":
        app["spec"]["serviceName"] = "shop"
    (Path(folder) / "app.yaml").write_text(json.dumps(app))
    component = os.path.relpath(tools.ROOT / "deploy/kustomize/sidecar", Path(folder).resolve())
    (Path(folder) / "kustomization.yaml").write_text(json.dumps({"resources": ["app.yaml"], "components": [component]}))
    return render.kustomize(folder)


def check_lint(_):
    for major in render.HELMS:
        for file in FILES:
            code, out, err = render.helm(major, "lint", "--strict", render.CHART, "--values", file)
            holds(code == 0, f"helm {major}, {file.name}: {out}{err}")
    return f"{len(FILES)} values, Helm {' and '.join(render.HELMS)}"


def check_rules_of_our_own(_):
    count = 0
    for name, objects in renders().items():
        found = policy.judge(name, objects)
        wants = not ("library" in name or "none" in name or "keys-file" in name)
        holds(bool(found) == wants, f"{name}: {found} Sidekeys were found")
        count += found
    holds(count >= 40, f"only {count} were found")
    return f"{count} Sidekeys in {len(renders())} renders"


def check_the_rules_see_what_they_forbid(_):
    def mistake(of, said, mistaken):
        objects = json.loads(json.dumps(renders()[of]))
        pod = policy.pod_of(next(one for one in objects if one["kind"] == "Deployment"))
        env = {entry["name"]: entry for entry in policy.sidekey_of(pod)["env"]}
        mistaken(pod, policy.sidekey_of(pod), env)
        try:
            policy.judge(of, objects)
        except Failed as failed:
            return holds(said in str(failed), failed)
        raise Failed(f"not noticed: {said}")

    app, fixed = "examples/sidecar-deployment.yaml", "application in transparent mode helm 4"
    mistake(app, "not the first", lambda pod, own, env: pod["initContainers"].insert(0, pod["containers"].pop() | {"name": "migrate"}))
    mistake(app, "not a native sidecar", lambda pod, own, env: own.pop("restartPolicy"))
    mistake(app, "subPath", lambda pod, own, env: own["volumeMounts"][1].update(subPath="keys.toml"))
    mistake(app, "its root can be written", lambda pod, own, env: own["securityContext"].pop("readOnlyRootFilesystem"))
    mistake(app, "spends its keys", lambda pod, own, env: env["SIDEKEY_LISTEN__HTTP"].update(value="0.0.0.0:8080"))
    mistake(fixed, "spends its keys", lambda pod, own, env: env["SIDEKEY_LISTEN__HTTPS"].update(value="0.0.0.0:443"))
    mistake(fixed, "it would call itself", lambda pod, own, env: env["SIDEKEY_VENDOR__RESOLVER"].update(value="system"))
    mistake(fixed, "may not listen on 443", lambda pod, own, env: pod["securityContext"].pop("sysctls"))
    mistake(fixed, "may not listen on 80,", lambda pod, own, env: env["SIDEKEY_LISTEN__HTTP"].update(value="127.0.0.1:80"))
    mistake(fixed, "has the private key", lambda pod, own, env: pod["containers"][0]["volumeMounts"][0].update(name="sidekey-tls"))


def check_templates_of_transparent_mode_beside_entries_of_the_users_own(_):
    """Above and below each. Without hosts these are all that is left."""
    own = {
        "sidekey.hostAliases": {"ip": "192.0.2.1", "hostnames": ["printer"]},
        "sidekey.sysctls": {"name": "net.ipv4.tcp_syncookies", "value": "1"},
        "sidekey.clientEnv": {"name": "MINE", "value": "1"},
        "sidekey.clientVolumeMounts": {"name": "mine", "mountPath": "/mine"},
    }
    for major in render.HELMS:
        with tempfile.TemporaryDirectory() as folder:
            chart = render.example_chart(major, folder, "chart-transparent")
            template = chart / "templates/deployment.yaml"
            text = template.read_text()
            for name, entry in own.items():
                entry = f"- {json.dumps(entry)}\n"
                text, count = re.subn(rf'(?m)^( *)(\{{\{{- include "{name}" .*\n)', lambda it: f"{it[1]}{entry}{it[0]}{it[1]}{entry}", text)
                holds(count == 1, f"the example has {name} {count} times")
            template.write_text(text)
            on, off = (render.objects(render.template(major, chart, values)) for values in ({}, {"sidekey": {"transparent": TRANSPARENT_NO_MORE}}))
        for objects, more in ((on, 1), (off, 0)):
            pod = policy.pod_of(next(one for one in objects if one["kind"] == "Deployment"))
            client = pod["containers"][0]
            lists = [pod["hostAliases"], pod["securityContext"]["sysctls"], client["env"], client["volumeMounts"]]
            for (name, entry), found in zip(own.items(), lists):
                holds(found.count(entry) == 2, f"helm {major}, {name}: {found}")
                added = [one for one in found if one != entry and one.get("name") != "PAUSE_S"]
                holds(len(added) == more, f"helm {major}, {name}: {found}")


def check_schemas_of_kubernetes(_):
    """Strict: a misspelt name is an error."""
    seen = set()
    for name, objects in renders().items():
        for one in objects:
            text = json.dumps(one, sort_keys=True)
            if one["kind"] in FOREIGN or text in seen:
                continue
            seen.add(text)
            for version in SCHEMAS:
                try:
                    kubernetes_validate.utils.validate(one, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    raise Failed(f"{name}, Kubernetes {version}: {one['kind']}: {error.message}") from error
    holds(len(SCHEMAS) >= 8, f"only {SCHEMAS}")
    misspelt = next(one for one in renders()["examples/sidecar-deployment.yaml"] if one["kind"] == "Deployment")
    misspelt = json.loads(json.dumps(misspelt).replace("livenessProbe", "livenesProbe"))
    try:
        kubernetes_validate.utils.validate(misspelt, SCHEMAS[-1], strict=True)
    except kubernetes_validate.ValidationError:
        return f"{len(seen)} objects, Kubernetes {SCHEMAS[0]} to {SCHEMAS[-1]}"
    raise Failed("a misspelt name was not noticed")


def check_both_helms_render_the_same(_):
    for name, objects in renders().items():
        if " helm 3" in name:
            other = renders()[name.replace(" helm 3", " helm 4")]
            holds(sorted(map(json.dumps, objects)) == sorted(map(json.dumps, other)), f"{name}: Helm 4 renders something else")


def check_wrong_values_are_refused(_):
    jobs = [(major, values, said) for major in render.HELMS for values, said in WRONG]

    def refuse(major, values, said):
        try:
            render.template(major, render.CHART, values)
        except Failed as failed:
            return holds(said in str(failed), f"helm {major}, {values}: {failed}")
        raise Failed(f"helm {major} takes {values}")

    render.together(refuse, jobs)
    return f"{len(jobs)}"


def check_versions_of_kubernetes(_):
    for major in render.HELMS:
        render.template(major, render.CHART, kube="v1.29.3-gke.100")
        try:
            render.template(major, render.CHART, kube="1.28.15")
        except Failed as failed:
            holds("1.28.15" in str(failed), failed)
        else:
            raise Failed(f"helm {major} installs on 1.28, where there are no sidecars")


def check_the_archive(_):
    with tempfile.TemporaryDirectory() as folder:
        for major in render.HELMS:
            code, out, err = render.helm(major, "package", render.CHART, "--destination", folder)
            holds(code == 0, out + err)
            archive = out.strip().rpartition(": ")[2]
            ha = next(file for file in FILES if file.stem == "ha-values")
            packed = render.objects(render.template(major, archive, files=(ha,)))
            holds(packed == render.objects(render.template(major, render.CHART, files=(ha,))), f"helm {major}: the archive renders something else")


def check_the_settings(binary):
    """Each sidekey.toml, keys and tenants that a render mounts, and each variable that it sets, as `sidekey check` sees them."""
    seen = set()
    for name, objects in renders().items():
        for one in objects:
            pod = policy.pod_of(one) if one["kind"] in policy.WORKLOADS else None
            container = pod and policy.sidekey_of(pod)
            text = container and json.dumps([container, objects], sort_keys=True)
            if not container or text in seen or "vault" in name:
                continue
            seen.add(text)
            with tempfile.TemporaryDirectory() as folder:
                here = Pod(folder, pod, container, objects)
                ran = subprocess.run([binary, "check", here.config(), "--format=json"], env=here.environment, capture_output=True, text=True)
                said = json.loads(ran.stdout)
                holds(ran.returncode == 0, f"{name}: {ran.stdout}{ran.stderr}")
                warnings = [found for found in said["findings"] if found["severity"] == "warning" and not expected(found, here)]
                holds(not warnings, f"{name}: {warnings}")
    holds(len(seen) >= 25, f"only {len(seen)} were checked")
    return f"{len(seen)} Pods"


def expected(warning, here):
    """Probes must reach the admin port, and without a token nothing else answers there. Who names no keys has none."""
    keyless = not any(name.startswith("SIDEKEY_KEYS_") for name in here.environment)
    allowed = ["without `token_file` only probes and metrics answer there"] + ["no keys: every call will be refused"] * keyless
    return warning["message"] in allowed


def check_another_version_keeps_selectors_and_pods(_):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(render.CHART, f"{folder}/sidekey")
        definition = f"{folder}/sidekey/Chart.yaml"
        text = open(definition).read()
        open(definition, "w").write(re.sub(r"(?m)^version: .*", "version: 9.9.9", text))
        for file in FILES:
            old, new = (render.objects(render.template("4", chart, files=(file,))) for chart in (render.CHART, f"{folder}/sidekey"))
            holds(old != new, "the version is nowhere")
            templates = [[one["spec"] for one in objects if one["kind"] == "Deployment"] for objects in (old, new)]
            holds(templates[0] == templates[1], f"{file.name}: another version of the chart rolls the Pods")


def golden():
    files = {file.stem.removesuffix("-values"): file for file in FILES}
    with tempfile.TemporaryDirectory() as folder:
        yield "sidecar", render.template("4", render.example_chart("4", folder))
        yield "transparent", render.template("4", render.example_chart("4", folder, "chart-transparent"))
    yield "default", render.template("4", render.CHART, files=(files["default"],))
    # The rules and the board are files of their own.
    off = {"prometheusRule": {"enabled": False}, "grafanaDashboard": {"enabled": False}}
    yield "ha", render.template("4", render.CHART, off, files=(files["ha"],))


def write_golden():
    GOLDEN.mkdir(exist_ok=True)
    for name, text in golden():
        (GOLDEN / f"{name}.yaml").write_text(text)


def check_golden_renders(_):
    for name, text in golden():
        kept = (GOLDEN / f"{name}.yaml").read_text()
        holds(kept == text, f"{name} renders something else; if that is right: tests/charts/run --write")


def check_copies_and_versions(_):
    """What stands in two places is the same in both."""
    for copy, original in {"alerts.yaml": "deploy/prometheus/alerts.yaml", "dashboard.json": "deploy/grafana/sidekey.json"}.items():
        holds((render.CHART / "files" / copy).read_bytes() == (tools.ROOT / original).read_bytes(), f"helm/sidekey/files/{copy} is not {original}: copy it")
    version = re.search(r'(?m)^version = "(.*)"', (tools.ROOT / "Cargo.toml").read_text()).group(1)
    chart = yaml.safe_load((render.CHART / "Chart.yaml").read_text())
    holds(chart["appVersion"] == version, f"appVersion is {chart['appVersion']}, the program {version}")
    for name, objects in renders().items():
        for one in objects:
            for container in policy.containers(policy.pod_of(one)) if one["kind"] in policy.WORKLOADS else []:
                image = container["image"].split("@")[0]
                holds("sidekey/sidekey" not in image or image.endswith(f":{version}"), f"{name}: {image} is not {version}")
    compose = yaml.safe_load((render.EXAMPLES / "compose.yaml").read_text())
    holds(compose["services"]["sidekey"]["image"].endswith(f":{version}"), "compose.yaml has another version")


def check_notes(_):
    """What is said after an install, and that it holds no secret. Helm shows notes only where there is a cluster."""
    first_try = next(file for file in FILES if file.stem == "first-try-values")
    library = {"mode": "none", "keys": {"existingSecret": "k"}}
    cases = {"default": ({}, ()), "first try": ({}, (first_try,)), "library": (library, ()),
             "transparent": ({**library, "transparent": TRANSPARENT}, ())}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder) / "sidekey"
        shutil.copytree(render.CHART, chart)
        notes = (chart / "templates/NOTES.txt").read_text()
        shown = 'apiVersion: v1\nkind: Notes\nmetadata: {name: notes}\ntext: {{ include "notes" . | quote }}\n'
        (chart / "templates/notes.yaml").write_text(f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}{shown}')
        for major in render.HELMS:
            said = {}
            for name, (values, files) in cases.items():
                rendered = render.objects(render.template(major, chart, values, files))
                said[name] = next(one["text"] for one in rendered if one["kind"] == "Notes")
            holds("There are no keys yet" in said["default"], f"helm {major}: {said['default']}")
            holds("WARNING: keys.inline" in said["first try"], f"helm {major}: {said['first try']}")
            holds("00000000" not in said["first try"], f"helm {major}: a secret in the notes")
            holds('include "sidekey.sidecar" .Subcharts.sidekey' in said["library"], f"helm {major}: {said['library']}")
            holds("sidekey cert" not in said["library"], f"helm {major}: {said['library']}")
            holds("sidekey cert --host 2captcha.com" in said["transparent"], f"helm {major}: {said['transparent']}")
