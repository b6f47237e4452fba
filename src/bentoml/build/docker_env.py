"""env/docker of a bento: the Dockerfile, what starts in the image, and the files of the user that take part.

Dockerfile, entrypoint.sh      always
setup_script                   what docker.setup_script names
Dockerfile.template            what docker.dockerfile_template names, as it was; the Dockerfile is made of it
"""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

from bentoml.build import dockerfile
from bentoml.build.dockerfile_template import render_template
from bentoml.build.options import BuildOptions, DockerOptions
from bentoml.build.paths import file_in, script_in
from bentoml.exceptions import InvalidArgument
from bentoml.tag import validate_part

__all__ = ["ENTRYPOINT", "write"]

logger = logging.getLogger("bentoml")

#: Runs as the first process of the container and becomes the server, which thereby gets the signals.
ENTRYPOINT = """#!/bin/sh
# no arguments, or options     bentoml serve <arguments> <bento>
# serve..., start-...          bentoml <arguments> <bento>
# anything else                is run as it stands
set -eu
[ -z "${PORT:-}" ] || export BENTOML_PORT="$PORT"
case ${1:-} in
  "" | -*) exec bentoml serve "$@" "$BENTO_PATH" ;;
  serve* | start-*) exec bentoml "$@" "$BENTO_PATH" ;;
  *) exec "$@" ;;
esac
"""


def write(folder: Path, options: BuildOptions, *, context: Path, name: str) -> None:
    """Write env/docker into the bento at `folder`, whose models are in place already.

    Args:
        context: the build context, in which the paths of the options lie.
        name: of the bento.

    Raises:
        InvalidArgument: a value cannot be used, or a file is missing; names its key.
        BentoMLException: the template cannot be rendered.
    """
    docker = options.docker
    python_version = docker.python_version or ".".join(map(str, sys.version_info[:2]))
    try:
        name = validate_part(name, "name of a bento")
    except ValueError as error:
        raise InvalidArgument(f"name: {error}") from error
    has_models = (folder / "models").is_dir()
    _say_what_has_no_effect(docker)
    target = folder / "env" / "docker"
    target.mkdir(parents=True)
    if docker.dockerfile_template is None:
        text = dockerfile.render(options, name=name, python_version=python_version, has_models=has_models)
    else:
        template = file_in(context, docker.dockerfile_template, "docker.dockerfile_template")
        shutil.copyfile(template, target / "Dockerfile.template")
        made = dockerfile.blocks(options, name=name, python_version=python_version, has_models=has_models)
        text = render_template(template, made, docker)
    _write_text(target / "Dockerfile", text)
    _write_text(target / "entrypoint.sh", ENTRYPOINT, mode=0o755)
    if docker.setup_script is not None:
        script = script_in(context, docker.setup_script, "docker.setup_script")
        shutil.copyfile(script, target / "setup_script")
        (target / "setup_script").chmod(0o755)


def _say_what_has_no_effect(docker: DockerOptions) -> None:
    for key in ("cuda_version", "system_packages") if docker.base_image is not None else ():
        if getattr(docker, key):
            logger.warning("docker.%s has no effect with docker.base_image: install it in that image", key)


def _write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
    path.chmod(mode)
