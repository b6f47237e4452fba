"""The user's Dockerfile.template: a Jinja2 template that extends the Dockerfile and replaces blocks of it.

It runs in Jinja2's sandbox and reads no other file. What the bentofile says reaches it as values, never as part of the
template: `{{ 7 * 7 }}` in a value stays what it is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bentoml._importing import require
from bentoml.build.dockerfile import Layout
from bentoml.build.options import DockerOptions
from bentoml.exceptions import BentoMLException, InvalidArgument

__all__ = ["render_template"]

BASE_TEMPLATE = "bento_base_template"


def render_template(path: Path, blocks: Mapping[str, Callable[[Layout], str]], docker: DockerOptions) -> str:
    """The Dockerfile that the template at `path` makes of these blocks.

    Raises:
        BentoMLException: the template is wrong; says where.
    """
    what = "docker.dockerfile_template"
    jinja2 = require("jinja2", install="'makunouchi[build]'", what=what)
    sandbox = require("jinja2.sandbox", install="'makunouchi[build]'", what=what)
    environment = sandbox.ImmutableSandboxedEnvironment(
        loader=jinja2.DictLoader({BASE_TEMPLATE: _skeleton(blocks)}),
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        template = environment.from_string(path.read_text(encoding="utf-8"))
        text: str = template.render(_variables(blocks, docker))
    except jinja2.TemplateSyntaxError as error:
        raise BentoMLException(f"{what}: {path.name}:{error.lineno}: {error.message}") from error
    except (jinja2.TemplateError, UnicodeDecodeError, OSError, TypeError, ValueError) as error:
        raise BentoMLException(f"{what}: {path.name} cannot be rendered: {error}") from error
    return _with_named_base(text)


def _skeleton(blocks: Mapping[str, object]) -> str:
    """A template with nothing in it but the blocks, each of which asks for its text once it knows the variables."""
    variables = ", ".join(f"bento__{field}" for field in Layout._fields)
    return "\n".join(
        f"{{% block {name} %}}\n{{{{ part('{name}', {variables}) }}}}\n{{% endblock %}}" for name in blocks
    )


def _variables(blocks: Mapping[str, Callable[[Layout], str]], docker: DockerOptions) -> dict[str, Any]:
    layout = Layout()

    def part(name: str, *values: Any) -> str:
        return blocks[name](Layout(*values).checked())

    def expands_bento_path(*parts: str, bento_path: str = layout.path) -> str:
        return posixpath.join(bento_path, *parts)

    return {
        **{f"bento__{field}": value for field, value in layout._asdict().items()},
        **{f"__options__{field}": value for field, value in msgspec.structs.asdict(docker).items()},
        BASE_TEMPLATE: BASE_TEMPLATE,
        "expands_bento_path": expands_bento_path,
        "part": part,
    }


_FROM = re.compile(r"^FROM[ \t]+(?P<image>(?:--\S+[ \t]+)*\S+)(?:[ \t]+AS[ \t]+(?P<stage>\S+))?[ \t]*$", re.M | re.I)


def _with_named_base(text: str) -> str:
    """The Dockerfile with the name `base` for the last stage before ours, where a template begins it itself."""
    ours = text.find("\nFROM base AS packages\n")
    if ours < 0 or re.search(r"^FROM\b.*\bAS[ \t]+base[ \t]*$", text[:ours], re.M | re.I):
        return text
    stages = list(_FROM.finditer(text, 0, ours + 1))
    if not stages:
        raise InvalidArgument("docker.dockerfile_template: no stage comes before SETUP_BENTO_COMPONENTS")
    last = stages[-1]
    if last["stage"]:
        return f"{text[:ours]}\nFROM {last['stage']} AS base{text[ours:]}"
    return f"{text[: last.end()]} AS base{text[last.end() :]}"
