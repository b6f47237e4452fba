"""The example as a bento: built as it stands, shipped as a file to a machine without anything, and served there."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests import _server
from tests._server import Server, serving
from tests.conftest import EXAMPLE, Trained

#: The tree that the documentation promises; `*` stands for a version.
TREE = re.split(
    r"\s+",
    """README.md SHA256SUMS apis/openapi.yaml bento.yaml
env/docker/Dockerfile env/docker/entrypoint.sh
env/python/install.sh env/python/requirements.lock.txt env/python/requirements.txt env/python/version.txt
models/credit_risk_model/latest models/credit_risk_model/*/SHA256SUMS models/credit_risk_model/*/custom_objects.pkl
models/credit_risk_model/*/model.yaml models/credit_risk_model/*/saved_model.ubj
src/data.py src/locustfile.py src/service.py src/train.py""",
)


@pytest.fixture(scope="module")
def home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the trained model, apart from the one that other tests use."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(trained.home / "models", folder / "models")
    return folder


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, its packages not locked: that alone asks an index."""
    project = tmp_path_factory.mktemp("unlocked") / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    with (project / "bentofile.yaml").open("a") as file:
        file.write("  lock_packages: false\n")
    return project


def test_the_example_builds_as_it_stands_into_the_promised_tree(home: Path) -> None:
    done = _server.bentoml("build", "--version", "locked", folder=EXAMPLE, home=home)
    if re.search(r"index|network|dns", done.stderr, re.IGNORECASE) and done.returncode:
        pytest.skip(f"no package index can be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == 'Successfully built Bento(tag="credit_risk_classifier:locked")'
    assert "python.packages: sklearn is taken for scikit-learn, its name for pip" in done.stderr
    assert "not declared" not in done.stderr
    bento = home / "bentos/credit_risk_classifier/locked"
    assert [path for path in TREE if not list(bento.glob(path))] == []
    files = {path for path in bento.rglob("*") if path.is_file()}
    assert {path.relative_to(bento).as_posix() for path in files - {found for each in TREE for found in bento.glob(each)}} == {
        f"env/python/wheels/{wheel.name}" for wheel in (bento / "env/python/wheels").iterdir()
    }  # fmt: skip
    lock = (bento / "env/python/requirements.lock.txt").read_text()
    assert "scikit-learn==" in lock
    assert "--hash=sha256:" in lock


def test_an_exported_bento_answers_elsewhere_as_the_project_does(
    home: Path, unlocked: Path, example: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import data

    rows, _ = data.load()
    sys.modules.pop("data")
    for command in (["build", "--version", "v1"], ["export", "credit_risk_classifier:v1", str(tmp_path)]):
        done = _server.bentoml(*command, folder=unlocked, home=home)
        assert done.returncode == 0, done.stderr
    elsewhere = tmp_path / "elsewhere"
    archive = str(tmp_path / "credit_risk_classifier-v1.bento")
    refused = _server.bentoml("import", archive, folder=tmp_path, home=elsewhere)
    assert "`--trust`" in refused.stderr
    done = _server.bentoml("import", archive, "--trust", folder=tmp_path, home=elsewhere)
    assert done.stdout == 'Bento(tag="credit_risk_classifier:v1") imported\n'
    with serving("credit_risk_classifier", "--api-workers", "1", folder=tmp_path, home=elsewhere) as server:
        answers = server.post_all("/classify", rows[:300])
        assert {answer.status for answer in answers} == {200}
        assert [answer.value for answer in answers] == [
            each.value for each in example.post_all("/classify", rows[:300])
        ]
        assert server.get("/docs.json").value["info"]["version"] == "v1"
    assert not (elsewhere / "models").exists() or not any((elsewhere / "models").iterdir())
