"""Base images: where the image of a bento starts, and how packages are installed there; tables and one choice."""

from __future__ import annotations

import re
from typing import NamedTuple

from bentoml.build.options import BuildOptions
from bentoml.build.paths import require_plain
from bentoml.exceptions import InvalidArgument

__all__ = ["PYTHONS", "BaseImage", "choose"]

#: Versions of Python that this package runs on.
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
#: Those of them that the images or packages of a distribution have.
PYTHON_VERSIONS = {
    "debian": PYTHONS,
    "alpine": PYTHONS,
    "amazonlinux": ("3.11", "3.12", "3.13"),
    "ubi8": ("3.11", "3.12"),
}
#: What a bentofile may say → the version of the image.
CUDA_VERSIONS = {
    "default": "12.1.1",
    "12": "12.1.1", "12.1": "12.1.1", "12.1.0": "12.1.0", "12.1.1": "12.1.1",
    "12.0": "12.0.1", "12.0.0": "12.0.0", "12.0.1": "12.0.1",
    "11": "11.8.0", "11.8": "11.8.0", "11.8.0": "11.8.0",
    "11.7": "11.7.1", "11.7.0": "11.7.0", "11.7.1": "11.7.1",
    "11.6": "11.6.2", "11.6.2": "11.6.2",
    "11.4": "11.4.3", "11.4.3": "11.4.3",
    "11.2": "11.2.2", "11.2.2": "11.2.2",
}  # fmt: skip
#: The first CUDA with images of Ubuntu 22.04; older ones stand on 20.04, for which nobody builds Python 3.10.
FIRST_CUDA_ON_JAMMY = (11, 7)
#: In Ubuntu 22.04 itself; later ones come from the archive that everybody uses for them.
PYTHON_OF_JAMMY = ("3.10", "3.11")

APT = (
    'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"'
    " && rm -rf /var/lib/apt/lists/*"
)
APK = 'apk add --no-cache "$@"'
DNF = 'dnf install -y "$@" && dnf clean all'
DEADSNAKES = (
    "apt-get update && apt-get install -y --no-install-recommends software-properties-common"
    " && add-apt-repository -y ppa:deadsnakes/ppa"
)


class BaseImage(NamedTuple):
    """Where an image starts.

    Attributes:
        image: the reference behind FROM.
        install: a script of sh that installs the packages given as its arguments; "" where that is not known.
        prepare: a script of sh that runs before it.
        packages: what is missing to run Python.
        build_packages: what is missing to compile an extension; stays out of the final image.
        python: the command of its interpreter.
        sees_site_packages: whether what its Python has installed is part of the environment.
    """

    image: str
    install: str
    prepare: str = ""
    packages: tuple[str, ...] = ()
    build_packages: tuple[str, ...] = ()
    python: str = "python3"
    sees_site_packages: bool = False


def choose(options: BuildOptions, *, python_version: str) -> BaseImage:
    """The base image that a bentofile asks for.

    Args:
        python_version: `X.Y`, or more, which is dropped.

    Raises:
        InvalidArgument: there is none for this combination; names the key and what there is.
    """
    docker = options.docker
    if not re.fullmatch(r"3\.[0-9]{1,2}(\.[0-9]{1,2})?", python_version, re.ASCII):
        raise InvalidArgument(f"docker.python_version: {python_version!r} is not a version", hint='as in "3.12"')
    if docker.base_image is not None:
        return BaseImage(_reference(docker.base_image), install="", sees_site_packages=True)
    versions = PYTHON_VERSIONS.get(docker.distro)
    if versions is None:
        raise InvalidArgument(f"docker.distro: {docker.distro!r} is none of {', '.join(PYTHON_VERSIONS)}")
    python = ".".join(python_version.split(".")[:2])
    if options.conda.is_used:
        return _with_conda(docker.distro)
    if python not in versions:
        raise InvalidArgument(
            f"docker.python_version: {docker.distro} has no image with Python {python}, but with {', '.join(versions)}"
        )
    if docker.cuda_version is not None:
        return _with_cuda(docker.distro, docker.cuda_version, python)
    if docker.distro == "debian":
        return BaseImage(f"python:{python}-slim", APT, build_packages=("build-essential",))
    if docker.distro == "alpine":
        return BaseImage(f"python:{python}-alpine", APK, build_packages=("build-base",))
    if docker.distro == "amazonlinux":
        return _with_dnf("amazonlinux:2023", python)
    # The image comes with compilers and headers.
    return BaseImage(f"registry.access.redhat.com/ubi8/python-{python.replace('.', '')}:1", DNF)


def _with_conda(distro: str) -> BaseImage:
    if distro == "debian":
        return BaseImage("continuumio/miniconda3:latest", APT, build_packages=("build-essential",))
    if distro == "alpine":
        return BaseImage("continuumio/miniconda3:4.10.3p0-alpine", APK, build_packages=("build-base",))
    raise InvalidArgument(f"conda: there is no image of {distro} with conda", hint="docker.distro: debian, or alpine")


def _with_cuda(distro: str, asked: str, python: str) -> BaseImage:
    cuda = CUDA_VERSIONS.get(asked)
    if cuda is None:
        raise InvalidArgument(
            f"docker.cuda_version: {asked!r} is none of {', '.join(CUDA_VERSIONS)}",
            hint="name an image of your own with docker.base_image",
        )
    if distro == "ubi8":
        return _with_dnf(f"nvidia/cuda:{cuda}-cudnn8-runtime-ubi8", python)
    if distro != "debian":
        raise InvalidArgument(
            f"docker.cuda_version: there is no image of {distro} with CUDA", hint="docker.distro: debian, or ubi8"
        )
    if tuple(map(int, cuda.split(".")[:2])) < FIRST_CUDA_ON_JAMMY:
        raise InvalidArgument(
            f"docker.cuda_version: the images with CUDA {cuda} are of Ubuntu 20.04, which has no Python {python}",
            hint="11.7 or later, or docker.distro: ubi8, or an image of your own with docker.base_image",
        )
    return BaseImage(
        f"nvidia/cuda:{cuda}-cudnn8-runtime-ubuntu22.04",
        APT,
        prepare="" if python in PYTHON_OF_JAMMY else DEADSNAKES,
        packages=(f"python{python}", f"python{python}-venv"),
        build_packages=("build-essential", f"python{python}-dev"),
        python=f"python{python}",
    )


def _with_dnf(image: str, python: str) -> BaseImage:
    return BaseImage(
        image,
        DNF,
        packages=(f"python{python}",),
        build_packages=("gcc", "gcc-c++", f"python{python}-devel"),
        python=f"python{python}",
    )


def _reference(image: str) -> str:
    require_plain(image, "docker.base_image")
    # The characters of image references; a Dockerfile reads some others in its own way.
    if not image[:1].isalnum() or not all(char.isascii() and (char.isalnum() or char in "._/:@+-") for char in image):
        raise InvalidArgument(
            f"docker.base_image: {image!r} is not the name of an image", hint="as in python:3.12-slim"
        )
    return image
