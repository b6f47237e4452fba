"""Container images: how each tool is called, which one is used, what is refused; with tools that only say so."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bentoml import container
from bentoml.container import backends, features
from bentoml.container.backends import argv, get_backend
from bentoml.container.image_tag import require_image_tag
from bentoml.container.request import DOCKERFILE, Request
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound

CONTEXT = Path("/store/iris/v1")
FILE = f"--file=/store/iris/v1/{DOCKERFILE}"

#: Stands for a tool: says how it was called, and fails when it is told to.
FAKE_TOOL = f"""#!{sys.executable}
import os, sys
name = os.path.basename(sys.argv[0])
print(name, *sys.argv[1:], "BUILDKIT=" + os.environ.get("DOCKER_BUILDKIT", ""))
sys.exit(int(os.environ.get("FAKE_" + sys.argv[1].upper(), 0)))
"""


def request(*tags: str, **options: Any) -> Request:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return Request(context=CONTEXT, tags=tags or ("iris:v1",), options=named)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(FAKE_TOOL)
        (folder / name).chmod(0o755)


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    """The folder of a bento."""
    folder = tmp_path / "bento"
    (folder / DOCKERFILE).parent.mkdir(parents=True)
    (folder / DOCKERFILE).write_text("FROM scratch\n")
    (folder / "bento.yaml").write_text(
        "service: service:svc\nname: iris\nversion: v1\ncreation_time: '2026-01-01T00:00:00+00:00'\nmodels: []\n"
    )
    return folder


# -- how each tool is called -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "command"),
    [
        ("docker", {}, ["docker", "build", "--tag=iris:v1", FILE, str(CONTEXT)]),
        (
            "docker",
            {"build_arg": ("A=b c", "D=$(id)"), "no_cache": True, "platform": ("linux/arm64",), "progress": ("plain",)},
            [
                "docker", "build", "--tag=iris:v1", "--build-arg=A=b c", "--build-arg=D=$(id)", "--no-cache",
                "--platform=linux/arm64", "--progress=plain", FILE, str(CONTEXT),
            ],
        ),
        ("buildx", {}, ["docker", "buildx", "build", "--load", "--tag=iris:v1", FILE, str(CONTEXT)]),
        ("buildx", {"push": True}, ["docker", "buildx", "build", "--tag=iris:v1", "--push", FILE, str(CONTEXT)]),
        (
            "podman",
            {"progress": ("plain",), "load": True, "no_cache": True},
            ["podman", "build", "--format=docker", "--tag=iris:v1", "--no-cache", FILE, str(CONTEXT)],
        ),
        (
            "buildah",
            {"secret": ("id=pip,src=pip.conf",)},
            [
                "buildah", "build", "--format=docker", "--layers", "--tag=iris:v1", "--secret=id=pip,src=pip.conf", FILE,
                str(CONTEXT),
            ],
        ),
        ("nerdctl", {"pull": True}, ["nerdctl", "build", "--tag=iris:v1", "--pull", FILE, str(CONTEXT)]),
        (
            "buildctl",
            {
                "build_arg": ("A=b",), "label": ("x=y",), "no_cache": True, "platform": ("linux/amd64", "linux/arm64"),
                "cache_from": ("type=registry,ref=x",), "target": ("base",), "push": True, "load": True,
            },
            [
                "buildctl", "build", "--frontend=dockerfile.v0", f"--local=context={CONTEXT}",
                f"--local=dockerfile={CONTEXT}/env/docker", "--output=type=image,name=iris:v1,push=true",
                "--opt=build-arg:A=b", "--opt=label:x=y", "--no-cache", "--opt=platform=linux/amd64,linux/arm64",
                "--import-cache=type=registry,ref=x", "--opt=target=base",
            ],
        ),
        (
            "buildctl",
            {"output": ("type=tar,dest=x",), "build_context": ("base=docker-image://x",)},
            [
                "buildctl", "build", "--frontend=dockerfile.v0", f"--local=context={CONTEXT}",
                f"--local=dockerfile={CONTEXT}/env/docker", "--output=type=tar,dest=x",
                "--opt=context:base=docker-image://x",
            ],
        ),
    ],
)  # fmt: skip
def test_each_tool_is_called_in_its_way(name: str, options: dict[str, Any], command: list[str]) -> None:
    assert argv(get_backend(name), request(**options)) == command


def test_several_tags() -> None:
    assert argv(get_backend("docker"), request("a:1", "b:2"))[2:4] == ["--tag=a:1", "--tag=b:2"]
    assert '--output=type=image,"name=a:1,b:2"' in argv(get_backend("buildctl"), request("a:1", "b:2"))


def test_as_root_it_runs_by_sudo() -> None:
    assert argv(get_backend("podman"), request()._replace(run_as_root=True))[:3] == ["sudo", "podman", "build"]


def test_an_option_that_a_tool_has_not_is_refused_with_a_way_out() -> None:
    with pytest.raises(InvalidArgument) as caught:
        argv(get_backend("buildah"), request(push=True))
    assert str(caught.value) == "buildah has no option --push (hint: push it afterwards)"


# -- which tool --------------------------------------------------------------------------------------------------------


def test_the_first_tool_that_works_is_used(tools: Path, bento: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tools, "buildah", "podman")
    assert container.health("podman")
    assert not container.health("docker")
    assert backends.AUTOMATIC == ("docker", "podman", "nerdctl", "buildah", "buildctl")
    assert container.build(bento) == ["iris:v1"]
    install(tools, "docker")
    monkeypatch.setenv("FAKE_INFO", "1")  # all are installed, and none works
    with pytest.raises(BentoMLException) as caught:
        container.build(bento)
    assert str(caught.value) == (
        "nothing here can build an image: none of docker, podman, nerdctl, buildah, buildctl is installed and works "
        "(hint: install one of them; if one is there, --backend with its name says what is wrong)"
    )


def test_a_named_tool_that_is_missing_or_broken_is_told(
    tools: Path, bento: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BentoMLException) as caught:
        container.build(bento, backend="podman")
    assert str(caught.value) == "the backend podman is not installed (hint: install podman)"
    install(tools, "podman")
    monkeypatch.setenv("FAKE_INFO", "1")
    with pytest.raises(BentoMLException) as caught:
        container.build(bento, backend="podman")
    assert str(caught.value) == "the backend podman does not work (hint: run `podman info` to see why)"


def test_an_unknown_tool_is_told_with_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"there is no backend 'kaniko' \(hint: there are docker, podman, nerdctl, "):
        container.get_backend("kaniko")


# -- building ----------------------------------------------------------------------------------------------------------


def test_the_tool_speaks_while_it_works(tools: Path, bento: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(tools, "docker")
    tags = container.build(
        bento, backend="docker", image_tag="acme/iris:2", build_arg={"A": "b"}, no_cache=True, pull=False, network=None
    )
    assert tags == ["acme/iris:2"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        f"docker build --tag=acme/iris:2 --build-arg=A=b --no-cache --file={bento}/{DOCKERFILE} {bento} BUILDKIT=1\n"
    )


def test_a_quiet_tool_speaks_only_when_it_fails(
    tools: Path, bento: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tools, "docker")
    container.build(bento, backend="docker", quiet=True)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("FAKE_BUILD", "3")
    with pytest.raises(BentoMLException) as caught:
        container.build(bento, backend="docker", quiet=True)
    assert str(caught.value) == (
        "docker could not build the image: it ended with code 3 (hint: its output above says why)"
    )
    assert capfd.readouterr().err.startswith("docker build ")


def test_docker_without_buildkit_is_refused(tools: Path, bento: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tools, "docker")
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    with pytest.raises(BentoMLException, match="which DOCKER_BUILDKIT=0 switches off"):
        container.build(bento)


def test_features_become_an_argument_of_the_build(tools: Path, bento: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(tools, "docker")
    container.build(bento, features=["io-image,tracing-otlp", "io-json"], build_arg=["A=b"])
    assert "--build-arg=A=b --build-arg=BENTOML_FEATURES=image,pydantic,tracing " in capfd.readouterr().err


def test_an_unknown_feature_is_told() -> None:
    with pytest.raises(InvalidArgument, match=r"there is no feature 'grpc' \(hint: there are all, arrow, "):
        features.extras_of(["grpc"])


def test_every_feature_is_an_extra_of_this_package() -> None:
    from bentoml.build import own_wheel

    assert {extra for extras in features.EXTRAS.values() for extra in extras} <= own_wheel.extras()


def test_a_bento_without_a_dockerfile_is_told(bento: Path) -> None:
    (bento / DOCKERFILE).unlink()
    with pytest.raises(
        BentoMLException, match=r"the bento iris:v1 has no env/docker/Dockerfile \(hint: build it again"
    ):
        container.build(bento)


def test_a_bento_whose_models_are_elsewhere_is_told(bento: Path) -> None:
    record = bento / "bento.yaml"
    model = "{tag: 'iris_clf:v7', module: bentoml.sklearn, creation_time: '2026-01-01T00:00:00+00:00'}"
    record.write_text(record.read_text().replace("models: []", f"models: [{model}]"))
    with pytest.raises(BentoMLException, match=r"the bento iris:v1 does not carry its models iris_clf:v7"):
        container.build(bento)


def test_the_dockerfile_can_be_had_alone(bento: Path, tmp_path: Path) -> None:
    assert container.get_containerfile(bento, tmp_path / "Dockerfile") == "FROM scratch\n"
    assert (tmp_path / "Dockerfile").read_text() == "FROM scratch\n"


def test_a_registered_tool_is_used_like_the_others(
    tools: Path, bento: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_table", dict(backends._table))

    def construct(*, context_path: str, tag: tuple[str, ...], **options: Any) -> Iterable[str]:
        return [f"--destination={tag[0]}", f"--context={context_path}", *(f"-{key}={v}" for key, v in options.items())]

    container.register_backend(
        "kaniko", binary="executor", build_cmd=["run"], buildkit_support=False, health=lambda: True,
        construct_build_args=construct, env={"DOCKER_BUILDKIT": "none"},
    )  # fmt: skip
    install(tools, "executor")
    container.build(bento, backend="kaniko", build_arg=["A=b"])
    said = capfd.readouterr().err
    assert said == f"executor run --destination=iris:v1 --context={bento} -build_arg=('A=b',) BUILDKIT=none\n"
    with pytest.raises(InvalidArgument, match="there is a backend 'kaniko' already"):
        container.register_backend(
            "kaniko", buildkit_support=False, health=lambda: True, construct_build_args=construct
        )


def test_a_registered_tool_that_is_not_well_is_told(monkeypatch: pytest.MonkeyPatch, bento: Path) -> None:
    monkeypatch.setattr(backends, "_table", dict(backends._table))
    container.register_backend(
        "kaniko", buildkit_support=False, health=lambda: False, construct_build_args=lambda **_: []
    )
    with pytest.raises(BentoMLException, match=r"the backend kaniko does not work \(hint: its own check failed\)"):
        container.build(bento, backend="kaniko")


# -- names of images ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "iris",
        "iris:v1",
        "acme/iris_clf:1.0-rc.1",
        "host.example/a/b-c:X",
        "localhost:5000/iris:latest",
        "host:5000/iris",
    ],
)
def test_names_that_registries_take(name: str) -> None:
    assert require_image_tag(name) == name


@pytest.mark.parametrize(
    "name", ["Iris", "iris:", ":v1", "a//b", "a..b", "iris:v 1", "iris:v1\n", "-iris", "iris:.x", "a_-b", "$(id)", ""]
)
def test_names_that_no_registry_takes_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be the tag of an image"):
        require_image_tag(name)


def test_a_tag_is_at_most_128_characters() -> None:
    require_image_tag("iris:" + "v" * 128)
    with pytest.raises(InvalidArgument, match="more than 128 characters"):
        require_image_tag("iris:" + "v" * 129)
