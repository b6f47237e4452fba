"""`bentoml containerize`: what it asks of the tool, and what it says."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from bentoml.cli.containerize import REPEATABLE, SINGLE, SWITCHES
from bentoml.container.request import DOCKERFILE
from tests._cli import invoke
from tests.test_container import bento, install, tools

__all__ = ["bento", "tools"]


def test_it_says_what_was_built_and_how_to_run_it(tools: Path, bento: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(tools, "docker")
    result = invoke("containerize", str(bento), "-t", "iris:1", "--image-tag", "acme/iris:latest")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f'Successfully built Bento container for "{bento}" with tag(s) "iris:1,acme/iris:latest"\n'
        "To run it: docker run --rm -p 3000:3000 iris:1\n"
    )
    assert capfd.readouterr().err.startswith("docker build --tag=iris:1 --tag=acme/iris:latest ")


def test_options_reach_the_tool_in_either_form(tools: Path, bento: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(tools, "docker")
    arguments = [
        "--platform", "linux/arm64", "--build-arg", "A=b", "--build-arg", "C=d", "--no-cache", "--progress", "plain",
        "--opt", "target=base", "--opt", "pull", "--opt", "label:owner=me", "--opt", "build-arg=FOO=bar:baz",
        "--enable-features", "tracing,io-json",
    ]  # fmt: skip
    assert invoke("containerize", str(bento), *arguments).exit_code == 0
    said = capfd.readouterr().err
    for each in (
        "--platform=linux/arm64", "--build-arg=A=b --build-arg=C=d --build-arg=FOO=bar:baz", "--no-cache", "--pull",
        "--progress=plain", "--target=base", "--label=owner=me", "--build-arg=BENTOML_FEATURES=pydantic,tracing",
    ):  # fmt: skip
        assert f" {each} " in said, each


def test_the_environment_names_the_tool(tools: Path, bento: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(tools, "docker", "podman")
    result = invoke("containerize", str(bento), BENTOML_CONTAINERIZE_BACKEND="podman")
    assert "podman run --rm -p 3000:3000 iris:v1" in result.stdout
    assert capfd.readouterr().err.startswith("podman build --format=docker --tag=iris:v1 ")


def test_quiet_prints_the_result_alone(tools: Path, bento: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(tools, "docker")
    result = invoke("containerize", str(bento), "--quiet")
    assert result.output == f'Successfully built Bento container for "{bento}" with tag(s) "iris:v1"\n'
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--backend", "kaniko"], 1, "there is no backend 'kaniko' (hint: there are docker, podman, "),
        (["--backend", "podman"], 1, "the backend podman is not installed (hint: install podman)"),
        (["-t", "Not A Tag"], 1, "'Not A Tag' cannot be the tag of an image"),
        (["--opt", "=x"], 2, "'' is not the name of an option"),
        (["--enable-features", "grpc"], 1, "there is no feature 'grpc'"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tools: Path, bento: Path, arguments: list[str], code: int, message: str
) -> None:
    install(tools, "docker")
    result = invoke("containerize", str(bento), *arguments)
    assert result.exit_code == code
    assert message in result.stderr


def test_a_tool_that_fails_is_an_error(tools: Path, bento: Path) -> None:
    install(tools, "docker")
    result = invoke("containerize", str(bento), FAKE_BUILD="1")
    assert result.exit_code == 1
    assert "Error: `containerize` failed: docker could not build the image: it ended with code 1" in result.stderr
    assert "Successfully" not in result.stdout


def test_an_unknown_bento_is_told(tools: Path, tmp_path: Path) -> None:
    install(tools, "docker")
    result = invoke("containerize", "nobody:latest", home=tmp_path)
    assert result.exit_code == 1
    assert "no bento 'nobody:latest' in the store" in result.stderr


def test_every_flag_of_bentoml_is_there() -> None:
    from bentoml.cli.containerize import containerize

    flags = {flag for option in containerize.params if isinstance(option, click.Option) for flag in option.opts}
    assert flags >= {f"--{name}" for name in {*REPEATABLE, *SINGLE, *SWITCHES}}
    assert flags >= {
        "-t", "--image-tag", "--docker-image-tag", "--backend", "--opt", "--run-as-root", "--enable-features",
        "--add-host", "--allow", "--build-arg", "--build-context", "--builder", "--cache-from", "--cache-to",
        "--cgroup-parent", "--iidfile", "--label", "--load", "--metadata-file", "--network", "--no-cache",
        "--no-cache-filter", "--output", "--platform", "--progress", "--pull", "--push", "--secret", "--shm-size", "--ssh",
        "--target", "--ulimit",
    }  # fmt: skip


def test_the_dockerfile_is_that_of_the_bento(tools: Path, bento: Path, capfd: pytest.CaptureFixture[str]) -> None:
    install(tools, "docker")
    invoke("containerize", str(bento))
    assert f"--file={bento}/{DOCKERFILE} {bento} " in capfd.readouterr().err
