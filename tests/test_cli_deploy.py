"""`bentoml deploy`: manifests of a stored bento, with the configuration that this folder has."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from bentoml import bentos
from tests._cli import invoke

SERVICE = """
import bentoml
from bentoml.io import Text

svc = bentoml.Service("Greeter_2")


@svc.api(input=Text(), output=Text())
def greet(name):
    return f"Hello {name}"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one bento."""
    context = tmp_path_factory.mktemp("context")
    (context / "service.py").write_text(SERVICE)
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        bentos.build("service:svc", build_ctx=str(context), version="v1", python={"lock_packages": False})
    return home


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs; without a configuration of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_manifests_of_a_bento_are_written_to_the_terminal(home: Path) -> None:
    result = invoke("deploy", "kubernetes", "greeter_2", home=home)
    assert result.exit_code == 0, result.stderr
    objects = list(yaml.safe_load_all(result.stdout))
    assert [each["kind"] for each in objects] == [
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    ]
    for each in objects:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    assert objects[0]["metadata"]["name"] == "greeter-2"
    assert objects[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "greeter_2:v1"


def test_or_to_a_file_with_the_next_step(home: Path, folder: Path) -> None:
    result = invoke(
        "deploy", "kserve", "greeter_2:latest", "-o", "greeter.yaml", "--image", "hub.example/g:1", home=home
    )
    assert (result.exit_code, result.stdout) == (0, "Written to greeter.yaml. Next: kubectl apply -f greeter.yaml\n")
    [service] = yaml.safe_load_all((folder / "greeter.yaml").read_text())
    assert service["spec"]["predictor"]["containers"][0]["image"] == "hub.example/g:1"


def test_the_configuration_of_the_folder_goes_along_unexpanded(home: Path, folder: Path) -> None:
    text = 'api_server: {http: {port: 8080}, auth: {api_keys: ["${API_KEY}"]}}\n'
    (folder / "bentoml_configuration.yaml").write_text(text)
    result = invoke("deploy", "kubernetes", "greeter_2", "--secret", "keys", home=home, API_KEY="a-secret-key")
    assert result.exit_code == 0, result.stderr
    config_map, deployment, *_ = yaml.safe_load_all(result.stdout)
    assert config_map["data"] == {"bentoml_configuration.yaml": text}
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["ports"][0]["containerPort"] == 8080
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "a-secret-key" not in result.stdout


def test_keys_in_clear_text_are_refused(home: Path, folder: Path) -> None:
    (folder / "bentoml_configuration.yaml").write_text('api_server: {auth: {api_keys: ["a-secret-key"]}}\n')
    result = invoke("deploy", "kubernetes", "greeter_2", home=home)
    assert result.exit_code == 1
    assert "holds API keys in clear text, which everybody who may read a ConfigMap could read" in result.stderr
    assert "a-secret-key" not in result.stderr


def test_a_bento_that_is_not_there_is_named(home: Path) -> None:
    result = invoke("deploy", "kubernetes", "greter", home=home)
    assert result.exit_code == 1
    assert "greter" in result.stderr


def test_a_value_that_kubernetes_would_refuse_is_named(home: Path) -> None:
    result = invoke("deploy", "kubernetes", "greeter_2", "--cpu", "two", home=home)
    assert result.exit_code == 1
    assert "--cpu: 'two' is no quantity of Kubernetes (hint: such as 2 or 4Gi)" in result.stderr
