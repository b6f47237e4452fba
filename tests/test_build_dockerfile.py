"""The Dockerfile of a bento: what it says for each option, and that no value of a bentofile says anything in it (T16)."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
import yaml

from bentoml.build import conda_env, docker_env, python_env
from bentoml.build.dockerfile import render
from bentoml.build.options import BuildOptions, CondaOptions, DockerOptions, ModelOption
from bentoml.build.python_env import install_script
from bentoml.build.requirements import read
from bentoml.exceptions import BentoMLException, InvalidArgument
from tests._dockerfile import Instruction, instructions


def rendered(docker: DockerOptions | None = None, **more: Any) -> list[Instruction]:
    python_version = more.pop("python_version", "3.12")
    has_models = more.pop("has_models", True)
    options = BuildOptions(service="service:svc", docker=docker or DockerOptions(), **more)
    return instructions(render(options, name="iris", python_version=python_version, has_models=has_models))


def words_of(found: list[Instruction], keyword: str) -> list[tuple[str, ...]]:
    return [each.words for each in found if each.keyword == keyword]


# -- what it says ------------------------------------------------------------------------------------------------------


def test_layers_are_ordered_by_how_often_they_change() -> None:
    found = rendered(DockerOptions(system_packages=["libgomp1"], env={"A": "b"}))
    stages = [index for index, each in enumerate(found) if each.keyword == "FROM"]
    base, packages, final = (found[start:end] for start, end in zip(stages, [*stages[1:], None], strict=True))
    assert [each.keyword for each in base] == ["FROM", "USER", "RUN", "RUN", "ENV", "ENV", "ENV"]
    assert base[0].words == ("python:3.12-slim", "AS", "base")
    assert base[2].words[-1] == "libgomp1"
    assert packages[0].words == ("base", "AS", "packages")
    assert "build-essential" in packages[1].words[0]
    assert packages[-1].flags == (
        "--mount=type=cache,target=/var/cache/pip",
        "--mount=type=secret,id=pip,target=/etc/pip.conf",
    )
    copied = [each.words[0] for each in final if each.keyword == "COPY"]
    assert copied == ["/opt/bentoml", "models/", "env/", "apis/", "src/", "bento.yaml"]


def test_the_image_runs_as_a_user_who_is_not_root_and_says_whether_it_is_ready() -> None:
    found = rendered()
    assert found[-1] == Instruction(
        "ENTRYPOINT", (), "exec", ("/bin/sh", "/home/bentoml/bento/env/docker/entrypoint.sh")
    )
    assert found[-2] == Instruction("USER", (), "words", ("1034:1034",))
    assert words_of(found, "EXPOSE") == [("3000",)]
    assert words_of(found, "STOPSIGNAL") == [("SIGTERM",)]
    [check] = words_of(found, "HEALTHCHECK")
    assert check[:2] == ("python", "-c")
    assert "/readyz" in check[2]
    environment = {pair for words in words_of(found, "ENV") for pair in words}
    assert {"BENTO_PATH=/home/bentoml/bento", "BENTOML_HOME=/home/bentoml/"} <= environment


def test_the_health_check_is_a_program() -> None:
    compile(words_of(rendered(), "HEALTHCHECK")[0][2], "healthcheck", "exec")


def test_a_bento_without_models_copies_none() -> None:
    copied = [each.words[0] for each in rendered(has_models=False) if each.keyword == "COPY"]
    assert "models/" not in copied


def test_no_name_of_this_project_is_looked_for_in_an_index() -> None:
    assert not any("makunouchi" in word for each in rendered() for word in each.words)


@pytest.mark.parametrize(
    ("docker", "python_version", "image"),
    [
        (DockerOptions(), "3.10", "python:3.10-slim"),
        (DockerOptions(distro="alpine"), "3.13.2", "python:3.13-alpine"),
        (DockerOptions(distro="amazonlinux"), "3.11", "amazonlinux:2023"),
        (DockerOptions(distro="ubi8"), "3.12", "registry.access.redhat.com/ubi8/python-312:1"),
        (DockerOptions(cuda_version="default"), "3.11", "nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04"),
        (DockerOptions(cuda_version="11.8"), "3.12", "nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04"),
        (DockerOptions(cuda_version="11.6.2", distro="ubi8"), "3.11", "nvidia/cuda:11.6.2-cudnn8-runtime-ubi8"),
        (DockerOptions(base_image="ghcr.io/Acme/base:1@sha256:abc"), "3.12", "ghcr.io/Acme/base:1@sha256:abc"),
    ],
)
def test_the_base_image_follows_from_the_options(docker: DockerOptions, python_version: str, image: str) -> None:
    assert rendered(docker, python_version=python_version)[0].words == (image, "AS", "base")


def test_a_later_python_on_cuda_comes_from_the_archive_that_has_it() -> None:
    found = rendered(DockerOptions(cuda_version="12.1"), python_version="3.12")
    assert any("deadsnakes" in word for each in found for word in each.words)
    assert any("python3.12-venv" in word for each in found for word in each.words)
    found = rendered(DockerOptions(cuda_version="12.1"), python_version="3.11")
    assert not any("deadsnakes" in word for each in found for word in each.words)


def test_conda_makes_the_environment_of_the_image() -> None:
    found = rendered(conda=CondaOptions(dependencies=["numpy"]))
    assert found[0].words[0] == "continuumio/miniconda3:latest"
    [made] = [each for each in found if each.keyword == "RUN" and "conda create" in each.words[0]]
    assert "python=3.12" in made.words[0]
    assert not any("-m venv" in word for each in found for word in each.words)


def test_the_packages_of_a_base_image_stay_in_sight_and_nothing_is_installed_in_it() -> None:
    found = rendered(DockerOptions(base_image="acme/base", system_packages=["git"]))
    assert any("-m venv --system-site-packages /opt/bentoml" in word for each in found for word in each.words)
    assert not any("apt-get" in word or word == "git" for each in found for word in each.words)
    assert not any("--system-site-packages" in word for each in rendered() for word in each.words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"docker": DockerOptions(distro="suse")},
            "docker.distro: 'suse' is none of debian, alpine, amazonlinux, ubi8",
        ),
        (
            {"docker": DockerOptions(distro="ubi8"), "python_version": "3.10"},
            "docker.python_version: ubi8 has no image with Python 3.10, but with 3.11, 3.12",
        ),
        (
            {"docker": DockerOptions(cuda_version="11.6"), "python_version": "3.10"},
            "docker.cuda_version: the images with CUDA 11.6.2 are of Ubuntu 20.04, which has no Python 3.10 (hint: 11.7 "
            "or later, or docker.distro: ubi8, or an image of your own with docker.base_image)",
        ),
        (
            {"docker": DockerOptions(distro="alpine", cuda_version="12.1")},
            "docker.cuda_version: there is no image of alpine with CUDA (hint: docker.distro: debian, or ubi8)",
        ),
        (
            {"docker": DockerOptions(distro="ubi8"), "conda": CondaOptions(pip=["x"])},
            "conda: there is no image of ubi8 with conda (hint: docker.distro: debian, or alpine)",
        ),
        (
            {"docker": DockerOptions(base_image="--platform=x y")},
            "docker.base_image: '--platform=x y' is not the name of an image (hint: as in python:3.12-slim)",
        ),
        (
            {"docker": DockerOptions(system_packages=["git", "-o=x"])},
            "docker.system_packages[1]: '-o=x' is not the name of a package",
        ),
        ({"docker": DockerOptions(env={"A B": "c"})}, "docker.env: 'A B' is not the name of a variable"),
    ],
)
def test_what_has_no_image_is_refused_with_its_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        rendered(**options)
    assert str(caught.value) == message


def test_an_unknown_cuda_version_names_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"docker.cuda_version: '9' is none of default, 12, 12\.1, .*base_image"):
        rendered(DockerOptions(cuda_version="9"))


# -- T16: values are values --------------------------------------------------------------------------------------------

HOSTILE = [
    "a\nRUN id", "a\rRUN id", "a\0b", "a\x0bb", "a\x85RUN id", "a\u2028RUN id", "$(id)", "`id`", "a; id", "a && id",
    "'", '"', "it's", 'a" b', "{{7*7}}", "{% block x %}", "{# x", "\\", "a\\", "$HOME", "${HOME}", "$$", "--from=x",
    "-o x", "<<EOF", "# escape=`", '["a"]', "a b", "%s {0}", "é", "../../etc/passwd", "~/x",
]  # fmt: skip
HARMLESS = "harmless"


@dataclasses.dataclass
class Leaf:
    """One text of the bentofile, and the options that have it."""

    key: str
    options: BuildOptions


def leaves(value: str, around: BuildOptions) -> Iterator[Leaf]:
    """Options for each field that holds text: this one is `value`, all others are as in `around`."""
    for path, hint in _text_fields(BuildOptions):
        for content in _holding(hint, value):
            yield Leaf(".".join(path), _options_with(around, path, content))


def _text_fields(record: type) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, hint in get_type_hints(record).items():
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from (((name, *rest), inner) for rest, inner in _text_fields(hint))
        else:
            yield (name,), hint


def _holding(hint: Any, value: str) -> Iterator[Any]:
    kinds = {hint, *get_args(hint)}
    if get_origin(hint) is dict:
        yield {"KEY": value}
        yield {value: "text"}
    elif hint == list[ModelOption]:
        yield [ModelOption(tag=value, filter=value, alias=value)]
    elif get_origin(hint) is list:
        yield [value]
    elif str in kinds:
        yield value
    else:
        assert bool in kinds, f"a kind of field that this test does not know: {hint}"


def _options_with(base: BuildOptions, path: tuple[str, ...], content: Any) -> BuildOptions:
    *parents, last = path
    if not parents:
        return msgspec.structs.replace(base, **{last: content})
    section = msgspec.structs.replace(getattr(base, parents[0]), **{last: content})
    return msgspec.structs.replace(base, **{parents[0]: section})


#: What else is set while one text after the other takes hostile values.
AROUND = {
    "nothing": BuildOptions(service="service:svc"),
    "conda": BuildOptions(service="service:svc", conda=CondaOptions(dependencies=["python"])),
    "base image": BuildOptions(service="service:svc", docker=DockerOptions(base_image="acme/base")),
    "template": BuildOptions(service="service:svc", docker=DockerOptions(dockerfile_template="Dockerfile.template")),
}


def outcome(options: BuildOptions, value: str, folder: Path) -> list[Any]:
    """All that is generated from the options, as others read it, with the value itself blanked out."""
    context = folder / "context"
    context.mkdir(parents=True)
    (context / "Dockerfile.template").write_text("{% extends bento_base_template %}\n")
    if not set(value) & {"\0", "/"}:
        (context / value).write_text("")  # so that keys that name a file find one
        (context / value).chmod(0o755)
    wanted = read(options.python, context=context)
    if options.python.wheels:
        python_env.write(folder / "bento", options.python, context=context, python_version="3.12")
    conda_env.write(folder / "bento", options.conda, context=context)
    docker_env.write(folder / "bento", options, context=context, name=options.name or "iris")
    env = folder / "bento" / "env" / "docker"
    install = install_script(wanted)
    for script in (install, (env / "entrypoint.sh").read_text()):
        _require_shell(script)
    if options.python.pip_args is not None:  # becomes several words, see the test of what pip is given
        install = ""
    parsed = [
        instructions((env / "Dockerfile").read_text()),
        yaml.safe_load((folder / "bento/env/conda/environment.yml").read_text()) if options.conda.is_used else {},
        shlex.split(install, comments=True),
        wanted.packages,
    ]
    return [_blanked(each, value) for each in parsed]


def outcome_or_reason(options: BuildOptions, value: str, folder: Path) -> list[Any] | str:
    try:
        return outcome(options, value, folder)
    except BentoMLException as error:
        return str(error)


@functools.cache
def _require_shell(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def _blanked(parsed: Any, value: str) -> Any:
    if isinstance(parsed, str):
        return (
            "VALUE"
            if parsed == value
            else f"{parsed.removesuffix(f'={value}')}=VALUE"
            if parsed.endswith(f"={value}")
            else parsed
        )
    if isinstance(parsed, dict):
        return {_blanked(key, value): _blanked(each, value) for key, each in parsed.items()}
    return [_blanked(each, value) for each in parsed] if isinstance(parsed, (list, tuple)) else parsed


@pytest.mark.parametrize("around", AROUND)
def test_no_value_of_a_bentofile_becomes_part_of_an_instruction_or_a_script(around: str, tmp_path: Path) -> None:
    harmless: dict[int, list[Any]] = {}
    taken, refused = 0, 0
    for number, hostile in enumerate(HOSTILE):
        for index, leaf in enumerate(leaves(hostile, AROUND[around])):
            folder = tmp_path / f"{number}-{index}"
            found = outcome_or_reason(leaf.options, hostile, folder)
            if isinstance(found, str):
                assert leaf.key in found, f"{hostile!r} in {leaf.key}: {found}"
                refused += 1
                continue
            taken += 1
            if index not in harmless:
                options = list(leaves(HARMLESS, AROUND[around]))[index].options
                harmless[index] = outcome(options, HARMLESS, folder / HARMLESS)
            assert found == harmless[index], f"{hostile!r} in {leaf.key}"
    assert taken > len(HOSTILE)
    assert refused > len(HOSTILE)


def test_every_text_of_a_bentofile_takes_part_in_that_test() -> None:
    keys = {leaf.key for leaf in leaves(HARMLESS, AROUND["nothing"])}
    assert {"service", "labels", "include", "models", "docker.env", "docker.base_image", "python.packages"} <= keys
    assert {"python.index_url", "python.pip_args", "python.wheels", "conda.pip", "docker.setup_script"} <= keys


@pytest.mark.parametrize("value", [value for value in HOSTILE if value.isprintable()])
def test_a_variable_of_the_image_has_the_value_that_was_written(value: str) -> None:
    found = rendered(DockerOptions(env={"KEY": value}))
    assert (f"KEY={value}",) in words_of(found, "ENV")
