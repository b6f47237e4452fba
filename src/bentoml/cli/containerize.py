"""`bentoml containerize`: the image of a bento, built by docker, podman, buildah, nerdctl or BuildKit."""

from __future__ import annotations

import logging
from typing import Any

import click

from bentoml.cli.group import Command

__all__ = ["containerize"]

logger = logging.getLogger("bentoml")

#: Options of `docker build` that BentoML 1.x had as flags of its own; each is `--opt NAME=VALUE` as well.
REPEATABLE = {
    "add-host": "A host of /etc/hosts while it builds, as NAME:ADDRESS.",
    "allow": "An entitlement that the build may use.",
    "build-arg": "A build argument, as NAME=VALUE.",
    "build-context": "A further build context, as NAME=PATH.",
    "cache-from": "Where a cache of earlier builds lies.",
    "label": "Metadata of the image, as NAME=VALUE.",
    "no-cache-filter": "A stage that is built anew.",
    "output": "Where the result goes, as type=TYPE,dest=PATH.",
    "platform": "A platform to build for, such as linux/arm64.",
    "secret": "A file that the build may see, as id=ID,src=PATH; id=pip is a pip.conf.",
    "ssh": "An SSH agent that the build may use.",
    "ulimit": "A limit of the build's processes.",
}
SINGLE = {
    "builder": "The instance of the builder.",
    "cache-to": "Where the cache of this build goes.",
    "cgroup-parent": "Parent of the build's cgroup.",
    "iidfile": "A file to write the id of the image to.",
    "metadata-file": "A file to write metadata of the build to.",
    "network": "The network of the build.",
    "progress": "How the progress is shown: auto, tty or plain.",
    "shm-size": "Size of /dev/shm while it builds.",
    "target": "The stage to build.",
}
SWITCHES = {
    "load": "Load the image into docker's store.",
    "no-cache": "Build everything anew.",
    "pull": "Look for a newer base image.",
    "push": "Push the image to its registry.",
}


def _tool_options(function: Any) -> Any:
    """Add them in the order of their names; the last one that is added is shown first."""
    for name, text in sorted({**REPEATABLE, **SINGLE, **SWITCHES}.items(), reverse=True):
        if name in SWITCHES:
            function = click.option(f"--{name}", is_flag=True, help=text)(function)
        else:
            function = click.option(f"--{name}", multiple=name in REPEATABLE, metavar="TEXT", help=text)(function)
    return function


@click.command(cls=Command)
@click.argument("bento", metavar="BENTO")
@click.option(
    "-t",
    "--image-tag",
    "--docker-image-tag",
    "image_tag",
    multiple=True,
    metavar="NAME:TAG",
    help="Name of the image; may be given several times.  [default: the bento's name:version]",
)
@click.option(
    "--backend",
    envvar="BENTOML_CONTAINERIZE_BACKEND",
    show_envvar=True,
    metavar="NAME",
    help="docker, podman, buildah, nerdctl, buildctl or buildx.  [default: the first that works of docker, podman, "
    "nerdctl, buildah, buildctl]",
)
@click.option(
    "--opt",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="An option of the backend's build, such as --opt no-cache or --opt target=base.",
)
@click.option(
    "--enable-features",
    multiple=True,
    metavar="NAME[,NAME]...",
    help="Extras to install in the image besides what the bento asks for, such as tracing.",
)
@click.option("--run-as-root", is_flag=True, help="Run the backend by sudo.")
@_tool_options
def containerize(
    bento: str,
    image_tag: tuple[str, ...],
    backend: str | None,
    opt: tuple[str, ...],
    enable_features: tuple[str, ...],
    run_as_root: bool,
    **flags: Any,
) -> None:
    """Build the container image of a bento.

    BENTO is a tag, such as `iris:latest`, or the folder of a bento.
    """
    from bentoml import container
    from bentoml.container.running import choose

    options: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in flags.items()
    }
    options = {name: value for name, value in options.items() if value}
    for name, value in map(_split, opt):
        options[name] = True if value is None else [*_earlier(options, name), value]
    # Chosen here, so that what is missing is told before anything else, and for the hint at the end.
    chosen = choose(backend)
    tags = container.build(
        bento,
        backend=chosen,
        image_tag=list(image_tag) or None,
        features=enable_features,
        run_as_root=run_as_root,
        quiet=not logger.isEnabledFor(logging.INFO),
        **options,
    )
    click.echo(f'Successfully built Bento container for "{bento}" with tag(s) "{",".join(tags)}"')
    command = " ".join([*chosen.run_hint, "--rm", "-p", "3000:3000", tags[0]])
    logger.info("To run it: %s", command)


def _split(text: str) -> tuple[str, str | None]:
    """`K`, `K=V` and `K:V`; the first of the two signs counts, as a value may have either."""
    for number, char in enumerate(text):
        if char in "=:":
            return _name(text[:number]), text[number + 1 :]
    return _name(text), None


def _name(text: str) -> str:
    name = text.strip().lstrip("-").replace("-", "_")
    if not name.isidentifier():
        raise click.BadParameter(f"{text!r} is not the name of an option", param_hint="--opt")
    return name


def _earlier(options: dict[str, Any], name: str) -> list[str]:
    value = options.get(name)
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []
