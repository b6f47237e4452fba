"""A project that is small and quick to build: one picklable model, one API, no library of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml
from bentoml.store.bento import Bento

SERVICE = '''"""Sorts payments."""

import bentoml
from bentoml.io import JSON

model = bentoml.models.get("rules:latest")
rules = model.to_runner()
svc = bentoml.Service("payments", runners=[rules])


@svc.api(input=JSON(), output=JSON())
async def decide(amounts):
    """Which payments need a second look."""
    return [str(model.tag), *await rules.decide.async_run(amounts)]
'''
BENTOFILE = 'service: "service.py:svc"\ninclude: ["*.py"]\npython: {lock_packages: false}\n'


class Rules:
    """Pays what is small."""

    def decide(self, amounts: list[float]) -> list[str]:
        return ["review" if amount > 1000 else "pay" for amount in amounts]


def save_rules(version: str = "v1") -> bentoml.Model:
    """The project's model, in the store of `$BENTOML_HOME`."""
    import tests._bentos

    return bentoml.picklable_model.save_model(
        f"rules:{version}",
        Rules(),
        signatures={"decide": {"batchable": True}},
        external_modules=[tests._bentos],
    )


def write_project(folder: Path, **files: str) -> Path:
    """The project with these files besides; `a__b_py` stands for a/b.py."""
    write(folder, "service.py", SERVICE)
    write(folder, "bentofile.yaml", BENTOFILE)
    for name, text in files.items():
        write(folder, name.replace("__", "/").replace("_py", ".py"), text)
    return folder


def write(folder: Path, name: str, text: str) -> Path:
    """A text file and the folders around it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def build(project: Path, version: str | None = None, **options: Any) -> Bento:
    """A bento of the project; nothing is looked up in an index."""
    given = {"include": ["*.py"], **options, "python": {"lock_packages": False, **options.get("python", {})}}
    return bentoml.bentos.build("service.py:svc", version=version, build_ctx=project, **given)
