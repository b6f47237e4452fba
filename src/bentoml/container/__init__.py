"""Container images of bentos: built by whichever tool this machine has.

build ─► Request, checked ─► backend chosen ─► argv() ─► the tool, whose output is shown as it comes
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bentoml.container import features as _features
from bentoml.container import running as _running
from bentoml.container.backends import Backend, get_backend, health, register_backend
from bentoml.container.image_tag import require_image_tag
from bentoml.container.request import DOCKERFILE, Request
from bentoml.exceptions import BentoMLException
from bentoml.store.bento import Bento, get_bento, is_bento, open_bento
from bentoml.tag import Tag

__all__ = ["Backend", "build", "get_backend", "get_containerfile", "health", "register_backend"]


def build(
    bento_tag: Tag | str | os.PathLike[str],
    backend: str | Backend | None = None,
    image_tag: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    *,
    run_as_root: bool = False,
    quiet: bool = False,
    **opts: Any,
) -> list[str]:
    """Build the image of a bento; its tags.

    Args:
        bento_tag: tag of a bento in the store, or the path of a bento's folder.
        backend: `docker`, `podman`, `buildah`, `nerdctl`, `buildctl`, `buildx` or a registered one; None is the first
            that works; a `Backend` is used unasked.
        image_tag: one or several; default `name:version` of the bento.
        features: extras of this package to install in the image, such as `tracing`.
        run_as_root: run the tool by sudo.
        quiet: show the tool's output only when it fails.
        opts: options of the tool as in `docker build`: `no_cache=True` is `--no-cache`, `build_arg={"A": "b"}` or
            `build_arg=["A=b"]` is `--build-arg A=b`, `platform="linux/arm64"`, …

    Raises:
        NotFound: no such bento.
        InvalidArgument: an image tag, a feature or an option cannot be used.
        BentoMLException: no tool works, or the one that was used failed.
    """
    bento = _bento_of(bento_tag)
    tags = [image_tag] if isinstance(image_tag, str) else list(image_tag or [str(bento.tag)])
    given: dict[str, Any] = {name.replace("_", "-"): value for name, value in opts.items()}
    extras = _features.extras_of(features or ())
    if extras:
        given["build-arg"] = [*_listed(given.get("build-arg")), f"BENTOML_FEATURES={','.join(extras)}"]
    request = Request(
        context=Path(bento.path),
        tags=tuple(require_image_tag(tag) for tag in tags),
        options={
            name: value if isinstance(value, bool) else tuple(_listed(value))
            for name, value in given.items()
            if value is not None and value is not False
        },
        run_as_root=run_as_root,
    )
    chosen = backend if isinstance(backend, Backend) else _running.choose(backend)
    _running.run(chosen, request, quiet=quiet)
    return list(request.tags)


def get_containerfile(
    bento_tag: Tag | str | os.PathLike[str], output_path: str | os.PathLike[str] | None = None
) -> str:
    """The Dockerfile of a bento.

    Args:
        bento_tag: tag of a bento in the store, or the path of a bento's folder.
        output_path: where to write it as well.

    Raises:
        NotFound: no such bento.
    """
    text = (Path(_bento_of(bento_tag).path) / DOCKERFILE).read_text(encoding="utf-8")
    if output_path is not None:
        Path(output_path).write_text(text, encoding="utf-8")
    return text


def _bento_of(bento: Tag | str | os.PathLike[str]) -> Bento:
    if not isinstance(bento, Tag):
        folder = Path(bento).expanduser().absolute()
        if is_bento(folder):
            return _complete(open_bento(folder))
        bento = os.fspath(bento)
    return _complete(get_bento(bento))


def _complete(bento: Bento) -> Bento:
    """The bento, if it has all that an image of it needs."""
    if not (Path(bento.path) / DOCKERFILE).is_file():
        raise BentoMLException(f"the bento {bento.tag} has no {DOCKERFILE}", hint="build it again")
    missing = {model.tag for model in bento.info.models} - set(bento.model_store.list())
    if missing:
        raise BentoMLException(
            f"the bento {bento.tag} does not carry its models {', '.join(map(str, sorted(missing)))}",
            hint="build it again: a bento of this package carries its models",
        )
    return bento


def _listed(value: Any) -> list[str]:
    """One value, several, or a mapping, as the texts behind as many flags."""
    if value is None or isinstance(value, bool):
        return []
    if isinstance(value, Mapping):
        return [f"{key}={each}" for key, each in value.items()]
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]
