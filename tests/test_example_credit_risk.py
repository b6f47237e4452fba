"""The example, as a user runs it: trained on the real data, served, every answer that of the model itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests._server import Server, sample, serving
from tests.conftest import EXAMPLE, Trained


class Validation(NamedTuple):
    """The held-out applications, and what the model called directly says of them."""

    applications: list[dict[str, Any]]
    scores: list[float]


@pytest.fixture(scope="module")
def validation(trained: Trained) -> Iterator[Validation]:
    import xgboost

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(trained.home))
        patch.syspath_prepend(str(EXAMPLE))
        import train

        import bentoml

        _, applications, _, _ = train.split()
        stored = bentoml.xgboost.get("credit_risk_model:latest")
        booster = bentoml.xgboost.load_model(stored)
        rows = stored.custom_objects["DictVectorizer"].transform(applications)
        yield Validation(applications, booster.predict(xgboost.DMatrix(rows)).tolist())
        for name in ("train", "data"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module", params=["in_process", "worker_process"])
def server(
    example: Server, trained: Trained, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Server]:
    if request.param == "in_process":
        yield example
        return
    extra = {"BENTOML_CONFIG_OPTIONS": "runners.placement=worker_process runners.resources.cpu=1"}
    arguments = ("service:svc", "--working-dir", str(EXAMPLE), "--api-workers", "1")
    with serving(*arguments, folder=tmp_path_factory.mktemp("far"), home=trained.home, extra=extra) as server:
        yield server


def decision(score: float) -> str:
    return "DECLINED" if score > 0.5 else "MAYBE" if score > 0.3 else "APPROVED"


def test_the_training_says_how_well_the_model_does_on_rows_that_it_has_not_seen(trained: Trained) -> None:
    match = re.search(r"AUC on 891 held-out ones: (0\.\d+)", trained.printed)
    assert match is not None, trained.printed
    assert float(match[1]) > 0.8
    assert re.search(r"^saved credit_risk_model:[a-z2-7]{16}$", trained.printed, re.MULTILINE)


def test_every_answer_is_that_of_the_model_called_directly(server: Server, validation: Validation) -> None:
    answers = server.post_all("/classify", validation.applications, connections=32)
    assert {answer.status for answer in answers} == {200}
    assert [answer.value["Status"] for answer in answers] == [decision(score) for score in validation.scores]
    assert {decision(score) for score in validation.scores} == {"DECLINED", "MAYBE", "APPROVED"}
    batches = sample(server, "bentoml_runner_batch_rows_count", method_name="predict")
    rows = sample(server, "bentoml_runner_batch_rows_sum", method_name="predict")
    assert rows >= 891
    assert batches < rows, "some calls were joined"


def test_a_missing_field_is_named(server: Server, validation: Validation) -> None:
    application = {key: value for key, value in validation.applications[0].items() if key != "income"}
    answer = server.post("/classify", application)
    assert answer.status == 400
    assert "income: Field required (missing)" in answer.value
