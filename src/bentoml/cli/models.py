"""`bentoml models …`: the models on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bentoml.cli import output, store_commands
from bentoml.cli.group import Group

if TYPE_CHECKING:
    from bentoml.store.model import Model

__all__ = ["MODELS", "models"]


def _row(model: Model) -> dict[str, Any]:
    return {
        "tag": str(model.tag),
        "module": model.info.module,
        "size": output.size_text(model.file_size),
        "creation_time": output.time_text(model.creation_time),
    }


MODELS = store_commands.Kind(
    noun="model",
    prefix="bentoml models ",
    module="bentoml.models",
    store="bentoml.store.model:model_store",
    columns={"tag": "Tag", "module": "Module", "size": "Size", "creation_time": "Creation Time"},
    row=_row,
    forms={},
    trust="Import files that may run code when the model is loaded, such as pickles.",
)


@click.group(cls=Group)
def models() -> None:
    """List, show, remove, export and import models.

    TAG is `name`, which means its latest version, or `name:version`; an unambiguous beginning of the version is enough.
    """


for _command in store_commands.commands(MODELS).values():
    models.add_command(_command)
