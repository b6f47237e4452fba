"""The code blocks of a Markdown page, and running them as they stand, in order, in the current folder.

    python -m tests.guards._blocks PAGE

The words behind the three backticks of a block say what becomes of it:

    python                 runs; all Python blocks of a page share their names, as cells of a notebook do
    python, yaml           with a first line `# name.py`: is saved under that name
    bash                   runs; one that begins with `bentoml serve` goes on in the background until the page ends
    … fails                as above, but it must fail; what it says is its output
    … output               is what the block before it prints; `…` stands for anything
    … illustrative         is only looked at
    others                 are data and drawings
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

RUN = {"python", "bash"}
LANGUAGES = {*RUN, "json", "mermaid", "text", "yaml"}
FLAGS = {"fails", "illustrative", "output"}

_FENCE = re.compile(r"^```(.*)$")
_FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")
_SERVES = re.compile(r"(\w+=\S* )*bentoml serve\b")
_READY = re.compile(r"ready after .* open https?://localhost:(\d+)")


class Block(NamedTuple):
    """One fenced block; `line` is that of its first fence."""

    line: int
    language: str
    flags: frozenset[str]
    text: str

    @property
    def file_name(self) -> str | None:
        found = _FILE_NAME.match(self.text)
        return found[1] if found and self.language in ("python", "yaml") else None

    @property
    def is_run(self) -> bool:
        return self.language in RUN and not self.flags & {"illustrative", "output"}


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if fence := _FENCE.match(line):
            text = []
            for _, inner in lines:
                if inner == "```":
                    break
                text.append(inner + "\n")
            else:
                raise AssertionError(f"{page}:{number}: the block has no end")
            language, *flags = fence[1].split() or [""]
            yield Block(number, language, frozenset(flags), "".join(text))


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of `page` in another process, in an empty folder with a home and a store of its own."""
    import bentoml

    home = folder / "home"
    work = folder / "work"
    home.mkdir()
    work.mkdir()
    paths = [str(Path(__file__).parents[2]), str(Path(bentoml.__file__).parents[1])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BENTOML_")}
    environment = {
        **kept,
        "HOME": str(home),
        "BENTOML_PORT": "0",
        "BENTOML_API_WORKERS": "2",
        # Tests run side by side: threads that wait for a core by spinning would take it from the others.
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    ran = subprocess.run(
        [sys.executable, "-m", __name__, str(page)],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"


class _Failed(Exception):
    """A block did not do what its page says."""


class _Server:
    """A `bentoml serve` of the page, ready when this returns."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec env {command}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if ready := _READY.search(line):
                self.port = ready[1]
                break
        else:
            raise _Failed(f"the server ended:\n{''.join(said)}")
        # What nobody reads would fill the pipe and stop the server.
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def stop(self) -> None:
        self._process.terminate()
        if code := self._process.wait(60):
            raise _Failed(f"the server ended with {code}")


class _Run:
    def __init__(self) -> None:
        self._module = sys.modules["__main__"] = ModuleType("__main__")  # where pickles look for what a page defines
        self._server: _Server | None = None
        self._output = ""

    def block(self, block: Block, where: str) -> None:
        if "output" in block.flags:
            self._compare(block.text)
        elif block.is_run or (block.file_name and "illustrative" not in block.flags):
            text = (
                block.text.replace("localhost:3000", f"localhost:{self._server.port}") if self._server else block.text
            )
            self._output, failed = self._do(block, text, where)
            if failed != ("fails" in block.flags):
                raise _Failed(f"it {'failed' if failed else 'did not fail'}:\n{self._output}")

    def _do(self, block: Block, text: str, where: str) -> tuple[str, bool]:
        if block.file_name:
            path = Path(block.file_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return "", False
        if block.language == "python":
            return self._python(text, where)
        if _SERVES.match(text) and "fails" not in block.flags:
            self.stop()
            self._server = _Server(text)
            return "", False
        ran = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, check=False)
        return ran.stdout + (ran.stderr if ran.returncode else ""), ran.returncode != 0

    def _python(self, text: str, where: str) -> tuple[str, bool]:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            try:
                exec(compile(text, where, "exec"), vars(self._module))
            except Exception as error:  # noqa: BLE001 - a page's code may raise anything
                return said.getvalue() + traceback.format_exception_only(error)[-1], True
        return said.getvalue(), False

    def _compare(self, expected: str) -> None:
        pattern = ".*?".join(map(re.escape, expected.strip().split("…")))
        if not re.fullmatch(pattern, self._output.strip(), re.DOTALL):
            raise _Failed(f"the page shows:\n{expected}\nit printed:\n{self._output}")

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()


def main(page: Path) -> int:
    run = _Run()
    try:
        for block in blocks_of(page):
            where = f"{page}:{block.line}"
            try:
                run.block(block, where)
            except _Failed as error:
                print(f"{where}: {error}")
                return 1
        return 0
    finally:
        run.stop()


if __name__ == "__main__":
    this_module = sys.modules["__main__"]  # kept alive: a page gets a `__main__` of its own
    sys.exit(main(Path(sys.argv[1])))
