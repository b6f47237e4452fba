"""The manifests: valid objects of Kubernetes that say what the server does by itself."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml import config
from bentoml.config import Config
from bentoml.exceptions import InvalidArgument
from bentoml.kubernetes import Workload, inference_service, manifests, to_yaml
from bentoml.tag import Tag

TAG = Tag("credit_risk_classifier", "zy3dfgxzqkjrlgxi")


def configured(options: str = "") -> Config:
    return config.load(options=options).config


def workload(options: str = "", **given: Any) -> Workload:
    return Workload(**{"tag": TAG, "config": configured(options), **given})


def by_kind(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in objects}


def container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = by_kind(objects)["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return spec


def check(objects: list[dict[str, Any]]) -> None:
    """Every object fits the schema of Kubernetes, also after a way through YAML; unknown fields are errors."""
    read = list(yaml.safe_load_all(to_yaml(objects)))
    assert read == objects
    for each in read:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    "made",
    [
        workload(),
        workload(namespace="models", image="registry.example/team/credit:1", gpus=1, secret="keys", cpu="2500m"),
        workload(config_text="api_server: {http: {port: 8080}}\n", config_options="api_server.backlog=128"),
        workload("api_server.metrics.enabled=false"),
        workload(tag=Tag("2nd.model_" + "x" * 53, "v-1.0")),
    ],
)
def test_every_manifest_is_valid(made: Workload) -> None:
    check(manifests(made))


def test_the_objects_find_each_other() -> None:
    found = by_kind(manifests(workload(namespace="models")))
    assert list(found) == ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert "app.kubernetes.io/version" not in selector, "a new version is the same application"
    assert labels["app.kubernetes.io/version"] == TAG.version
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])
    assert "replicas" not in found["Deployment"]["spec"]
    assert {each["metadata"]["namespace"] for each in found.values()} == {"models"}


def test_the_pod_follows_the_settings_of_the_server() -> None:
    objects = manifests(workload("api_server.http.port=8080 api_server.shutdown_grace=45"))
    pod = by_kind(objects)["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 5 + 45 + 5
    assert container(objects)["ports"][0]["containerPort"] == 8080
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert container(objects)[probe]["httpGet"] == {"path": path, "port": 8080}
    annotations = by_kind(objects)["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == "8080"


def test_without_metrics_nobody_is_told_to_scrape_them() -> None:
    deployment = by_kind(manifests(workload("api_server.metrics.enabled=false")))["Deployment"]
    assert deployment["spec"]["template"]["metadata"]["annotations"] == {}


@pytest.mark.parametrize(
    ("cpu", "options", "workers"),
    [("1", "", "1"), ("500m", "", "1"), ("4", "", "4"), ("2500m", "", "2"), ("4", "api_server.workers=3", "3")],
)
def test_a_pod_starts_as_many_workers_as_it_has_cpus(cpu: str, options: str, workers: str) -> None:
    environment = {each["name"]: each["value"] for each in container(manifests(workload(options, cpu=cpu)))["env"]}
    assert environment["BENTOML_API_WORKERS"] == workers


def test_a_configuration_file_is_mounted_and_named() -> None:
    text = "api_server: {traffic: {timeout: 5}}\n"
    objects = manifests(workload(config_text=text))
    assert by_kind(objects)["ConfigMap"]["data"] == {"bentoml_configuration.yaml": text}
    own = container(objects)
    assert {"name": "BENTOML_CONFIG", "value": "/etc/bentoml/bentoml_configuration.yaml"} in own["env"]
    assert own["volumeMounts"][0]["mountPath"] == "/etc/bentoml"


def test_nothing_runs_as_root_or_may_become_it() -> None:
    objects = manifests(workload())
    pod = by_kind(objects)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container(objects)["securityContext"]["allowPrivilegeEscalation"] is False


def test_kserve_gets_the_same_pod() -> None:
    made = workload(secret="keys", config_text="version: 1\n")
    [config_map, service] = inference_service(made)
    assert config_map["kind"] == "ConfigMap"
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = service["spec"]["predictor"]
    # What KServe adds to a pod are four fields; the rest is a pod of Kubernetes.
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["scaleMetric"]) == (2, 10, "cpu")
    own = {**container(manifests(made)), "name": "kserve-container"}
    own["ports"] = [{**own["ports"][0], "name": "http1"}]
    assert predictor["containers"] == [own]
    fields = {key: value for key, value in predictor.items() if not key.startswith(("min", "max", "scale"))}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": service["metadata"], "spec": fields}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"namespace": "Models"}, "--namespace: 'Models' is no name of Kubernetes"),
        ({"secret": "a/b"}, "--secret: 'a/b' is no name of Kubernetes"),
        ({"cpu": "two"}, "--cpu: 'two' is no quantity of Kubernetes"),
        ({"cpu": "0"}, "--cpu: '0' is no quantity of Kubernetes"),
        ({"memory": "1 GB"}, "--memory: '1 GB' is no quantity of Kubernetes"),
        ({"image": "a image"}, "--image: 'a image' is no name of an image"),
        ({"min_replicas": 3, "max_replicas": 2}, "--replicas: from 3 to 2 pods is no range"),
        ({"tag": Tag("credit")}, "the tag credit has no version"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said.replace("(", r"\(")):
        workload(**given)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200), st.from_regex(r"[a-z0-9]([-._a-z0-9]{0,40}[a-z0-9])?", fullmatch=True))
def test_no_text_of_a_configuration_changes_the_objects(text: str, name: str) -> None:
    text = "".join(char for char in text if char.isprintable() or char == "\n")
    objects = manifests(workload(config_text=text, tag=Tag(name, "v1")))
    assert list(yaml.safe_load_all(to_yaml(objects))) == objects
    assert [each["kind"] for each in objects] == [
        "ConfigMap",
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    ]
