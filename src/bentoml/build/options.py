"""What a bentofile may say, as typed closed records: one for each section, in the order of `bento.yaml`."""

from __future__ import annotations

import msgspec

__all__ = ["BuildOptions", "CondaOptions", "DockerOptions", "ModelOption", "PythonOptions"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: frozen, and a misspelt key is an error."""


class DockerOptions(Options, frozen=True):
    """The image that the bento will run in.

    Attributes:
        distro: `debian`, `alpine`, `amazonlinux` or `ubi8`.
        python_version: `X.Y`; None is that of the interpreter that builds.
        cuda_version: `default`, or a version of CUDA; None is no GPU.
        env: environment variables.
        system_packages: to install with the distribution's package manager.
        setup_script: path of an executable in the build context, run once while the image is built.
        base_image: replaces distro, python_version, cuda_version and system_packages.
        dockerfile_template: path of a Jinja2 template that extends the generated Dockerfile.
    """

    distro: str = "debian"
    python_version: str | None = None
    cuda_version: str | None = None
    env: dict[str, str] = {}
    system_packages: list[str] = []
    setup_script: str | None = None
    base_image: str | None = None
    dockerfile_template: str | None = None


class PythonOptions(Options, frozen=True):
    """The Python packages that the service needs.

    Attributes:
        requirements_txt: path of a file; wins over `packages`.
        packages: requirement specifiers.
        lock_packages: pin every package with its hashes; None is yes for `packages`, no for `requirements_txt`.
        index_url, no_index, trusted_host, find_links, extra_index_url: as pip understands them.
        pip_args: further arguments of `pip install`, split like a shell would split them.
        wheels: paths of wheels that the bento carries along.
    """

    requirements_txt: str | None = None
    packages: list[str] = []
    lock_packages: bool | None = None
    index_url: str | None = None
    no_index: bool | None = None
    trusted_host: list[str] = []
    find_links: list[str] = []
    extra_index_url: list[str] = []
    pip_args: str | None = None
    wheels: list[str] = []

    @property
    def is_locked(self) -> bool:
        """Whether packages are pinned: what `lock_packages` says or, without a word, comes to."""
        return self.requirements_txt is None if self.lock_packages is None else self.lock_packages


class CondaOptions(Options, frozen=True):
    """A conda environment; empty where everything stays unset.

    Attributes:
        environment_yml: path of an environment file, used as it stands.
        channels: default `conda-forge` where there are dependencies.
        dependencies: conda packages.
        pip: packages that pip installs into the conda environment.
    """

    environment_yml: str | None = None
    channels: list[str] = []
    dependencies: list[str] = []
    pip: list[str] = []

    @property
    def is_used(self) -> bool:
        """Whether the bento needs conda at all."""
        return bool(self.environment_yml or self.dependencies or self.pip)


class ModelOption(Options, frozen=True):
    """A model that the bento carries.

    Attributes:
        tag: name, with or without a version.
        filter: kept for registries; nothing is pulled here.
        alias: a name under which `bentoml.models.get` finds it inside of the bento.
    """

    tag: str
    filter: str | None = None
    alias: str | None = None


class BuildOptions(Options, frozen=True):
    """A whole bentofile, after lists and short forms have been brought into one form; paths are still relative.

    Attributes:
        service: import string of the service.
        name: of the bento; None is that of the service.
        description: text of its README, or `file: PATH`.
        include, exclude: gitignore patterns of the files that it holds.
        models: instead of those that the service and its runners name.
    """

    service: str
    name: str | None = None
    description: str | None = None
    labels: dict[str, str] = {}
    include: list[str] = msgspec.field(default_factory=lambda: ["*"])
    exclude: list[str] = []
    models: list[ModelOption] = []
    docker: DockerOptions = DockerOptions()
    python: PythonOptions = PythonOptions()
    conda: CondaOptions = CondaOptions()
