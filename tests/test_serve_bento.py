"""A bento, served: by its tag, its folder, its archive; alone, with the models that it carries."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import _bentos, _server
from tests._server import sample, serving

WORKERS = {"BENTOML_CONFIG_OPTIONS": "api_server.workers=1 runners.placement=worker_process runners.resources.cpu=1"}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """payments-v1.bento; its project and the store that it was built from are gone."""
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        _bentos.save_rules()
        project = _bentos.write_project(folder / "project")
        _bentos.write(project, "bentoml_configuration.yaml", "api_server:\n  metrics:\n    namespace: mine\n")
        bento = _bentos.build(project, "v1", include=["*"])
        bento.export(folder / "payments-v1.bento")
    shutil.rmtree(project)
    shutil.rmtree(folder / "home")
    return folder / "payments-v1.bento"


@pytest.mark.parametrize("options", [{}, WORKERS], ids=["in_process", "worker_process"])
@pytest.mark.parametrize("how", ["tag", "folder", "archive", "inside"])
def test_a_bento_answers_from_what_it_carries(shipped: Path, tmp_path: Path, how: str, options: dict[str, str]) -> None:
    home = tmp_path / "home"
    extra = {"BENTOML_API_WORKERS": "1", **options}
    folder = tmp_path
    if how == "archive":
        identifier = str(shipped)
    else:
        assert _server.bentoml("import", str(shipped), "--trust", folder=tmp_path, home=home).returncode == 0
        identifier = {"tag": "payments:latest", "folder": str(home / "bentos/payments/v1"), "inside": "."}[how]
        folder = home / "bentos/payments/v1" if how == "inside" else tmp_path
    with serving(identifier, folder=folder, home=home, extra=extra) as server:
        assert server.post("/decide", [1.0, 2000.0]).value == ["rules:v1", "pay", "review"]
        document = server.get("/docs.json").value
        assert document["info"]["version"] == "v1"
        assert document["info"]["description"].startswith("# payments:v1\n")
        # Under the name of its own configuration file, and with its version.
        assert sample(server, "mine_request_total", service_version="v1", endpoint="/decide") == 1
        assert 'HTTP BentoServer from "payments:v1" running on' in server.log
        assert "runner rules (rules:v1" in server.log
    assert not list(home.rglob("__pycache__"))
    if how == "archive":
        assert not (home / "bentos").exists(), "nothing is saved"


def test_a_server_goes_on_with_its_bento_when_another_becomes_the_latest(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("BENTOML_HOME", str(home))
    assert _server.bentoml("import", str(shipped), "--trust", folder=tmp_path, home=home).returncode == 0
    with serving("payments", folder=tmp_path, home=home, extra={"BENTOML_API_WORKERS": "1"}) as server:
        _bentos.save_rules("v2")
        project = _bentos.write_project(tmp_path / "project")
        _bentos.build(project, "v2")
        (worker,) = server.workers("api_server")
        worker.kill()
        server.said("is ready again")
        assert server.post("/decide", []).value == ["rules:v1"]
        assert server.get("/docs.json").value["info"]["version"] == "v1"


def test_an_archive_that_is_damaged_is_one_line_and_nothing_is_left(shipped: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.bento"
    broken.write_bytes(shipped.read_bytes()[:-100])
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = _server.bentoml("serve", str(broken), folder=tmp_path, home=tmp_path, extra={"TMPDIR": str(temporary)})
    assert done.returncode == 1
    assert f"Error: `serve` failed: the archive {broken} cannot be read: " in done.stderr
    assert list(temporary.iterdir()) == []
