"""The Helm chart: rendered by helm, valid for Kubernetes, with settings that exist, and wrong values refused."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from featurestore.settings import load_settings
from tests.deployment.programs import ROOT, run

CHART = ROOT / "deploy" / "helm" / "featurestore"
LEAST = {
    "catalog": {"type": "sql", "uri": "postgresql+psycopg2://featurestore@postgres:5432/featurestore", "s3.region": "eu-central-1"},
    "warehouse": "s3://lake/warehouse",
    "online": "redis://redis:6379/0",
    "secretName": "featurestore",
}
"""What must be set."""
MOST = {
    **LEAST,
    "image": {"repository": "example.com/featurestore", "digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
    "settings": {
        "oidc_issuer": "https://login.example.com",
        "oidc_audience": "features",
        "oidc_administrators": ["platform"],
        "predict_seconds": 2.5,
        "entities_limit": 20000,
        "allow_pickle": False,
        "prediction_log": "0.1",
    },
    "mlflowTrackingUri": "http://mlflow:5000",
    "mounts": [{"name": "sources", "path": "/sources", "configMap": "sources"}, {"name": "ca", "path": "/etc/ca", "secret": "ca"}],
    "allowedHosts": ["features.internal"],
    "ingress": {"enabled": True, "host": "features.example.com", "className": "nginx", "tlsSecret": "tls", "annotations": {"a": "b"}},
    "persistence": {"storageClass": "fast"},
    "autoscaling": {"enabled": True},
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {"matchLabels": {"role": "scorer"}}}]},
    "serviceAccount": {"annotations": {"cloud/role": "features"}},
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"pool": "features"},
    "tolerations": [{"key": "pool", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
"""Everything that a template asks for."""

Resources = dict[tuple[str, str], dict[str, Any]]


def rendered(folder: Path, values: dict[str, Any]) -> Resources:
    """The resources of a release called `fs` in the namespace `ml`, by kind and name. Raises: CalledProcessError with what helm says."""
    given = folder / "values.json"
    given.write_text(json.dumps(values))
    text = run("helm", "template", "fs", str(CHART), "--namespace", "ml", "--values", str(given))
    return {(document["kind"], document["metadata"]["name"]): document for document in yaml.safe_load_all(text) if document}


@pytest.fixture(scope="module", params=[LEAST, MOST], ids=["least", "most"])
def resources(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return rendered(tmp_path_factory.mktemp("chart"), request.param)


def pods(resources: Resources) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod of each resource that makes some, by the name of its container."""
    for (kind, _), document in resources.items():
        if kind in ("StatefulSet", "CronJob"):
            template = document["spec"]["template"] if kind == "StatefulSet" else document["spec"]["jobTemplate"]["spec"]["template"]
            (container,) = template["spec"]["containers"]
            yield container["name"], template["spec"]


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_helm_has_no_findings() -> None:
    run("helm", "lint", "--strict", str(CHART))


def test_resources_are_valid(resources: Resources) -> None:
    assert {kind for kind, _ in resources} >= {"StatefulSet", "Service", "ServiceAccount", "PodDisruptionBudget", "CronJob"}
    for document in resources.values():
        kubernetes_validate.validate(document, "1.33", strict=True)


def test_variables_are_settings(resources: Resources, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (server,) = (pod["containers"][0] for name, pod in pods(resources) if name == "server")
    variables = environment(server)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert {f"FEATURESTORE_{name.upper()}" for name in settings.model_fields_set} == set(variables)
    properties = settings.catalog_properties()
    assert (properties["type"], properties["s3.region"]) == ("sql", "eu-central-1")
    assert "fs-featurestore.ml.svc" in settings.allowed_hosts
    if settings.oidc_issuer is not None:
        assert (settings.predict_seconds, settings.entities_limit, settings.allow_pickle) == (2.5, 20000, False)
        assert "features.example.com" in settings.allowed_hosts


def test_every_pod_is_confined_and_has_the_secret_and_the_same_store(resources: Resources) -> None:
    stores = set()
    for name, pod in pods(resources):
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert container["envFrom"] == [{"secretRef": {"name": "featurestore"}}], name
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/data", "/tmp"}, name
        variables = environment(container)
        stores.add(tuple(variables[f"FEATURESTORE_{part}"] for part in ("CATALOG", "WAREHOUSE", "ONLINE")))
    assert len(stores) == 1


def test_probes_send_a_host_that_the_server_expects(resources: Resources) -> None:
    (server,) = (pod["containers"][0] for name, pod in pods(resources) if name == "server")
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = server[probe]["httpGet"]
        assert (asked["path"], asked["httpHeaders"]) == (path, [{"name": "Host", "value": "localhost"}])


@pytest.mark.parametrize(
    "values, message",
    [
        ({"catalog": {}}, "catalog: pods share the catalog"),
        ({"catalog": {"type": "sql", "uri": "sqlite:///x.db"}}, "catalog: pods share the catalog"),
        ({"warehouse": "/data"}, "warehouse: pods share the tables' files"),
        ({"online": "lmdb:///data/online"}, "online: LMDB is a folder of one pod"),
        ({"online": "", "secretName": ""}, "online: set it to an address of Redis"),
        ({"secretName": ""}, "secretName: the server asks for credentials"),
        ({"ingress": {"enabled": True}}, "ingress.host: set the name"),
        ({"replica": 3}, "replica"),
        ({"persistence": {"size": "much"}}, "persistence.size"),
        ({"mounts": [{"name": "a", "path": "/a"}]}, "mounts"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(tmp_path, {**LEAST, **values})
    assert message in refused.value.stderr
