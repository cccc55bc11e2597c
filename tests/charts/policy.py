"""Our rules for what is rendered, whoever rendered it."""

import base64

import yaml

from checks import holds

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"}
STABLE_LABELS = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app", "slot"}


def judge(name, objects):
    """Every rule about one render. Returns how many Sidekeys are in it."""
    count = 0
    no_subpath(name, objects)
    names_fit(name, objects)
    no_secret_outside_secrets(name, objects)
    selectors(name, objects)
    replicas(name, objects)
    for one in objects:
        if one["kind"] not in WORKLOADS:
            continue
        pod = pod_of(one)
        for container in containers(pod):
            secured(f"{name}: {container['name']}", container)
        found = sidekey_of(pod)
        if not found:
            continue
        count += 1
        what = f"{name}: {one['kind']} {one['metadata']['name']}"
        probes(what, pod, found)
        addresses(what, pod, found)
        mounts(what, pod, found)
        transparent(what, pod, found)
        stopping(what, pod, found)
        image(what, found)
        if not is_sidecar(pod):
            holds(pod["automountServiceAccountToken"] is False, f"{what}: it gets a token for the API server")
            holds(pod["enableServiceLinks"] is False, f"{what}: Services put variables into it")
    return count


def pod_of(one):
    return one["spec"] if one["kind"] == "Pod" else one["spec"]["template"]["spec"]


def labels_of(one):
    return (one if one["kind"] == "Pod" else one["spec"]["template"])["metadata"].get("labels", {})


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def sidekey_of(pod):
    found = [container for container in containers(pod) if container["name"] == "sidekey"]
    holds(len(found) <= 1, "a Pod has two Sidekeys")
    return found[0] if found else None


def is_sidecar(pod):
    return any(container["name"] == "sidekey" for container in pod.get("initContainers", []))


def environment(container):
    """Values by name; what comes from a Secret as the reference."""
    names = [entry["name"] for entry in container["env"]]
    holds(len(names) == len(set(names)), f"a name stands twice in {names}: Helm 4 refuses that")
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def no_subpath(name, objects):
    def walk(value):
        if isinstance(value, dict):
            holds(not {"subPath", "subPathExpr"} & value.keys(), f"{name}: subPath, which never changes: {value}")
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(objects)


def names_fit(name, objects):
    for one in objects:
        own = one["metadata"]["name"]
        holds(len(own) <= 63, f"{name}: {own} has more than 63 characters")
        for key, value in {**one["metadata"].get("labels", {}), **(labels_of(one) if one["kind"] in WORKLOADS else {})}.items():
            holds(len(value) <= 63, f"{name}: label {key} of {own} has more than 63 characters")
    same = [(one["kind"], one["metadata"]["name"]) for one in objects]
    holds(len(same) == len(set(same)), f"{name}: an object is there twice: {same}")


def no_secret_outside_secrets(name, objects):
    """What Secrets hold stands nowhere else, neither as it is nor in base64."""
    secret = set()
    for one in objects:
        if one["kind"] == "Secret":
            for text in contents(one).values():
                secret |= {word.strip('"') for word in text.split() if len(word.strip('"')) >= 20}
    rest = yaml.safe_dump([one for one in objects if one["kind"] != "Secret"], width=1_000_000)
    for text in secret:
        holds(text not in rest, f"{name}: a secret text stands outside of Secrets")
        holds(base64.b64encode(text.encode()).decode() not in rest, f"{name}: a secret text stands outside of Secrets, in base64")


def contents(one):
    """Entries of a Secret or a ConfigMap."""
    decoded = {key: base64.b64decode(value).decode() for key, value in one.get("data", {}).items()} if one["kind"] == "Secret" else one.get("data", {})
    return decoded | one.get("stringData", {})


def selectors(name, objects):
    workloads = [one for one in objects if one["kind"] in WORKLOADS]
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet", "DaemonSet"):
            wanted = one["spec"]["selector"]["matchLabels"]
            holds(wanted.keys() <= STABLE_LABELS, f"{name}: {sorted(wanted)} may change, and a selector cannot")
            holds(wanted.items() <= labels_of(one).items(), f"{name}: {one['metadata']['name']} does not select its own Pods")
            holds("helm.sh/chart" not in labels_of(one), f"{name}: every version of the chart would roll the Pods")
        elif one["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            spec = one["spec"]
            wanted = spec["podSelector"]["matchLabels"] if "podSelector" in spec else spec["selector"]
            wanted = wanted.get("matchLabels", wanted)
            found = [other for other in workloads if wanted.items() <= labels_of(other).items()]
            holds(len(found) == 1, f"{name}: {one['kind']} {one['metadata']['name']} selects {[other['metadata']['name'] for other in found]}")
            ports = {port["name"] for container in containers(pod_of(found[0])) for port in container.get("ports", [])}
            targets = {port.get("targetPort", port["name"]) for port in spec.get("ports", [])}
            holds(targets <= ports, f"{name}: {one['metadata']['name']} wants the ports {targets} of {ports}")


def replicas(name, objects):
    scaled = [one["spec"]["scaleTargetRef"]["name"] for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    for one in objects:
        if one["kind"] == "Deployment" and one["metadata"]["name"] in scaled:
            holds("replicas" not in one["spec"], f"{name}: replicas stands beside an autoscaler")
            scaled.remove(one["metadata"]["name"])
    holds(not scaled, f"{name}: an autoscaler scales nothing: {scaled}")


def secured(what, container):
    """The Pod Security Standard `restricted`, and requests, without which autoscaling of the application fails."""
    said = container.get("securityContext", {})
    holds(said.get("allowPrivilegeEscalation") is False, f"{what}: may gain rights")
    holds(said.get("runAsNonRoot") is True and said.get("runAsUser") != 0, f"{what}: may be root")
    holds(said.get("capabilities") == {"drop": ["ALL"]}, f"{what}: capabilities {said.get('capabilities')}")
    holds(said.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{what}: no seccomp profile")
    holds(said.get("readOnlyRootFilesystem") is True, f"{what}: its root can be written")
    resources = container.get("resources", {})
    holds({"cpu", "memory"} <= resources.get("requests", {}).keys(), f"{what}: requests {resources}")
    holds("memory" in resources.get("limits", {}), f"{what}: no limit of memory")


def probes(what, pod, container):
    admin = {port["name"]: port["containerPort"] for port in container["ports"]}["sk-admin"]
    listen = environment(container)["SIDEKEY_ADMIN__LISTEN"].split(",")
    holds(all(address.endswith(f":{admin}") for address in listen), f"{what}: sk-admin is {admin}, the admin port {listen}")
    for probe, path in (("startupProbe", "/startupz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        if probe == "readinessProbe" and is_sidecar(pod) and probe not in container:
            continue
        holds(container[probe]["httpGet"] == {"path": path, "port": "sk-admin"}, f"{what}: {probe} asks {container[probe]}")
    holds(all(len(port["name"]) <= 15 for port in container["ports"]), f"{what}: a port's name is too long")


def addresses(what, pod, container):
    listen = environment(container)["SIDEKEY_LISTEN__HTTP"].split(",")
    declared = {port["name"]: port["containerPort"] for port in container["ports"]}
    if is_sidecar(pod):
        holds(pod["initContainers"][0]["name"] == "sidekey", f"{what}: Sidekey is not the first init container")
        holds(container.get("restartPolicy") == "Always", f"{what}: not a native sidecar")
        loopback = all(address.startswith(("127.0.0.1:", "[::1]:")) for address in listen)
        holds(loopback, f"{what}: whoever reaches the Pod spends its keys: {listen}")
        holds("http" not in declared, f"{what}: the port for clients is declared, but only the Pod reaches it")
    else:
        holds("restartPolicy" not in container, f"{what}: a container cannot have a restartPolicy")
        holds(all(address.endswith(f":{declared['http']}") for address in listen), f"{what}: http is {declared}, it listens on {listen}")


def mounts(what, pod, container):
    volumes = [volume["name"] for volume in pod["volumes"]]
    holds(len(volumes) == len(set(volumes)), f"{what}: a volume stands twice in {volumes}")
    places = {}
    for mount in container["volumeMounts"]:
        holds(mount["name"] in volumes, f"{what}: there is no volume {mount['name']}")
        places[mount["mountPath"]] = mount
    said = environment(container)
    config = next(argument.removeprefix("--config=") for argument in container["args"] if argument.startswith("--config="))
    files = {"config": config, **{name: value for name, value in said.items() if name.endswith(("_FILE", "_DIR", "__PATH", "__TLS_CERT", "__TLS_KEY"))}}
    for name, path in files.items():
        place = next((place for place in places if path == place or path.startswith(place + "/")), None)
        if place is None and by_webhook(pod, container, path):
            continue
        holds(place, f"{what}: {name} is {path}, which is on no volume of {sorted(places)}")
        written = name == "SIDEKEY_STATE__PATH"
        holds(places[place].get("readOnly", False) is not written, f"{what}: {place} is written, or should not be")


def by_webhook(pod, container, path):
    """Vault's webhook mounts its own volume; annotations say so, and the example's own test looks at them."""
    return path.startswith("/etc/sidekey/keys/") and "sidekey-keys" not in [volume["name"] for volume in pod["volumes"]]


def transparent(what, pod, container):
    """A client's own https host leads to Sidekey, and Sidekey's calls lead past that."""
    said = environment(container)
    files = {volume["name"]: {item["path"] for item in volume.get("secret", {}).get("items", [])} for volume in pod["volumes"]}
    others = [other for other in containers(pod) if other is not container]
    if "SIDEKEY_LISTEN__HTTPS" not in said:
        holds(not pod.get("hostAliases"), f"{what}: hosts lead to Sidekey, which has no TLS: {pod.get('hostAliases')}")
        holds(not {"sidekey-tls", "sidekey-ca"} & files.keys(), f"{what}: certificates that nobody uses")
        return
    listen = [address.rpartition(":") for address in said["SIDEKEY_LISTEN__HTTPS"].split(",")]
    holds({host for host, _, _ in listen} <= {"127.0.0.1", "[::1]"}, f"{what}: whoever reaches the Pod spends its keys: {listen}")
    holds(said["SIDEKEY_VENDOR__RESOLVER"] == "dns", f"{what}: it would call itself")
    aliases = {alias["ip"]: alias["hostnames"] for alias in pod["hostAliases"]}
    holds(aliases.keys() == {host.strip("[]") for host, _, _ in listen} and all(aliases.values()), f"{what}: {aliases}, it listens on {listen}")
    # Of every address: where the runtime starts at 0, the setting takes the ports below it away.
    every = [said[f"SIDEKEY_{name}"].split(",") for name in ("LISTEN__HTTP", "LISTEN__HTTPS", "ADMIN__LISTEN")]
    port = min(int(address.rpartition(":")[2]) for address in sum(every, []))
    sysctls = {one["name"]: int(one["value"]) for one in (pod.get("securityContext") or {}).get("sysctls") or []}
    allowed = sysctls.get("net.ipv4.ip_unprivileged_port_start", 1024)
    holds(allowed <= port, f"{what}: who is not root may not listen on {port}, only from {allowed} on")
    holds("SSL_CERT_FILE" not in said, f"{what}: it would not trust the vendor any more")
    holds(files["sidekey-tls"] == {"cert.pem", "key.pem"} and files["sidekey-ca"] == {"ca.pem"}, f"{what}: {files}")
    trusting = []
    for other in others:
        places = {mount["name"]: mount["mountPath"] for mount in other.get("volumeMounts") or []}
        holds("sidekey-tls" not in places, f"{what}: {other['name']} has the private key")
        values = [entry.get("value") for entry in other.get("env") or []]
        trusting += [other["name"]] if f"{places.get('sidekey-ca')}/ca.pem" in values else []
    holds(trusting, f"{what}: no client trusts ca.pem")


def stopping(what, pod, container):
    holds("lifecycle" not in container, f"{what}: it needs no hook, it lingers by itself")
    linger = sum(int(argument.removeprefix("--linger=")) for argument in container["args"] if argument.startswith("--linger="))
    if is_sidecar(pod):
        holds(linger == 0, f"{what}: nobody calls a sidecar after SIGTERM, and others wait for it")
    else:
        holds(linger > 0, f"{what}: it stops serving before its endpoints are gone")
        holds(pod["terminationGracePeriodSeconds"] >= linger + 25, f"{what}: killed before it has drained")


def image(what, container):
    _, _, tag = container["image"].split("@")[0].rpartition("/")[2].partition(":")
    holds(tag and tag != "latest", f"{what}: {container['image']} may be any version")
