"""README.md of a bento: the user's own text, or a page made of the service's docstring and its APIs; pure text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bentoml.build.describe import ApiDoc, Description
from bentoml.build.paths import file_in
from bentoml.tag import Tag

__all__ = ["readme_text"]


def readme_text(given: str | None, service: Description, tag: Tag, models: Sequence[Tag], context: Path) -> str:
    """The text of README.md.

    Args:
        given: `description` of the bentofile: a text, or `file: PATH`; None makes a page.
        models: those that the bento carries.
    """
    if given is None:
        return _page(service, tag, models)
    if given.startswith("file:"):
        return file_in(context, given.removeprefix("file:").strip(), "description").read_text(encoding="utf-8")
    return given if given.endswith("\n") else given + "\n"


def _page(service: Description, tag: Tag, models: Sequence[Tag]) -> str:
    count = len(service.apis)
    parts = [
        f"# {tag}",
        f"The service `{service.name}`: {count} API{'s' if count != 1 else ''} over HTTP.",
        service.doc,
        "\n".join(_table(service.apis)) if service.apis else "",
        "\n\n".join(f"### {api.name}\n\n{api.doc}" for api in service.apis if api.doc),
        "\n".join(["It carries the models", "", *(f"- `{model}`" for model in models)]) if models else "",
        "## Use it",
        f"```bash\nbentoml serve {tag}\n```",
        "The page at `http://localhost:3000` shows every API with its schema and tries it out; `apis/openapi.yaml` is "
        "the same as a document.",
        f"```bash\nbentoml containerize {tag}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(apis: Sequence[ApiDoc]) -> list[str]:
    rows = [f"| {_cell(f'`POST {api.route}`')} | {api.input_type} | {api.output_type} |" for api in apis]
    return ["| InferenceAPI | Input | Output |", "| --- | --- | --- |", *rows]


def _cell(text: str) -> str:
    """Text that does not end its cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
