"""Locking: every package that a bento needs, with its version and the digests of its files, as uv resolves them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bentoml._importing import require
from bentoml.build import own_wheel
from bentoml.build.options import PythonOptions
from bentoml.build.requirements import OWN_NAMES, Requirements, normalised_name, without_credentials
from bentoml.exceptions import BentoMLException

__all__ = ["lock"]

#: Looking for versions that fit may take long; a package index that does not answer must not take for ever.
TIME_LIMIT_S = 900
_NETWORK = re.compile(r"dns error|connect|timed out|network|error sending request|failed to fetch", re.IGNORECASE)


def lock(wanted: Requirements, wheels: list[Path], *, python_version: str) -> str:
    """The text of `requirements.lock.txt`: what `wanted` and the bento's wheels need, without these wheels.

    It holds for every platform and for one `X.Y` of Python: images are built for several processors, often on a
    machine that has another one, and markers tell which line is for whom.

    Args:
        wheels: that of this package and those of the user, whose dependencies belong into the lock as well.

    Raises:
        BentoMLException: the packages cannot be resolved; has uv's reason.
    """
    uv = require("uv", install="'makunouchi[build]'", what="locking the packages of a bento")
    minor = ".".join(python_version.split(".")[:2])
    extras = {own_wheel.file_name(): f"[{','.join(wanted.own_extras)}]"} if wanted.own_extras else {}
    names = [normalised_name(wheel.name.split("-")[0]) for wheel in wheels]
    carried = [
        f"{name}{extras.get(wheel.name, '')} @ {wheel.resolve().as_uri()}"
        for name, wheel in zip(names, wheels, strict=True)
    ]
    with tempfile.TemporaryDirectory(prefix="bentoml-lock-") as temporary:
        folder = Path(temporary)
        (folder / "requirements.in").write_text("\n".join([*map(_unhashed, wanted.packages), *carried]) + "\n", "utf-8")
        (folder / "constraints.in").write_text("\n".join(map(_unhashed, wanted.constraints)) + "\n", "utf-8")
        # Without this uv would look for versions for every later Python as well.
        (folder / "pyproject.toml").write_text(f"[tool.uv]\nenvironments = [\"python_version == '{minor}'\"]\n")
        command = [uv.find_uv_bin(), *_arguments(wanted.options, minor, carried=names)]
        done = _run(command, folder, _environment(wanted.options))
    if done.returncode:
        raise _not_locked(done.stderr)
    text = _without_python_marker(re.sub(r"^#.*\n", "", done.stdout, flags=re.MULTILINE), minor)
    unhashed = re.findall(r"^([^\s#].*[^\\\s])$", text, flags=re.MULTILINE)
    if unhashed:
        raise BentoMLException(
            f"{without_credentials(unhashed[0])!r} cannot be pinned by the digest of a file",
            hint="build a wheel of it and name that in `python.wheels`, or set python.lock_packages to false",
        )
    _require_same_files(wanted.packages, text)
    return text


def _arguments(options: PythonOptions, minor: str, *, carried: list[str]) -> list[str]:
    arguments = [
        "pip", "compile", "requirements.in", "--constraint", "constraints.in", "--universal", "--generate-hashes",
        # This interpreter reads what is only a source; uv would look for, and fetch, one of the version locked for.
        "--python-version", minor, "--python", sys.executable, "--no-python-downloads",
        "--no-header", "--no-annotate", "--quiet", "--no-progress", "--color", "never",
    ]  # fmt: skip
    for name in dict.fromkeys([*OWN_NAMES, *carried]):
        arguments += ["--no-emit-package", name]
    for place in options.find_links:
        arguments += ["--find-links", place]
    for host in options.trusted_host:
        arguments += ["--allow-insecure-host", host]
    if options.no_index:
        arguments.append("--no-index")
    if "--pre" in (options.pip_args or "").split():
        arguments += ["--prerelease", "allow"]
    return arguments


def _environment(options: PythonOptions) -> dict[str, str]:
    """Index addresses go as variables: arguments, and the credentials in them, are seen by every user of a machine."""
    environment = dict(os.environ)
    # What pip is told by its variables holds for uv as well, unless uv is told something itself.
    index = options.index_url or (
        None if {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & environment.keys() else environment.get("PIP_INDEX_URL")
    )
    if index:
        environment["UV_DEFAULT_INDEX"] = index
    more = [*options.extra_index_url, *environment.get("UV_INDEX", environment.get("PIP_EXTRA_INDEX_URL", "")).split()]
    if more:
        environment["UV_INDEX"] = " ".join(more)
    environment.pop("VIRTUAL_ENV", None)
    return environment


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BentoMLException(
            f"the packages could not be locked within {TIME_LIMIT_S} s", hint="pin the versions of the larger ones"
        ) from None


def _not_locked(said: str) -> BentoMLException:
    # uv draws a tree of causes; one line has no room for its branches.
    reason = without_credentials(" ".join(re.sub(r"[^\x00-\x7f]", " ", said).split()))
    if _NETWORK.search(reason):
        hint = "check the way to the package index, or set python.lock_packages to false"
    else:
        hint = "change the requirements, or set python.lock_packages to false to leave the choice to the installation"
    return BentoMLException(f"the packages of the bento cannot be locked: {reason or 'uv gave no reason'}", hint=hint)


def _without_python_marker(text: str, minor: str) -> str:
    """uv repeats in every line that the lock is for one version of Python."""
    major, _, number = minor.partition(".")
    bound = f"python_full_version < '{major}.{int(number) + 1}'"
    return text.replace(f" ; {bound} and ", " ; ").replace(f" ; {bound} \\\n", " \\\n")


def _unhashed(line: str) -> str:
    """The line without its digests: uv takes them for all lines or for none, and our own wheel has none."""
    return re.sub(r"\s+--hash=\S+", "", line)


def _require_same_files(packages: list[str], text: str) -> None:
    """Whoever wrote digests into a requirements file meant these files and no others."""
    for line in packages:
        digests = re.findall(r"--hash=(\S+)", line)
        name = re.escape(re.split(r"[^\w.-]", line)[0].lower())
        if digests and re.search(rf"^{name}==", text, re.MULTILINE) and not any(digest in text for digest in digests):
            raise BentoMLException(
                f"{_unhashed(line)!r}: the package index has no file with the digest that the requirements file names",
                hint="find out why it changed before you remove the digest",
            )
