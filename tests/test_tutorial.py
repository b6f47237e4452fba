"""The tutorial and the issue, block by block, as they stand: saved, listed, shown, served, asked."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import _server
from tests._server import Server, bentoml, started
from tests.conftest import EXAMPLE

#: Title → code.
BLOCKS = dict(
    re.findall(r"## (.*?)\n```python\n(.*?)```", (Path(__file__).parent / "tutorial.md").read_text(), flags=re.DOTALL)
)

#: The tutorial leaves the imports and the end of its later blocks to the reader, who has them from the first.
HEAD = "from pydantic import BaseModel\n" + BLOCKS["plain"].partition("# Define an endpoint")[0]
TAIL = "    result = " + BLOCKS["plain"].partition("    result = ")[2]

SERVICES = {
    "plain": BLOCKS["plain"],
    "validated": HEAD + BLOCKS["credit application"] + BLOCKS["validated"] + TAIL,
    "asynchronous": HEAD + BLOCKS["credit application"] + BLOCKS["asynchronous"] + TAIL,
    "whole": BLOCKS["whole"],
}

#: A smaller model than the example's, as only the way from here to an answer counts.
TRAIN = f"""
import sys
sys.path.insert(0, {str(EXAMPLE)!r})
import bentoml, data, xgboost
from sklearn.feature_extraction import DictVectorizer
applications, bad = data.load()
dv = DictVectorizer(sparse=False)
rows = xgboost.DMatrix(dv.fit_transform(applications), label=bad)
model = xgboost.train({{"objective": "binary:logistic", "max_depth": 3}}, rows, 10)
{BLOCKS["save"]}
{BLOCKS["save batchable"]}
"""


def sample() -> Any:
    """What the tutorial's load test sends; its file is run up to the class, which needs locust."""
    defined: dict[str, Any] = {}
    code = BLOCKS["locust"].partition("sample = ")[2].partition("# Inherit")[0]
    exec(f"sample = {code}", defined)
    return defined["sample"]


SAMPLE = sample()


class Saved(NamedTuple):
    home: Path
    folder: Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A store in which the model was saved in both ways of the tutorial."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "train_model.py").write_text(TRAIN)
    done = subprocess.run(
        [sys.executable, "train_model.py"],
        cwd=folder,
        env=_server.environment(folder / "home"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Saved(folder / "home", folder)


@pytest.fixture(scope="module")
def servers(saved: Saved) -> Iterator[dict[str, Server]]:
    """Every form of the service, each served as the tutorial says; they start at the same time."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name, code in SERVICES.items():
            folder = saved.folder / name
            folder.mkdir()
            (folder / "service.py").write_text(code)
            (folder / "bentoconfiguration.yaml").write_text(BLOCKS["configuration"])
            production = ["--production"] if name == "asynchronous" else []
            arguments = ("service:svc", *production, "--api-workers", "1")
            found[name] = stack.enter_context(started(*arguments, folder=folder, home=saved.home))
        for server in found.values():
            server.wait_until_ready()
        yield found


def show(saved: Saved, *arguments: str) -> str:
    """What `bentoml models …` prints."""
    done = bentoml("models", *arguments, folder=saved.folder, home=saved.home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_models_list_shows_both_models_in_each_form(saved: Saved) -> None:
    head, *rows = show(saved, "list").splitlines()
    assert head.split() == ["Tag", "Module", "Size", "Creation", "Time"]
    pattern = r"credit_risk_model:[a-z2-7]{16} +bentoml\.xgboost +[\d.]+ KiB +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert [bool(re.fullmatch(pattern, row.strip())) for row in rows] == [True, True]
    listed = json.loads(show(saved, "list", "-o", "json"))
    assert [list(row) for row in listed] == [["tag", "module", "size", "creation_time"]] * 2
    assert show(saved, "list", "-o", "yaml").count("module: bentoml.xgboost") == 2


def test_models_get_prints_the_yaml_of_the_tutorial(saved: Saved) -> None:
    import yaml

    record = yaml.safe_load(show(saved, "get", "credit_risk_model:latest"))
    assert list(record) == [
        "name", "version", "module", "labels", "options", "metadata", "context", "signatures", "api_version",
        "creation_time",
    ]  # fmt: skip
    assert (record["name"], record["module"], record["api_version"]) == ("credit_risk_model", "bentoml.xgboost", "v2")
    assert (record["labels"], record["metadata"], record["options"]) == ({}, {}, {"model_class": "Booster"})
    assert list(record["context"]) == ["framework_name", "framework_versions", "bentoml_version", "python_version"]
    assert list(record["context"]["framework_versions"]) == ["xgboost"]
    assert record["signatures"]["predict"]["batchable"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", record["creation_time"])


def test_a_model_is_batchable_only_where_that_was_asked_for(saved: Saved) -> None:
    import yaml

    tags = [row["tag"] for row in json.loads(show(saved, "list", "-o", "json"))]
    signatures = [yaml.safe_load(show(saved, "get", tag))["signatures"] for tag in tags]
    assert {"predict": {"batchable": False}} in signatures
    assert {"predict": {"batchable": True, "batch_dim": [0, 0]}} in signatures


@pytest.mark.parametrize("name", SERVICES)
def test_each_form_of_the_service_answers(servers: dict[str, Server], name: str) -> None:
    answer = servers[name].post("/classify", SAMPLE)
    assert answer.status == 200
    assert answer.value in ({"Status": status} for status in ("APPROVED", "MAYBE", "DECLINED"))
    assert {servers[other].post("/classify", SAMPLE).body for other in SERVICES} == {answer.body}


@pytest.mark.parametrize("name", ["plain", "validated", "asynchronous"])
def test_what_the_function_prints_is_seen_at_once(servers: dict[str, Server], name: str) -> None:
    servers[name].post("/classify", SAMPLE)
    servers[name].said("Prediction: 0.")


@pytest.mark.parametrize("name", ["validated", "asynchronous", "whole"])
def test_a_wrong_application_is_refused_by_the_model(servers: dict[str, Server], name: str) -> None:
    answer = servers[name].post("/classify", {**SAMPLE, "seniority": "three"})
    assert answer.status == 400
    assert "seniority: Input should be a valid integer" in answer.value


@pytest.mark.parametrize("name", SERVICES)
def test_many_at_one_time_are_all_answered(servers: dict[str, Server], name: str) -> None:
    answers = servers[name].post_all("/classify", [SAMPLE] * 100)
    assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_was_warned_about(servers: dict[str, Server], name: str) -> None:
    assert "[ERROR]" not in servers[name].log
    assert [line for line in servers[name].log.splitlines() if "[WARNING]" in line] == []
