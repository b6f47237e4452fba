"""`bentoml list`, `get`, `delete`, `export`, `import`: the bentos on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bentoml.cli import output, store_commands
from bentoml.cli.tree import tree_lines

if TYPE_CHECKING:
    from bentoml.store.bento import Bento

__all__ = ["BENTOS", "delete", "export", "get", "import_", "list_", "pull", "push"]


def _row(bento: Bento) -> dict[str, Any]:
    models = sum(model.file_size for model in bento.models)
    return {
        "tag": str(bento.tag),
        "size": output.size_text(bento.file_size),
        "model_size": output.size_text(models),
        "creation_time": output.time_text(bento.creation_time),
        "path": bento.path,
    }


def _tree(bento: Bento) -> str:
    return "\n".join(tree_lines(Path(bento.path), title=str(bento.tag))) + "\n"


BENTOS = store_commands.Kind(
    noun="bento",
    prefix="bentoml ",
    module="bentoml.bentos",
    store="bentoml.store.bento:bento_store",
    columns={"tag": "Tag", "size": "Size", "model_size": "Model Size", "creation_time": "Creation Time"},
    row=_row,
    forms={"tree": _tree},
    trust="Import files that run code when the bento is served: the sources of its service, and pickles.",
)

_commands = store_commands.commands(BENTOS)
list_, get, delete = _commands["list"], _commands["get"], _commands["delete"]
export, import_, push, pull = _commands["export"], _commands["import"], _commands["push"], _commands["pull"]
