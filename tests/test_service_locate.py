"""What an identifier names: a module, a folder, a bento; and the loading of bentos."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import bentoml
from bentoml.exceptions import BentoMLException, ImportServiceError, NotFound
from bentoml.service.locate import locate
from bentoml.store import digests
from bentoml.store.bento import Bento
from bentoml.tag import Tag
from tests import _bentos


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bento]:
    """payments:v1, whose store has lost its model since."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        _bentos.save_rules()
        models = [{"tag": "rules:v1", "alias": "the-rules"}]
        yield _bentos.build(_bentos.write_project(folder / "project"), "v1", models=models)


@pytest.fixture(autouse=True)
def as_it_was(built: Bento, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    home = Path(built.path).parents[2]
    monkeypatch.setenv("BENTOML_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith((str(tmp_path), str(home))):
            del sys.modules[name]


@pytest.mark.parametrize(
    "identifier",
    ["payments", "payments:latest", "payments:v1", "payments:v", Tag("payments"), Tag("payments", "v1")],
)
def test_a_tag_is_a_bento_of_the_store(built: Bento, identifier: str | Tag) -> None:
    service = bentoml.load(identifier)
    assert (service.tag, service.bento) == (built.tag, built)
    assert service.working_dir == f"{built.path}/src"
    assert str(service) == f'bentoml.Service(tag="payments:v1", path="{built.path}")'
    assert service.openapi_spec["info"]["version"] == "v1"
    assert service.doc == built.doc


def test_a_bento_and_its_folder_may_be_named(built: Bento) -> None:
    assert bentoml.load(built).tag == built.tag
    assert bentoml.load(built.path).tag == built.tag
    assert bentoml.load(Path(built.path)).tag == built.tag
    assert bentoml.load(".", working_dir=built.path).tag == built.tag


def test_a_module_comes_before_a_tag(tmp_path: Path) -> None:
    _bentos.write(tmp_path, "payments.py", "import bentoml\nsvc = bentoml.Service('module')\n")
    assert bentoml.load("payments").name == "module"
    assert bentoml.load("payments:svc").name == "module"
    assert bentoml.load("payments:v1").name == "payments", "there is no variable v1"


def test_a_broken_module_is_not_hidden_by_a_bento_of_the_same_name(tmp_path: Path) -> None:
    _bentos.write(tmp_path, "payments.py", "1 / 0\n")
    with pytest.raises(ImportServiceError, match="ZeroDivisionError"):
        bentoml.load("payments")


def test_a_project_may_name_its_service_and_aliases_in_either_file(built: Bento, tmp_path: Path) -> None:
    _bentos.write_project(tmp_path / "yaml")
    text = 'service: "service.py:svc"\nmodels: [{tag: "rules:v1", alias: sorter}]\n'
    _bentos.write(tmp_path, "yaml/bentofile.yaml", text)
    _bentos.write_project(tmp_path / "toml")
    (tmp_path / "toml/bentofile.yaml").unlink()
    toml = '[tool.bentoml.build]\nservice = "service:svc"\n[[tool.bentoml.build.models]]\ntag = "rules"\nalias = "sorter"\n'
    _bentos.write(tmp_path, "toml/pyproject.toml", toml)
    for folder in ("yaml", "toml"):
        _bentos.write(tmp_path, f"{folder}/service.py", _bentos.SERVICE.replace("rules:latest", "sorter"))
        assert bentoml.load(tmp_path / folder).runners[0].models[0].tag == Tag("rules", "v1")
    with pytest.raises(NotFound):
        bentoml.models.get("sorter")


def test_what_is_neither_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        ImportServiceError, match=r"^there is no module 'nosuch' in .*, and no bento of that name in the store"
    ):
        bentoml.load("nosuch:v1")
    with pytest.raises(NotFound, match=r"^no bento 'nosuch:v1' in the store"):
        bentoml.load(Tag("nosuch", "v1"))


@pytest.mark.parametrize("identifier", ["../x", "a b", "payments:", ":", "Payments:v1", "payments:v1:x"])
def test_what_is_no_tag_is_not_looked_up(identifier: str) -> None:
    assert locate(identifier).bento is None


def test_a_service_in_a_bento_gets_the_models_of_the_bento(built: Bento) -> None:
    service = bentoml.load(built)
    assert service.runners[0].models[0].path == f"{built.path}/models/rules/v1"
    bentoml.models.delete("rules:v1")
    try:
        service = bentoml.load(built)
        service.runners[0].init_local(quiet=True)
        assert service.runners[0].decide.run([1.0, 2000.0]) == ["pay", "review"]
    finally:
        _bentos.save_rules()


def test_models_in_sight_are_the_bentos_first_then_the_stores(built: Bento) -> None:
    from bentoml.store import scope

    newer = _bentos.save_rules("v2")
    try:
        with scope.inside(built, keep=False):
            assert bentoml.models.get("rules:latest").tag.version == "v1"
            assert bentoml.models.get("the-rules").path == f"{built.path}/models/rules/v1"
            assert bentoml.models.get("rules:v2").path == newer.path
            assert [model.tag.version for model in bentoml.models.list("rules")] == ["v1", "v2"]
            assert bentoml.models.list("rules:v1")[0].path.startswith(built.path)
            with pytest.raises(
                NotFound, match=r"^no model 'nosuch' .*, and none in the bento payments:v1 \(hint: build"
            ):
                bentoml.models.get("nosuch")
            with pytest.raises(NotFound):
                bentoml.models.list("nosuch")
        assert bentoml.models.get("rules").tag.version == "v2"
        with pytest.raises(NotFound):
            bentoml.models.get("the-rules")
    finally:
        bentoml.models.delete("rules:v2")


def test_after_a_load_everything_is_as_it_was(built: Bento, tmp_path: Path) -> None:
    before = sys.dont_write_bytecode
    bentoml.load(built)
    assert os.getcwd() == str(tmp_path)
    assert sys.dont_write_bytecode is before
    assert bentoml.models.get("rules").path.startswith(os.environ["BENTOML_HOME"] + "/models")


def test_loading_leaves_no_file_in_the_bento(built: Bento, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    bentoml.load(built)
    digests.verify(Path(built.path))


@pytest.mark.parametrize(
    ("version", "warns"), [("0.0.1", False), ("999.0.0", True), ("999.0.0rc1", True), ("strange", False), ("", False)]
)
def test_a_bento_of_a_newer_version_is_loaded_with_a_warning(
    built: Bento, tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str, warns: bool
) -> None:
    copy = Path(built.export(tmp_path / "copy", "folder"))
    fields = msgspec.yaml.decode((copy / "bento.yaml").read_bytes())
    (copy / "bento.yaml").write_bytes(msgspec.yaml.encode({**fields, "bentoml_version": version}))
    assert bentoml.load(copy).name == "payments"
    assert any("is newer than" in message for message in caplog.messages) is warns
    (copy / "SHA256SUMS").unlink()
    caplog.clear()
    bentoml.load(copy)
    assert caplog.messages == [], "the versions of BentoML are others"


def test_a_folder_with_a_broken_record_is_refused(tmp_path: Path) -> None:
    _bentos.write(tmp_path, "bento.yaml", "name: x\n")
    with pytest.raises(BentoMLException, match=r"bento.yaml is not the record of a bento: .*`service`"):
        bentoml.load(".")
