"""What a service consists of, found out in a process of its own: importing it must change nothing in the builder's.

    python -m bentoml.build.describe SERVICE FOLDER FILE ALIASES      FILE gets a Description, or a Failure, as JSON

A second build in one process sees the sources as they are then, and a service that ends its process ends this one.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bentoml import config, exceptions
from bentoml._process import describe_exit
from bentoml.exceptions import BentoMLException, ImportServiceError
from bentoml.service.loader import load
from bentoml.service.service import Service
from bentoml.store import scope
from bentoml.store.bento_record import BentoApiInfo, BentoRunnerInfo

__all__ = ["Description", "describe", "described"]


class UsedModel(msgspec.Struct, frozen=True):
    """A model of the service, and the folder that holds it."""

    tag: str
    path: str


class ApiDoc(msgspec.Struct, frozen=True):
    """What the README says of an API."""

    name: str
    route: str
    input_type: str
    output_type: str
    doc: str


class Description(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What the builder needs to know of a service.

    Attributes:
        service: import string in its full form, as in `service:svc`.
        doc: the docstring of its module.
        models: those of the service, then those of its runners.
        asked_for: tags of the models that its import asked the store for.
        own_files: the files below the build context that its import read, relative to it.
        openapi: the document of its routes.
    """

    name: str
    service: str
    doc: str
    runners: list[BentoRunnerInfo]
    apis: list[ApiDoc]
    models: list[UsedModel]
    asked_for: list[str]
    own_files: list[str]
    openapi: dict[str, Any]

    def api_records(self) -> list[BentoApiInfo]:
        """The APIs as `bento.yaml` has them."""
        return [
            BentoApiInfo(name=api.name, input_type=api.input_type, output_type=api.output_type) for api in self.apis
        ]


class Failure(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Why the service cannot be described; `kind` is the class of the error."""

    kind: str
    message: str
    hint: str


def describe(service: str, context: Path, scratch: Path, *, aliases: Mapping[str, str]) -> Description:
    """Import `service`, looked up in `context`, in a process of its own.

    Args:
        aliases: alias → tag, of models.
        scratch: a folder for the answer of that process.

    Raises:
        ImportServiceError: there is no such service, or importing it failed or ended the process.
        BentoMLException: what its own code raised of this package.
    """
    answer = scratch / "description.json"
    # What the service prints belongs beside the log: a script reads the tag of the bento from stdout.
    done = subprocess.run(
        [sys.executable, "-m", __name__, service, str(context), str(answer), json.dumps(aliases)],
        stdin=subprocess.DEVNULL,
        stdout=2,
        check=False,
    )
    if not answer.is_file():
        raise ImportServiceError(f"importing {service!r} ended the process: it {describe_exit(done.returncode)}")
    found = msgspec.json.decode(answer.read_bytes(), type=Description | Failure)
    answer.unlink()
    if isinstance(found, Failure):
        raise getattr(exceptions, found.kind, BentoMLException)(found.message, hint=found.hint)
    return found


def described(service: Service, root: Path) -> Description:
    """The description of an imported service whose sources are below `root`."""
    module = sys.modules[str(service.import_string).partition(":")[0]]
    models = [*service.models, *(model for runner in service.runners for model in runner.models)]
    loaded = config.from_environment(working_dir=root)
    return Description(
        name=service.name,
        service=str(service.import_string),
        doc=inspect.cleandoc(module.__doc__ or ""),
        runners=[
            BentoRunnerInfo(
                name=runner.name,
                runnable_type=runner.runnable_class.__name__,
                embedded=runner.embedded,
                models=[str(model.tag) for model in runner.models],
                resource_config=_resources(loaded.runner(runner.name)),
            )
            for runner in service.runners
        ],
        apis=[
            ApiDoc(api.name, api.route, type(api.input).__name__, type(api.output).__name__, api.doc or "")
            for api in service.apis.values()
        ],
        models=[UsedModel(tag, path) for tag, path in {str(model.tag): model.path for model in models}.items()],
        asked_for=sorted(map(str, scope.asked_for())),
        own_files=_own_files(root),
        openapi=service.openapi(),
    )


def _resources(settings: config.RunnerConfig) -> dict[str, Any] | None:
    return settings.resources if isinstance(settings.resources, dict) else None


def _own_files(root: Path) -> list[str]:
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if isinstance(module, types.ModuleType) else None
        if file and file.startswith(f"{root}{os.sep}"):
            inside = Path(file).relative_to(root)
            # Where it has another path than its name says, it was installed: from here, or into an environment in here.
            if inside.as_posix().partition(".")[0] in (name.replace(".", "/"), f"{name.replace('.', '/')}/__init__"):
                found.append(inside.as_posix())
    return sorted(found)


def main(service: str, context: str, answer: str, aliases: str) -> None:
    """Write the description of `service` to the file `answer`."""
    root = Path(context).resolve()
    found: Description | Failure
    try:
        with scope.inside(None, aliases=json.loads(aliases), keep=True):
            found = described(load(service, str(root), standalone_load=True), root)
    except Exception as error:  # noqa: BLE001 - the border of a process: the builder raises what this says
        known = error if isinstance(error, BentoMLException) else BentoMLException(f"{type(error).__name__}: {error}")
        found = Failure(kind=type(known).__name__, message=known.message, hint=known.hint)
    Path(answer).write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
