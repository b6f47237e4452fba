"""`bentoml env`: what a bug report needs to say about this machine."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from bentoml._version import __version__
from bentoml.cli import namesake, output
from bentoml.cli.group import Command
from bentoml.exceptions import BentoMLException

__all__ = ["env"]

DISTRIBUTION = "makunouchi"
#: What models are trained with and what this package stands on; the rest matters only in the full list.
RELEVANT = (
    "catboost",
    "click",
    "cloudpickle",
    "httptools",
    "lightgbm",
    "msgspec",
    "numpy",
    "onnxruntime",
    "pandas",
    "pydantic",
    "pyyaml",
    "rich",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "torch",
    "transformers",
    "uvloop",
    "watchfiles",
    "xgboost",
    "xgboost-cpu",
)
#: Variables whose values are shown. What is pasted in public must not hold a password that another one may carry.
SHOWN = frozenset(
    f"BENTOML_{name}" for name in ("API_WORKERS", "CONFIG", "DEBUG", "HOME", "HOST", "PORT", "QUIET", "TIMEOUT")
)


@click.command(cls=Command)
@output.form_option("md", "plain", "bash")
def env(form: str) -> None:
    """Print what a bug report needs to say.

    That is versions, the platform, and what is configured where.
    """
    facts, installed, origins = _facts(), _installed(), _config_origins()
    relevant = {name: installed[name] for name in RELEVANT if name in installed}
    variables = {name: _shown(name) for name in sorted(os.environ) if name.startswith("BENTOML_")}
    if form == "md":
        click.echo(_markdown(facts, variables, origins, relevant, installed))
    elif form == "plain":
        for name, value in {**facts, **relevant, **variables, **origins}.items():
            click.echo(f"{name}: {value}")
    else:
        packages = {f"package_{name.replace('-', '_')}": version for name, version in relevant.items()}
        for name, value in {**facts, **packages, **variables}.items():
            click.echo(f"{name}={shlex.quote(value)}")


def _facts() -> dict[str, str]:
    import platform

    facts = {
        "bentoml": f"{__version__} ({DISTRIBUTION})",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "uid_gid": f"{os.getuid()}:{os.getgid()}",
    }
    other = namesake.find(sys.path)
    return {**facts, "bentoml_distribution": f"{other} is installed as well"} if other else facts


def _shown(variable: str) -> str:
    return os.environ[variable] if variable in SHOWN else "(set)"


def _installed() -> dict[str, str]:
    """Distribution, in lower case, to version."""
    from importlib import metadata

    # A damaged installation has distributions without a name, which pip passes over as well.
    named = ((found.metadata["Name"], found.version) for found in metadata.distributions())
    return dict(sorted((name.lower(), version) for name, version in named if name))


def _config_origins() -> dict[str, str]:
    """Key to who set it; see `SHOWN` for why the values are left out."""
    from bentoml.config import from_environment

    try:
        return dict(from_environment(working_dir=Path.cwd()).origins)
    except (BentoMLException, OSError) as error:
        return {"configuration": f"cannot be read: {error}"}


def _markdown(
    facts: dict[str, str],
    variables: dict[str, str],
    origins: dict[str, str],
    relevant: dict[str, str],
    installed: dict[str, str],
) -> str:
    sections = {
        "Versions and system": facts,
        "Packages": relevant,
        "Environment variables": variables,
        "Set by": origins,
    }
    lines: list[str] = []
    for title, entries in sections.items():
        if entries:
            lines += [f"#### {title}", "", *(f"- `{name}`: {value}" for name, value in entries.items()), ""]
    lines += ["<details><summary>All distributions</summary>", "", "```"]
    lines += [f"{name}=={version}" for name, version in installed.items()]
    return "\n".join([*lines, "```", "", "</details>"])
