"""What all commands share: help, version, names, volume, errors, the notice about the other distribution."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bentoml import __version__
from bentoml.cli import cli, namesake
from bentoml.cli.group import Command, Group
from bentoml.exceptions import NotFound, StateException
from tests._cli import environment, invoke, run


def every_command(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            yield (*path, name), command
            if isinstance(command, Group):
                yield from every_command(command, (*path, name))


COMMANDS = list(every_command(cli))


def test_the_commands_are_the_ones_of_the_reference() -> None:
    assert {" ".join(path) for path, _ in COMMANDS} == {
        "build",
        "completion",
        "config",
        "containerize",
        "delete",
        "deploy",
        "deploy kserve",
        "deploy kubernetes",
        "env",
        "export",
        "get",
        "import",
        "list",
        "models",
        "models delete",
        "models export",
        "models get",
        "models import",
        "models list",
        "models pull",
        "models push",
        "pull",
        "push",
        "serve",
    }


@pytest.mark.parametrize(
    ("path", "command"), COMMANDS, ids=lambda value: " ".join(value) if type(value) is tuple else ""
)
def test_every_command_and_every_option_has_help(path: tuple[str, ...], command: click.Command) -> None:
    for flag in ("-h", "--help"):
        result = invoke(*path, flag)
        assert result.exit_code == 0
        assert f"Usage: bentoml {' '.join(path)}" in result.stdout
    assert command.help
    assert [param.name for param in command.params if isinstance(param, click.Option) and not param.help] == []


@pytest.mark.parametrize(
    ("path", "command"), COMMANDS, ids=lambda value: " ".join(value) if type(value) is tuple else ""
)
def test_every_command_takes_the_common_options(path: tuple[str, ...], command: click.Command) -> None:
    if not isinstance(command, Group):
        options = {option for param in command.params for option in param.opts}
        assert {"-q", "--quiet", "--verbose", "--debug", "--do-not-track"} <= options


def test_the_short_help_of_no_command_is_cut() -> None:
    assert "..." not in invoke("--help").stdout.partition("Commands:")[2]
    assert "..." not in invoke("models", "--help").stdout.partition("Commands:")[2]


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_the_version_is_printed(flag: str) -> None:
    assert invoke(flag).stdout == f"bentoml, version {__version__}\n"


def test_python_m_bentoml_is_the_command() -> None:
    done = run("--version")
    assert (done.stdout, done.returncode) == (f"bentoml, version {__version__}\n", 0)


def test_an_unknown_command_is_wrong_usage_and_similar_ones_are_suggested() -> None:
    result = invoke("modles", "list")
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: No such command 'modles'. Did you mean 'models'?\n")
    assert "No such command 'lits'. Did you mean 'list'?" in invoke("models", "lits").stderr
    assert invoke("xyz").stderr.endswith("Error: No such command 'xyz'.\n")


def test_an_unknown_option_is_wrong_usage_and_similar_ones_are_suggested() -> None:
    result = invoke("serve", "--prot", "1")
    assert result.exit_code == 2
    assert "--prot" in result.stderr
    assert "'--port'" in result.stderr
    assert invoke("--hepl").exit_code == 2


def test_serve_http_is_serve() -> None:
    assert "Usage: bentoml serve-http" in invoke("serve-http", "-h").stdout


@click.group(cls=Group)
def faulty() -> None:
    """Commands that fail."""


@faulty.command()
@click.argument("how")
def fail(how: str) -> None:
    """Fail."""
    raise {
        "hint": NotFound("no such thing", hint="look elsewhere"),
        "lines": NotFound("one\n  two\x1b[31m"),
        "state": StateException("not now"),
        "file": FileNotFoundError(2, "No such file or directory", "x.yaml"),
        "system": OSError(28, "No space left on device"),
        "bug": KeyError("key"),
        "interrupt": KeyboardInterrupt(),
    }[how]


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("hint", "no such thing (hint: look elsewhere)"),
        ("lines", "one two?[31m"),
        ("state", "not now"),
        ("file", "No such file or directory: x.yaml"),
        ("system", "No space left on device"),
        (
            "bug",
            "KeyError: 'key' (hint: this is a mistake in bentoml itself, not yours; "
            "run it again with --debug and report the traceback)",
        ),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_code_1(how: str, line: str) -> None:
    result = invoke("fail", how, command=faulty)
    assert result.stderr == f"Error: `fail` failed: {line}\n"
    assert result.stdout == ""
    assert result.exit_code == 1


def test_debug_prints_the_traceback_as_well() -> None:
    for result in (
        invoke("fail", "bug", "--debug", command=faulty),
        invoke("fail", "bug", command=faulty, BENTOML_DEBUG="1"),
    ):
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Error: `fail` failed: KeyError: 'key'")
        assert result.stderr.endswith("report it with the traceback above)\n")


def test_quiet_wins_over_debug() -> None:
    result = invoke("fail", "hint", "--debug", command=faulty, BENTOML_QUIET="true")
    assert result.stderr == "Error: `fail` failed: no such thing (hint: look elsewhere)\n"


def test_do_not_track_is_accepted() -> None:
    assert invoke("config", "version", "--do-not-track", BENTOML_DO_NOT_TRACK="whatever").exit_code == 0


def test_ctrl_c_prints_nothing() -> None:
    result = invoke("fail", "interrupt", command=faulty)
    assert (result.stdout, result.stderr, result.exit_code) == ("", "", 130)


def on_terminal(*args: str, home: Path, until: str = "", **env: str) -> tuple[str, int]:
    """What a terminal shows of a command, and its exit code; Ctrl-C as soon as it shows `until`."""
    leader, follower = os.openpty()
    command = [sys.executable, "-m", "bentoml", *args]
    process = subprocess.Popen(command, env=environment(home, **env), stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = ""
    with open(leader, "r+b", buffering=0) as terminal:
        while True:
            try:
                piece = terminal.read(4096).decode()
            except OSError:  # the other side is closed
                break
            shown += piece
            if until and until in shown:
                process.send_signal(signal.SIGINT)
                # A signal that comes just before `input` waits is seen when it returns: give it something to return.
                with contextlib.suppress(OSError):
                    terminal.write(b"\n")
                until = ""
    return shown, process.wait(timeout=30)


def test_an_error_is_red_on_a_terminal_and_plain_where_colour_is_not_wanted(tmp_path: Path) -> None:
    shown, code = on_terminal("models", "get", "nope", home=tmp_path)
    assert shown.startswith("\x1b[31mError: [models] `get` failed: no model 'nope'")
    assert code == 1
    shown, _ = on_terminal("models", "get", "nope", home=tmp_path, NO_COLOR="1")
    assert shown.startswith("Error: [models]")


def test_ctrl_c_at_a_question_leaves_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "models/m/v").mkdir(parents=True)
    (tmp_path / "models/m/v/model.yaml").write_text("name: m\nversion: v\n")
    shown, code = on_terminal("models", "delete", "m", home=tmp_path, until="[y/N]: ")
    assert shown.strip() == "delete model m:v? [y/N]:"
    assert code == 130


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "bentoml", "config"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 1


@pytest.mark.parametrize("name", ["bentoml-1.4.20.dist-info", "bentoml-1.4.20-py3.11.egg-info"])
def test_the_distribution_bentoml_beside_ours_is_said_once_with_what_mends_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    done = run("config", "version", PYTHONPATH=str(tmp_path))
    assert done.stderr == (
        "Warning: the distribution `bentoml` 1.4.20 is installed beside makunouchi, "
        "and each overwrites files of the other "
        "(hint: pip uninstall bentoml && pip install --force-reinstall --no-deps makunouchi)\n"
    )
    assert done.returncode == 0
    assert run("config", "version", "--quiet", PYTHONPATH=str(tmp_path)).stderr == ""


def test_other_distributions_are_not_taken_for_bentoml(tmp_path: Path) -> None:
    for name in ("bentoml_extras-1.0.dist-info", "makunouchi-0.1.0.dist-info", "bentoml"):
        (tmp_path / name).mkdir()
    assert namesake.find([str(tmp_path), str(tmp_path / "missing.zip")]) is None


def test_a_command_of_a_group_is_ours() -> None:
    assert all(isinstance(command, (Command, Group)) for _, command in COMMANDS)
