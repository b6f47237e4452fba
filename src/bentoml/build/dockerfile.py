"""render(): the Dockerfile of a bento, from its options alone.

    base       FROM, system packages, user, environment            changes seldom
      ├─ packages    compilers, Python packages into PREFIX         is thrown away but for PREFIX
      └─ (final)     PREFIX, models, sources, set-up script         what changes most comes last

No line is made of a user's text as it stands: it goes into the arguments of an exec form, which is JSON, or into a
quoted value of ENV, or is refused. The shell forms are of constants alone. It needs BuildKit, buildah or podman: they
know how to keep pip's downloads from one build to the next (`RUN --mount=type=cache`), and how to hand in a pip.conf
that stays out of the image.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import NamedTuple

from bentoml.build.base_image import BaseImage, choose
from bentoml.build.options import BuildOptions
from bentoml.build.paths import require_plain
from bentoml.exceptions import InvalidArgument

__all__ = ["USER_ID", "Layout", "blocks", "render"]

#: Where the Python environment of the image lies; the same in both stages, as an environment cannot be moved.
PREFIX = "/opt/bentoml"
PORT = 3000
#: Uid and gid of whoever serves; a number, by which a cluster can tell that it is not root.
USER_ID = 1034

_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:=~*@/-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_NAME = "org.opencontainers.image.title"


class Layout(NamedTuple):
    """Who serves in the image, and where; the names by which templates know them have `bento__` in front."""

    user: str = "bentoml"
    uid_gid: int = USER_ID
    home: str = "/home/bentoml/"
    path: str = "/home/bentoml/bento"
    entrypoint: str = "/home/bentoml/bento/env/docker/entrypoint.sh"

    def checked(self) -> Layout:
        """Itself, if every value is one word of an instruction and of a shell.

        Raises:
            InvalidArgument: one is not; names it as templates do.
        """
        for field, value in self._asdict().items():
            if not re.fullmatch(r"[A-Za-z0-9_/][A-Za-z0-9_./-]*", str(value)):
                raise InvalidArgument(f"bento__{field}: {value!r} is more than one word of letters, digits and ._/-")
        return self


class _Bento(NamedTuple):
    options: BuildOptions
    base: BaseImage
    name: str
    python: str
    has_models: bool


def render(options: BuildOptions, *, name: str, python_version: str, has_models: bool) -> str:
    """The Dockerfile, for a build context that is the folder of the bento.

    Args:
        name: of the bento; becomes the title of the image.
        python_version: `X.Y`, or more, which is dropped.
        has_models: whether the bento carries models.

    Raises:
        InvalidArgument: there is no base image for these options, or a value could be read as something else than it
            looks like; names its key.
    """
    made = blocks(options, name=name, python_version=python_version, has_models=has_models)
    return "\n".join(make(Layout()) for make in made.values())


def blocks(
    options: BuildOptions, *, name: str, python_version: str, has_models: bool
) -> dict[str, Callable[[Layout], str]]:
    """The parts of the Dockerfile under the names by which a template replaces them; arguments as of `render`."""
    base = choose(options, python_version=python_version)
    python = ".".join(python_version.split(".")[:2])
    bento = _Bento(options, base, name, python, has_models)
    return {block: functools.partial(part, bento) for block, part in _PARTS.items()}


def _base_image(bento: _Bento, layout: Layout) -> str:
    base, docker = bento.base, bento.options.docker
    for number, package in enumerate(docker.system_packages):
        if not _PACKAGE.fullmatch(package):
            raise InvalidArgument(f"docker.system_packages[{number}]: {package!r} is not the name of a package")
    lines = [f"FROM {base.image} AS base", "USER 0"]
    if base.prepare:
        lines.append(f"RUN {base.prepare}")
    if base.packages:
        lines.append(_install(base, base.packages))
    # A base image of the user's is complete; nobody knows how packages are installed in it.
    if docker.system_packages and base.install:
        lines.append(_run_with(base.install, *docker.system_packages))
    return _lines("What is there before the bento.", lines)


def _user(bento: _Bento, layout: Layout) -> str:
    user, number = layout.user, layout.uid_gid
    # By hand, as every distribution has another command for it and some have none.
    steps = [
        f"(grep -qs '^{user}:' /etc/passwd || echo '{user}:x:{number}:{number}::{layout.home}:/bin/sh' >>/etc/passwd)",
        f"(grep -qs '^{user}:' /etc/group || echo '{user}:x:{number}:' >>/etc/group)",
        f"mkdir -p {layout.home} {layout.path}",
        f"chown {number}:{number} {layout.home} {layout.path}",
    ]
    return _lines("", ["RUN " + " \\\n && ".join(steps)])


def _environment(bento: _Bento, layout: Layout) -> str:
    lines = []
    for key, value in bento.options.docker.env.items():
        if not _VARIABLE.fullmatch(require_plain(key, "docker.env")):
            raise InvalidArgument(f"docker.env: {key!r} is not the name of a variable")
        lines.append(f"ENV {key}={_quoted(require_plain(value, f'docker.env.{key}'))}")
    lines += [
        f"ENV BENTO_PATH={_quoted(layout.path)} BENTOML_HOME={_quoted(layout.home)}",
        f"ENV PATH={PREFIX}/bin:$PATH PYTHONUNBUFFERED=1",
    ]
    return _lines("", lines)


def _components(bento: _Bento, layout: Layout) -> str:
    owned = f"COPY --chown={layout.uid_gid}:{layout.uid_gid}"
    lines = [f"COPY --from=packages {PREFIX} {PREFIX}", f"WORKDIR {layout.path}"]
    if bento.has_models:
        lines.append(f"{owned} models/ ./models/")
    lines += [
        f"{owned} env/ ./env/",
        f"{owned} apis/ ./apis/",
        f"{owned} src/ ./src/",
        # The last one is a pattern: it may be missing.
        f"{owned} bento.yaml README.md SHA256SUM[S] ./",
    ]
    if bento.options.docker.setup_script is not None:
        lines.append("RUN chmod +x env/docker/setup_script && env/docker/setup_script")
    packages = _lines("The Python packages. What compiles them does not reach the image.", _packages(bento))
    return packages + "\n" + _lines("The image.", ["FROM base", *lines])


def _packages(bento: _Bento) -> list[str]:
    base = bento.base
    lines = ["FROM base AS packages"]
    if base.build_packages:
        lines.append(_install(base, base.build_packages))
    if bento.options.conda.is_used:
        lines += [
            "COPY env/conda/ /tmp/bento/conda/",
            "RUN --mount=type=cache,target=/opt/conda/pkgs \\\n"
            f"    conda create --yes --prefix {PREFIX} python={bento.python} pip \\\n"
            f" && conda env update --prefix {PREFIX} --file /tmp/bento/conda/environment.yml",
        ]
    else:
        lines.append("RUN " + _VENV.format(base.python, "--system-site-packages " if base.sees_site_packages else ""))
    # Arguments of this stage do not reach the image; a pip.conf, given as a secret, leaves no trace anywhere.
    lines += [
        *(f"ARG {name}=" for name in BUILD_ARGUMENTS),
        "COPY env/python/ /tmp/bento/python/",
        f"RUN --mount=type=cache,target={CACHE} --mount=type=secret,id=pip,target=/etc/pip.conf"
        f" PIP_CACHE_DIR={CACHE} sh /tmp/bento/python/install.sh",
    ]
    return lines


#: Where pip keeps what it has fetched, from one build of an image to the next.
CACHE = "/var/cache/pip"
#: What `docker build --build-arg` may set: extras of this package, and the way to a package index.
BUILD_ARGUMENTS = ("BENTOML_FEATURES", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_TRUSTED_HOST")

_VENV = (
    "python=$(command -v {0} || command -v python) \\\n"
    " || {{ echo 'The base image has no Python; a bento needs python3 with its module venv.' >&2; exit 1; }}; \\\n"
    f'    "$python" -m venv {{1}}{PREFIX}'
)

#: Asks as a client would, without curl and past every proxy.
_HEALTHCHECK = (
    "import http.client, os, sys; "
    f"port = int(os.environ.get('PORT') or os.environ.get('BENTOML_PORT') or {PORT}); "
    "asked = http.client.HTTPConnection('127.0.0.1', port, timeout=4); "
    "asked.request('GET', '/readyz'); "
    "sys.exit(asked.getresponse().status != 200)"
)


def _entrypoint(bento: _Bento, layout: Layout) -> str:
    lines = [
        f"LABEL {_LABEL_NAME}={_quoted(require_plain(bento.name, 'name'))}",
        f"EXPOSE {PORT}",
        "STOPSIGNAL SIGTERM",
        f"HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD {_json(['python', '-c', _HEALTHCHECK])}",
        # By number: Kubernetes cannot tell whether a name is root.
        f"USER {layout.uid_gid}:{layout.uid_gid}",
        # By way of sh, as some archives lose the mode of a file; the script becomes the server.
        f"ENTRYPOINT {_json(['/bin/sh', layout.entrypoint])}",
    ]
    return _lines("", lines)


_PARTS = {
    "SETUP_BENTO_BASE_IMAGE": _base_image,
    "SETUP_BENTO_USER": _user,
    "SETUP_BENTO_ENVARS": _environment,
    "SETUP_BENTO_COMPONENTS": _components,
    "SETUP_BENTO_ENTRYPOINT": _entrypoint,
}


def _install(base: BaseImage, packages: tuple[str, ...]) -> str:
    return "RUN " + base.install.replace('"$@"', " ".join(packages))


def _run_with(script: str, *arguments: str) -> str:
    """RUN in its exec form: the script is ours, whatever comes from outside is an argument of it."""
    return f"RUN {_json(['/bin/sh', '-ec', script, 'sh', *arguments])}"


def _json(words: list[str]) -> str:
    return json.dumps(words)  # ASCII: nothing in it ends a line for anybody


def _quoted(value: str) -> str:
    """A value of ENV or LABEL: neither a variable nor an escape in it is read as one."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


def _lines(title: str, lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in ([f"# {title}"] if title else []) + lines)
