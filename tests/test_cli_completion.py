"""Shell completion, in the shells that there are."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests._cli import environment, invoke

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with the command `bentoml`, as an installation has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "bentoml"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bentoml "$@"\n')
    command.chmod(0o755)
    return folder


def completed(bin_folder: Path, home: Path, *words: str) -> list[str]:
    """What bash suggests for the last of the words."""
    script = (
        'eval "$(bentoml completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_bentoml_completion bentoml; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    env = environment(home)
    env["PATH"] = f"{bin_folder}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", "bentoml", *words], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


@needs_bash
@pytest.mark.parametrize(
    ("words", "suggestions"),
    [
        (["mo"], ["models"]),
        (["models", "li"], ["list"]),
        (["serve", "--pro"], ["--production"]),
        (["models", "list", "-o", ""], ["table", "json", "yaml"]),
        (["models", "get", "iris:"], ["iris:v1", "iris:v2"]),
        (["models", "delete", "cre"], ["credit:v1", "credit"]),
        (["config", "api_server.http.p"], ["api_server.http.port"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_bash_completes(bin_folder: Path, tmp_path: Path, words: list[str], suggestions: list[str]) -> None:
    for tag in ("credit/v1", "iris/v1", "iris/v2"):
        folder = tmp_path / "models" / tag
        folder.mkdir(parents=True)
        (folder / "model.yaml").touch()
    assert completed(bin_folder, tmp_path, *words) == suggestions


@needs_bash
def test_the_script_keeps_a_tag_in_one_word() -> None:
    script = invoke("completion", "bash").stdout
    done = subprocess.run(
        ["bash", "--norc", "-c", f'COMP_WORDBREAKS=" :="; {script}\necho "[$COMP_WORDBREAKS]"'],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[ =]\n"


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef bentoml"), ("fish", "--command bentoml")])
def test_the_other_shells_get_their_script(shell: str, mark: str) -> None:
    script = invoke("completion", shell).stdout
    assert mark in script
    assert f"_BENTOML_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_an_unknown_shell_is_wrong_usage() -> None:
    assert invoke("completion", "csh").exit_code == 2
