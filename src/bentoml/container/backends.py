"""Backends: the tools that build images, as one table; argv() says how each is called."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from bentoml.container.request import Request
from bentoml.exceptions import InvalidArgument, NotFound

__all__ = ["AUTOMATIC", "Backend", "argv", "get_backend", "health", "names", "register_backend"]

#: A tool that does not answer is as good as none.
HEALTH_LIMIT_S = 30


class Backend(NamedTuple):
    """A tool that builds images.

    Attributes:
        name: by which it is chosen.
        binary: what is run.
        build_cmd: the words behind it.
        health: the command that succeeds when the tool can build, without its first word; or a function that says so.
        buildkit_support: whether it is BuildKit underneath.
        fixed: arguments of every build.
        ignored: options that say what this tool does anyway.
        refused: option → what to do instead; the tool has no such thing.
        env: variables that it gets.
        run_hint: what starts a container from the image, before its tag.
        construct_build_args: makes all arguments of the build; None is the form of `docker build`.
        install: what to tell where the tool is missing.
    """

    name: str
    binary: str
    build_cmd: tuple[str, ...] = ("build",)
    health: tuple[str, ...] | Callable[[], bool] = ("info",)
    buildkit_support: bool = False
    fixed: tuple[str, ...] = ()
    ignored: frozenset[str] = frozenset()
    refused: Mapping[str, str] = {}
    env: Mapping[str, str] = {}
    run_hint: tuple[str, ...] = ("docker", "run")
    construct_build_args: Callable[[Request], Iterable[str]] | None = None
    install: str = ""


def argv(backend: Backend, request: Request) -> list[str]:
    """The command that builds the image; no shell takes part.

    Raises:
        InvalidArgument: an option that this tool does not have.
    """
    for option in request.options:
        if option in backend.refused:
            raise InvalidArgument(f"{backend.name} has no option --{option}", hint=backend.refused[option])
    construct = backend.construct_build_args or _like_docker(backend)
    sudo = ["sudo"] if request.run_as_root else []
    return [*sudo, backend.binary, *backend.build_cmd, *construct(request)]


def _like_docker(backend: Backend) -> Callable[[Request], Iterable[str]]:
    def construct(request: Request) -> list[str]:
        tags = [f"--tag={tag}" for tag in request.tags]
        options = _flags({key: value for key, value in request.options.items() if key not in backend.ignored})
        return [*backend.fixed, *tags, *options, f"--file={request.dockerfile}", str(request.context)]

    return construct


def _flags(options: Mapping[str, bool | tuple[str, ...]]) -> list[str]:
    flags: list[str] = []
    for name, values in options.items():
        flags += [f"--{name}"] if isinstance(values, bool) else [f"--{name}={value}" for value in values]
    return flags


def _for_buildx(request: Request) -> list[str]:
    # Without a word about it the result would stay in the cache of the builder.
    goes_somewhere = {"load", "output", "push"} & request.options.keys()
    return [*([] if goes_somewhere else ["--load"]), *_like_docker(BUILDX)(request)]


#: Flags of buildctl itself; whatever else there is are options of its Dockerfile frontend.
_OF_BUILDCTL = {"allow", "cache-from", "cache-to", "metadata-file", "no-cache", "output", "progress", "secret", "ssh"}
_BUILDCTL_NAMES = {"cache-from": "import-cache", "cache-to": "export-cache"}


def _for_buildctl(request: Request) -> list[str]:
    options = dict(request.options)
    folder = request.dockerfile.parent
    arguments = ["--frontend=dockerfile.v0", f"--local=context={request.context}", f"--local=dockerfile={folder}"]
    if "output" not in options:
        push = ",push=true" if options.pop("push", False) else ""
        # Several names are one value of that option, which is read as CSV.
        names = f'"name={",".join(request.tags)}"' if len(request.tags) > 1 else f"name={request.tags[0]}"
        arguments.append(f"--output=type=image,{names}{push}")
    for name, values in options.items():
        if name in _OF_BUILDCTL:
            arguments += _flags({_BUILDCTL_NAMES.get(name, name): values})
        elif name in ("build-arg", "label", "build-context"):
            arguments += [f"--opt={name.replace('build-context', 'context')}:{value}" for value in _texts(values)]
        elif name != "load":
            arguments.append(f"--opt={name}={','.join(_texts(values))}")
    return arguments


def _texts(values: bool | tuple[str, ...]) -> tuple[str, ...]:
    return ("true",) if isinstance(values, bool) else values


_BUILDKIT = {"DOCKER_BUILDKIT": "1"}
_NOT_PODMAN = {
    "builder": "choose another backend",
    "metadata-file": "--iidfile writes the id of the image",
    "no-cache-filter": "--no-cache builds all of it anew",
    "push": "push it afterwards",
}
# HEALTHCHECK exists in images of docker's format alone.
_PODMAN = {
    "fixed": ("--format=docker",),
    "ignored": frozenset({"allow", "load", "progress"}),
    "refused": _NOT_PODMAN,
    "run_hint": ("podman", "run"),
}

BUILDX = Backend(
    "buildx",
    "docker",
    build_cmd=("buildx", "build"),
    health=("buildx", "inspect"),
    buildkit_support=True,
    install="install docker with its plugin buildx",
)

_table: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            "docker",
            "docker",
            buildkit_support=True,
            env=_BUILDKIT,
            install="install docker and start its daemon",
        ),
        Backend("podman", "podman", **_PODMAN, install="install podman"),  # type: ignore[arg-type]  # one dict of several types
        Backend(
            "nerdctl",
            "nerdctl",
            buildkit_support=True,
            run_hint=("nerdctl", "run"),
            install="install nerdctl, start containerd and buildkitd",
        ),
        Backend(
            "buildah",
            "buildah",
            **{**_PODMAN, "fixed": ("--format=docker", "--layers")},  # type: ignore[arg-type]  # one dict of several types
            install="install buildah",
        ),
        Backend(
            "buildctl",
            "buildctl",
            health=("debug", "workers"),
            buildkit_support=True,
            construct_build_args=_for_buildctl,
            run_hint=("nerdctl", "run"),
            install="install BuildKit and start buildkitd",
        ),
        BUILDX._replace(construct_build_args=_for_buildx),
    )
}
#: The order in which a tool is looked for. buildx is docker's, and is for those who name it.
AUTOMATIC = ("docker", "podman", "nerdctl", "buildah", "buildctl")


def register_backend(
    name: str,
    *,
    buildkit_support: bool,
    health: Callable[[], bool],
    construct_build_args: Callable[..., Iterable[str]],
    binary: str | None = None,
    build_cmd: Iterable[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Make another tool known under `name`, for `backend=` and `--backend`.

    Args:
        buildkit_support: whether it is BuildKit underneath.
        health: whether it can build now.
        construct_build_args: called with `context_path`, `tag` (a tuple) and the options, whose dashes are
            underscores; returns all arguments behind the command.
        binary: the program; default `name`.
        build_cmd: the words behind it; default `build`.
        env: variables that it gets.

    Raises:
        InvalidArgument: the name is taken.
    """
    if name in _table:
        raise InvalidArgument(f"there is a backend {name!r} already")

    def construct(request: Request) -> Iterable[str]:
        options: dict[str, Any] = {key.replace("-", "_"): value for key, value in request.options.items()}
        return construct_build_args(context_path=str(request.context), tag=request.tags, **options)

    _table[name] = Backend(
        name,
        binary or name,
        build_cmd=tuple(build_cmd) if build_cmd is not None else ("build",),
        health=health,
        buildkit_support=buildkit_support,
        env=env or {},
        construct_build_args=construct,
        run_hint=(binary or name, "run"),
    )


def get_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        NotFound: there is none.
    """
    try:
        return _table[name]
    except KeyError:
        raise NotFound(f"there is no backend {name!r}", hint=f"there are {', '.join(_table)}") from None


def names() -> list[str]:
    """The names of all backends."""
    return list(_table)


def health(backend: str | Backend) -> bool:
    """Whether the tool is installed and able to build now.

    Raises:
        NotFound: there is no such backend.
    """
    found = get_backend(backend) if isinstance(backend, str) else backend
    if callable(found.health):
        return found.health()
    if shutil.which(found.binary) is None:
        return False
    try:
        asked = subprocess.run(
            [found.binary, *found.health], stdin=subprocess.DEVNULL, capture_output=True, timeout=HEALTH_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
