"""The Helm chart, rendered by the real helm: objects that Kubernetes knows, restricted pods, and a gate that starts so."""

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from broker import config
from broker.background import MARK_SECONDS
from broker.wiring.watching import SEND_SECONDS
from tests.parts import ROOT, missing, require

CHART = ROOT / "deploy" / "helm" / "wicketgate"
OPA = ROOT / "deploy" / "opa"
SETS = ("least", "whole", "single")
KUBERNETES = "1.34.0"
SWAGGER = ROOT / ".parts" / "kubernetes-swagger.json"
COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
Object = dict[str, Any]


def helm(*arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run helm without anybody's settings."""
    home = ROOT / ".parts" / "helm-home"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": "/dev/null"}
    return subprocess.run(
        [require("helm"), *arguments], env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def given(values: str) -> list[str]:
    """What a person passes: the least, what is over it, and the gate's configuration as a file."""
    chosen = ["-f", str(CHART / "ci" / "least-values.yaml"), "-f", str(CHART / "ci" / f"{values}-values.yaml")]
    return [*chosen, "--set-file", f"config={CHART / 'ci' / 'config.toml'}", "--kube-version", KUBERNETES]


@functools.cache
def rendered(values: str) -> tuple[Object, ...]:
    done = helm("template", "gate", str(CHART), "-n", "wicketgate", *given(values))
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def kinds(values: str, kind: str) -> list[Object]:
    return [one for one in rendered(values) if one["kind"] == kind]


def pods(values: str) -> Iterator[Object]:
    for one in (*kinds(values, "Deployment"), *kinds(values, "Job")):
        yield one["spec"]["template"]["spec"]


def gate(values: str) -> Object:
    (deployment,) = kinds(values, "Deployment")
    return next(one for one in deployment["spec"]["template"]["spec"]["containers"] if one["name"] == "gate")


@pytest.mark.parametrize("values", SETS)
def test_helm_finds_nothing_to_complain_of(values: str) -> None:
    done = helm("lint", "--strict", str(CHART), *given(values))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@functools.cache
def _definitions() -> Mapping[str, Any]:
    """Kubernetes' own OpenAPI definitions, with unknown fields refused."""
    if not SWAGGER.exists():
        missing("Kubernetes' OpenAPI", "`make parts` takes it from the module that helm is built of")
    definitions = json.loads(SWAGGER.read_text())["definitions"]
    for one in definitions.values():
        if "properties" in one and "additionalProperties" not in one:
            one["additionalProperties"] = False
        if one.get("format") == "int-or-string":
            one["type"] = ["integer", "string"]
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] = ["string", "integer"]
    return dict(definitions)


@pytest.mark.parametrize("values", SETS)
def test_every_object_is_one_that_kubernetes_knows_field_by_field(values: str) -> None:
    definitions = _definitions()
    by_kind = {
        (kind["group"], kind["version"], kind["kind"]): name
        for name, one in definitions.items()
        for kind in one.get("x-kubernetes-group-version-kind", ())
    }
    for one in rendered(values):
        if one["kind"] == "ServiceMonitor":
            continue  # of the Prometheus operator
        group, _, version = one["apiVersion"].rpartition("/")
        name = by_kind[group, version, one["kind"]]
        schema = {"$ref": f"#/definitions/{name}", "definitions": definitions}
        jsonschema.Draft4Validator(schema).validate(one)
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", one["metadata"]["name"])
    broken = json.loads(json.dumps(kinds(values, "Deployment")[0]))
    broken["spec"]["template"]["spec"]["containers"][0]["privilegedd"] = True
    deployment = {"$ref": f"#/definitions/{by_kind['apps', 'v1', 'Deployment']}", "definitions": definitions}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(deployment).validate(broken)


VOLUMES = {"configMap", "emptyDir", "secret", "persistentVolumeClaim", "projected", "downwardAPI", "csi", "ephemeral"}
"""What the profile "restricted" of the Pod Security Standards allows."""


@pytest.mark.parametrize("values", SETS)
def test_every_pod_is_restricted_and_writes_to_its_volumes_alone(values: str) -> None:
    for pod in pods(values):
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is (values == "whole" and len(pod["containers"]) > 1)
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= VOLUMES, volume
        for one in (*pod["containers"], *pod.get("initContainers", ())):
            context = one["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context.get("runAsUser", pod["securityContext"]["runAsUser"]) > 0
            assert "privileged" not in context
            assert not [port for port in one.get("ports", ()) if "hostPort" in port]
            assert {"requests", "limits"} <= set(one["resources"])
            mounted = {mount["name"] for mount in one["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in pod["volumes"]}


def read(values: str) -> config.Settings:
    """The rendered configuration as the gate in the pod reads it."""
    (configured,) = kinds(values, "ConfigMap")
    environment = {one["name"]: str(one.get("value", "")) for one in gate(values)["env"]}
    environment = {name: text.replace("$(POD_IP)", "10.9.8.7") for name, text in environment.items()}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as toml:
        toml.write(configured["data"]["wicketgate.toml"])
        toml.flush()
        return config.load(Path(toml.name), environment)


@pytest.mark.parametrize("values", SETS)
def test_the_gates_own_reader_takes_the_configuration_with_the_pods_environment(values: str) -> None:
    told = read(values)
    assert told.url == "https://gate.example"
    assert told.store.url == "postgresql+psycopg://gate@postgres.data.svc:5432/gate"
    assert (told.policy.engine, told.policy.opa_socket) == ("opa", "/run/opa/opa.sock")
    # By name, by OPA in the pod, by the kubelet and Prometheus, and by the Service.
    hosts = {"gate.example", "127.0.0.1:8480", "10.9.8.7:8480", "gate-wicketgate.wicketgate.svc:8480"}
    assert hosts <= set(told.gate.allowed_hosts)
    mounts = {one["mountPath"] for one in gate(values)["volumeMounts"]}
    named = [told.gate.data, told.policy.bundle, told.policy.bundle_token_file, *told.policy.signers.values()]
    named += [
        Path(str(one.settings["credential_file"])) for one in told.connectors if "credential_file" in one.settings
    ]
    for path in named:
        assert path is not None
        assert any(str(path) == mount or str(path).startswith(mount + "/") for mount in mounts), path


def test_opa_runs_as_compose_runs_it_on_the_same_files() -> None:
    assert (CHART / "files" / "opa.yaml").read_bytes() == (OPA / "opa.yaml").read_bytes()
    assert (CHART / "files" / "authz.rego").read_bytes() == (OPA / "authz" / "authz.rego").read_bytes()
    (deployment,) = kinds("least", "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    opa = next(one for one in pod["containers"] if one["name"] == "opa")
    assert opa["args"] == COMPOSE["services"]["opa"]["command"]
    assert opa["image"] == COMPOSE["services"]["opa"]["image"]
    assert {one["name"] for one in opa["env"]} == set(COMPOSE["services"]["opa"]["environment"])
    assert not opa.get("ports"), "a socket, and no port"
    pem = next(one["value"] for one in opa["env"] if one["name"] == "POLICY_PUBLIC_KEY")
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\\n")
    assert pem.endswith("\\n")
    assert "\n" not in pem
    socket = {one["name"]: one for one in pod["volumes"]}["opa-socket"]
    assert socket["emptyDir"]["medium"] == "Memory"
    for one in pod["containers"]:
        assert "/run/opa" in {mount["mountPath"] for mount in one["volumeMounts"]}


def test_a_pod_that_ends_has_time_to_finish_what_it_began() -> None:
    (deployment,) = kinds("least", "Deployment")
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    told = read("least").gate
    assert told.stop_notice_seconds == 5, "the gate itself waits until nobody sends here"
    assert grace >= told.stop_notice_seconds + told.stop_seconds_max + MARK_SECONDS + SEND_SECONDS
    assert [one["kind"] for one in rendered("single") if one["kind"] == "PodDisruptionBudget"] == []
    (budget,) = kinds("least", "PodDisruptionBudget")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("values", "more", "how"),
    [
        ("least", (), "RollingUpdate"),
        ("whole", (), "RollingUpdate"),
        ("single", (), "Recreate"),
        ("single", ("data.accessModes={ReadWriteOncePod}",), "Recreate"),
        ("single", ("data.accessModes={ReadWriteOnce,ReadWriteMany}",), "RollingUpdate"),
        ("single", ("data.accessModes={ReadWriteMany}", "data.claim=kept-by-us"), "Recreate"),
    ],
)
def test_one_replica_lets_go_of_its_volume_before_the_next_one_starts(
    values: str, more: tuple[str, ...], how: str
) -> None:
    sets = [word for one in more for word in ("--set", one)]
    done = helm("template", "gate", str(CHART), "--show-only", "templates/deployment.yaml", *given(values), *sets)
    strategy = yaml.safe_load(done.stdout)["spec"]["strategy"]
    assert strategy["type"] == how
    assert strategy.get("rollingUpdate") == ({"maxUnavailable": 0, "maxSurge": 1} if how == "RollingUpdate" else None)


def test_the_job_migrates_with_what_it_is_given_and_before_the_gate_starts() -> None:
    (job,) = kinds("least", "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in pod, "the release's own does not exist yet"
    (container,) = pod["containers"]
    assert container["args"][0] == "migrate"
    assert {one["name"] for one in container["env"]} == {"WICKETGATE_STORE_URL", "PGPASSWORD"}
    assert kinds("single", "Job") == []


MAKERS = {"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"}


def selected(pod: Object, values: str) -> Iterator[Object]:
    """What the chart's network policies in the release's own namespace say of a pod of these labels."""
    for one in kinds(values, "NetworkPolicy"):
        chosen = one["spec"]["podSelector"]
        assert set(chosen) <= {"matchLabels"}, "nothing here reads expressions"
        if "namespace" not in one["metadata"] and chosen.get("matchLabels", {}).items() <= pod["labels"].items():
            yield one


@pytest.mark.parametrize("values", SETS)
def test_every_pod_reaches_what_is_named_and_nothing_else(values: str) -> None:
    made = {one["metadata"]["name"]: one for one in rendered(values) if one["kind"] in MAKERS}
    for name, one in made.items():
        assert one["kind"] in {"Deployment", "Job"}, "its template stands elsewhere"
        (policy,) = selected(one["spec"]["template"]["metadata"], values)
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"], name
        assert all(rule["to"] and rule["ports"] for rule in policy["spec"]["egress"]), name
    assert set(made) == {"gate-wicketgate"} | ({"gate-wicketgate-migrate"} if values != "single" else set())
    own = next(selected(made["gate-wicketgate"]["spec"]["template"]["metadata"], values))["spec"]
    assert (own["ingress"] == []) is (values == "least")
    assert len(own["egress"]) == {"least": 2, "whole": 3, "single": 2}[values], (
        "DNS and the database, and what is named"
    )


@pytest.mark.parametrize("values", ["least", "whole"])
def test_the_migration_reaches_dns_and_the_database_alone_from_its_first_moment(values: str) -> None:
    (job,) = kinds(values, "Job")
    (policy,) = selected(job["spec"]["template"]["metadata"], values)
    assert policy["spec"]["ingress"] == []
    dns, database = policy["spec"]["egress"]
    assert {one["port"] for one in dns["ports"]} == {53}
    assert [one["port"] for one in database["ports"]] == [5432]
    hooks = policy["metadata"]["annotations"]
    assert hooks["helm.sh/hook"] == job["metadata"]["annotations"]["helm.sh/hook"]
    assert int(hooks["helm.sh/hook-weight"]) < int(job["metadata"]["annotations"].get("helm.sh/hook-weight", 0))
    assert hooks["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded", (
        "a Job that helm gave up on may go on"
    )


def test_the_gate_is_the_only_way_out_of_the_agents_namespaces() -> None:
    policies = [one for one in kinds("whole", "NetworkPolicy") if "namespace" in one["metadata"]]
    closed = {one["metadata"]["namespace"]: one["spec"] for one in policies}
    assert set(closed) == {"agents", "coding-agents"}
    (deployment,) = kinds("whole", "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for spec in closed.values():
        assert spec["policyTypes"] == ["Egress"]
        dns, out = spec["egress"]
        assert {one["port"] for one in dns["ports"]} == {53}
        (peer,) = out["to"]
        assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "wicketgate"}
        assert peer["podSelector"]["matchLabels"].items() <= labels.items()
        assert out["ports"] == [{"protocol": "TCP", "port": 8480}]
    behind = kinds("single", "NetworkPolicy")[1]["spec"]["egress"][1]
    assert behind["to"][0]["podSelector"]["matchLabels"] == {"app": "front-proxy"}
    assert behind["ports"] == [{"protocol": "TCP", "port": 8443}]


def test_no_value_of_a_secret_is_rendered() -> None:
    for values in SETS:
        assert kinds(values, "Secret") == []
        for pod in pods(values):
            for container in pod["containers"]:
                for one in container["env"]:
                    assert not re.search(r"PASSWORD|TOKEN$|SECRET", one["name"]) or "valueFrom" in one, one["name"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("url=http://gate.example", "url"),
        ("database.url=postgresql+psycopg://gate:hunter2@db/gate", "database"),
        ("replicas=0", "replicas"),
        ("opa.image=openpolicyagent/opa:1.20.0", "opa"),
        ("drain.finish=0", "drain"),
        ("nonsense=1", "nonsense"),
        ("secrets.name=", "secrets"),
        ("data.accessModes={ReadWriteOnce}", "ReadWriteMany"),
        ("networkPolicy.database=null", "networkPolicy.database"),
        ("networkPolicy.database[0].to=null", "networkPolicy"),
    ],
)
def test_values_that_would_not_hold_are_refused_by_name(wrong: str, named: str) -> None:
    done = helm("template", "gate", str(CHART), *given("least"), "--set", wrong)
    assert done.returncode != 0
    assert named in done.stderr


def test_the_chart_ships_what_it_needs_and_nothing_beside(tmp_path: Path) -> None:
    copy = tmp_path / "wicketgate"
    shutil.copytree(CHART, copy)
    done = helm("package", str(copy), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.search(r"wicketgate-\d+\.\d+\.\d+\.tgz", done.stdout)
