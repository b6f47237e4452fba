"""env/conda of a bento: the environment file from which the image makes its conda environment."""

from __future__ import annotations

import shutil
from pathlib import Path

from bentoml.build.options import CondaOptions
from bentoml.build.paths import file_in, require_plain
from bentoml.exceptions import InvalidArgument

__all__ = ["DEFAULT_CHANNELS", "environment", "write"]

#: Anaconda's own channels cost money in large companies; this one is free for all.
DEFAULT_CHANNELS = ["conda-forge"]


def write(folder: Path, options: CondaOptions, *, context: Path) -> None:
    """Write env/conda into the bento at `folder`; nothing, where conda is not used.

    Raises:
        InvalidArgument: a value cannot be used; names its key.
    """
    if not options.is_used:
        return
    target = folder / "env" / "conda"
    target.mkdir(parents=True)
    if options.environment_yml is not None:
        given = file_in(context, options.environment_yml, "conda.environment_yml")
        shutil.copyfile(given, target / "environment.yml")
        return
    import yaml

    text = yaml.safe_dump(environment(options), sort_keys=False)
    (target / "environment.yml").write_text(text, encoding="utf-8", newline="\n")


def environment(options: CondaOptions) -> dict[str, object]:
    """What the environment file says.

    Raises:
        InvalidArgument: a value breaks a line; names its key.
    """
    for key in ("channels", "dependencies", "pip"):
        for number, text in enumerate(getattr(options, key)):
            require_plain(text, f"conda.{key}[{number}]")
            # conda and pip would take it for an option of theirs.
            if text.startswith("-"):
                raise InvalidArgument(f"conda.{key}[{number}]: {text!r} is an option, which is refused")
    dependencies: list[object] = list(options.dependencies)
    if options.pip:
        dependencies += ["pip", {"pip": list(options.pip)}]
    return {"dependencies": dependencies, "channels": options.channels or DEFAULT_CHANNELS}
