"""Real images for the tests: a base image made on this machine, and buildah with a storage of its own.

Nothing comes from a registry of images: debootstrap makes a small Debian from Debian's packages.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

BASE_IMAGE = "localhost/bentoml-test-base:latest"
#: Of the machine that has these tools, so that its Python is the one of the image.
TOOLS = ("buildah", "debootstrap")


def require_tools() -> None:
    """Skip the test where no image can be built; fail where it must not be skipped."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    reason = f"{', '.join(missing)} is not installed" if missing else "root is needed" if os.geteuid() else ""
    if reason:
        reason += ", without which no base image can be made"
        if os.environ.get("BENTOML_TEST_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


class Buildah:
    """buildah with images, containers and caches in `folder` alone."""

    def __init__(self, folder: Path) -> None:
        self._graph = folder / "graph"
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        # Without the kernel's overlay each layer is a whole copy: slow, but the same.
        driver = "overlay" if "\toverlay\n" in Path("/proc/filesystems").read_text() else "vfs"
        configuration = folder / "storage.conf"
        configuration.write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{self._graph}"\nrunroot = "{folder / "run"}"\n'
        )
        self.environment = {
            "BUILDAH_ISOLATION": "chroot",  # a container in a container has no right to namespaces
            "CONTAINERS_STORAGE_CONF": str(configuration),
            "TMPDIR": str(self._temporary),
        }

    def __call__(self, *arguments: str) -> str:
        """Run a command to its end; what it printed."""
        done = subprocess.run(
            ["buildah", *arguments], env={**os.environ, **self.environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"buildah {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def config(self, image: str) -> dict[str, Any]:
        """What the image says about how it is run."""
        return dict(json.loads(self("inspect", "--type", "image", image))["Docker"]["config"])

    @contextlib.contextmanager
    def container(self, image: str) -> Iterator[str]:
        """A container of the image, not running yet."""
        name = self("from", image)
        try:
            yield name
        finally:
            self("rm", name)

    def run(self, container: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The command that runs something in a container as the image's user and with its environment."""
        return ["buildah", "run", *options, container, "--", *arguments]

    def close(self) -> None:
        """Remove it all; the kernel holds the folder otherwise."""
        self("rm", "--all")
        self("rmi", "--all", "--force")
        subprocess.run(["umount", "--lazy", str(self._graph / "overlay")], capture_output=True, check=False)


@contextlib.contextmanager
def buildah_with_base_image(folder: Path) -> Iterator[Buildah]:
    """buildah, which has BASE_IMAGE: Debian with python3 and its module venv, and nothing else."""
    buildah = Buildah(folder)
    root = folder / "base"
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=python3-venv,ca-certificates", _suite(), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr}"
    containerfile = folder / "Containerfile"
    containerfile.write_text('FROM scratch\nCOPY . /\nCMD ["/bin/sh"]\n')
    try:
        buildah("build", "--tag", BASE_IMAGE, "--file", str(containerfile), str(root))
        shutil.rmtree(root)
        yield buildah
    finally:
        buildah.close()


def _suite() -> str:
    """The release of Debian that this machine runs."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise AssertionError("this machine is no Debian")


def python_version() -> str:
    """`X.Y` of the Python in BASE_IMAGE."""
    return {"bookworm": "3.11", "trixie": "3.13"}[_suite()]


def way_to_the_index(folder: Path) -> list[str]:
    """Options of containerize with which pip in the build reaches the index that pip reaches here."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        found[key.rpartition(".")[2]] = value.strip("'\"")
    lines = [f"{key} = {found[key]}" for key in ("index-url", "trusted-host", "timeout") if key in found]
    options = []
    if certificates := found.get("cert"):
        lines.append("cert = /tmp/certificates.crt")
        options += ["--opt", f"volume={certificates}:/tmp/certificates.crt:ro"]
    configuration = folder / "pip.conf"
    configuration.write_text("[global]\n" + "".join(f"{line}\n" for line in lines))
    return ["--secret", f"id=pip,src={configuration}", *options]
