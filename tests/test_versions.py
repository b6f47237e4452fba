"""The version check: a model whose framework or Python is another one than at its save."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bentoml import _versions, config, models
from bentoml._versions import Difference, check_versions, differences
from bentoml.exceptions import BentoMLException
from bentoml.store.model import Model

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    monkeypatch.setattr(_versions, "_warned", set())
    yield
    config.use(None)


def saved(*, xgboost: str = "1.6.2", python: str = f"{PYTHON}.1", name: str = "old") -> Model:
    """A model as another process left it in the store."""
    folder = config.home() / "models" / name / "abc"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(
        f"name: {name}\nversion: abc\nmodule: bentoml.xgboost\ncontext:\n  framework_name: xgboost\n"
        f"  framework_versions:\n    xgboost: {xgboost}\n  python_version: {python}\n"
        "api_version: v2\ncreation_time: '2022-10-03T10:11:12.345678+00:00'\n"
    )
    return models.get(f"{name}:abc")


def mode(value: str) -> None:
    config.use(config.load(options=f"models.version_check={value}"))


@pytest.mark.parametrize(
    ("versions", "here", "saved_python", "expected"),
    [
        ({"xgboost": "1.6.2"}, {"xgboost": "1.6.2"}, "3.11.9", []),
        ({"xgboost": "1.6.2"}, {"xgboost": "1.6.3"}, "3.11.9", ["xgboost"]),
        ({"xgboost": "1.6.2"}, {"xgboost": "1.6.2"}, "3.10.9", ["Python"]),
        ({"xgboost": "1.6.2"}, {"xgboost": "2.0.0"}, "3.1.9", ["xgboost", "Python"]),
        ({"xgboost": "1.6.2"}, {}, "", []),
        ({}, {"xgboost": "1.6.2"}, "3.11", []),
    ],
)
def test_frameworks_are_compared_exactly_and_python_by_its_minor_version(
    versions: dict[str, str], here: dict[str, str], saved_python: str, expected: list[str]
) -> None:
    found = differences(versions, here, saved_python=saved_python, python=(3, 11))
    assert [difference.name for difference in found] == expected


def test_a_difference_says_what_brings_the_old_version_back() -> None:
    assert differences({"scikit-learn": "1.1"}, {"scikit-learn": "1.9"}, saved_python="3.9.1", python=(3, 11)) == [
        Difference("scikit-learn", "1.1", "1.9", "pip install scikit-learn==1.1"),
        Difference("Python", "3.9", "3.11", "use Python 3.9"),
    ]


def test_the_warning_names_both_versions_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    check_versions(saved(python="3.7.3"), {"xgboost": "3.2.0"})
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("bentoml", logging.WARNING)
    assert record.getMessage() == (
        "Model old:abc was saved with xgboost 1.6.2 and Python 3.7; "
        f"this process has xgboost 3.2.0 and Python {PYTHON}, "
        "which may fail or answer otherwise (hint: pip install xgboost==1.6.2 and use Python 3.7, "
        "or save the model again with the versions of this process)"
    )


def test_a_model_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        check_versions(models.get("old") if caplog.records else saved(), {"xgboost": "3.2.0"})
    assert len(caplog.records) == 1
    check_versions(saved(name="other"), {"xgboost": "3.2.0"})
    assert len(caplog.records) == 2


def test_equal_versions_are_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    check_versions(saved(), {"xgboost": "1.6.2"})
    assert caplog.records == []


def test_the_strict_mode_refuses_every_time() -> None:
    mode("error")
    model = saved()
    for _ in range(2):
        with pytest.raises(BentoMLException, match=r"with xgboost 1\.6\.2; this process has xgboost 3\.2\.0"):
            check_versions(model, {"xgboost": "3.2.0"})


def test_a_warning_does_not_soften_the_strict_mode() -> None:
    model = saved()
    check_versions(model, {"xgboost": "3.2.0"})
    mode("error")
    with pytest.raises(BentoMLException, match=r"xgboost 3\.2\.0"):
        check_versions(model, {"xgboost": "3.2.0"})


def test_the_check_can_be_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    mode("ignore")
    check_versions(saved(), {"xgboost": "3.2.0"})
    assert caplog.records == []


def test_a_record_without_versions_is_taken_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    mode("error")
    with models.create("bare") as model:
        pass
    check_versions(model, {"xgboost": "3.2.0"})
    assert caplog.records == []
