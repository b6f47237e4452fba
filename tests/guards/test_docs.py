"""The documentation is complete, true and joined up: every key, option and name is in it, every block and link works."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import bentoml
from bentoml.config import explain
from bentoml.framework import Framework
from tests.guards._blocks import FLAGS, LANGUAGES, blocks_of, run_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("examples/*/*.md")])
RUNNABLE = [page for page in sorted(DOCS.rglob("*.md")) if any(block.is_run for block in blocks_of(page))]

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def _reference() -> ModuleType:
    """scripts/reference.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _reference()


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _prose(page: Path) -> str:
    """The page without its blocks and pieces of code, in which a bracket is no link."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


# -- complete ----------------------------------------------------------------------------------------------------------


def test_what_is_written_from_the_source_is_up_to_date() -> None:
    script = ROOT / "scripts" / "reference.py"
    checked = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_configuration_key_is_described() -> None:
    page = (DOCS / "reference" / "configuration.md").read_text()
    silent = [key.name for key in explain.all_keys() if not key.description or f"| `{key.name}` |" not in page]
    assert silent == []


def test_every_command_and_option_is_described() -> None:
    page = (DOCS / "reference" / "cli.md").read_text()
    silent = []
    for name, command in reference.commands():
        if not command.help or f"\n## {name}\n" not in page:
            silent.append(name)
        for option in command.params:
            if isinstance(option, click.Option):
                names = [each for each in option.opts if each.startswith("-")]
                if not option.help or not all(f"`{each}`" in page for each in names):
                    silent.append(f"{name} {option.opts[0]}")
    assert silent == []


def test_every_public_name_and_its_members_are_described() -> None:
    page = (DOCS / "reference" / "api.md").read_text()
    silent = [name for name, value in _public_names() if not _is_described(name, value) or name not in page]
    assert silent == []


def _public_names() -> Iterator[tuple[str, Any]]:
    modules = reference.public_modules()
    listed = {f"bentoml.{name}": getattr(bentoml, name) for name in bentoml.__all__}
    for module_name, module in modules.items():
        yield module_name, module
        listed |= {f"{module_name}.{name}": getattr(module, name) for name in module.__all__}
    for name, value in listed.items():
        if name in modules:
            continue
        yield name, value
        if inspect.isclass(value):
            # Those of a framework stand with its module, where users call them.
            known = reference.FRAMEWORK_FUNCTIONS if value is Framework else ()
            for member in reference.public_members(value):
                if member in known:
                    continue
                yield f"{name}.{member}", inspect.getattr_static(value, member)


def _is_described(name: str, value: Any) -> bool:
    if isinstance(value, (str, tuple)):
        return bool(reference.comment_of(name.rpartition(".")[2])) or name == "bentoml.__version__"
    return bool(value.__doc__ if inspect.isclass(value) else inspect.getdoc(value))


# -- true --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", RUNNABLE, ids=_name)
def test_the_blocks_of_a_page_run_as_they_stand(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in LANGUAGES, f"{page}:{block.line}: a block of {block.language or 'no language'}"
        assert block.flags <= FLAGS, f"{page}:{block.line}: unknown words {set(block.flags - FLAGS)}"


def test_a_page_that_shows_what_is_not_printed_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(6 * 7)\n```\n\n```text output\n41\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:5: the page shows:\s+41\s+it printed:\s+42"):
        run_page(page, tmp_path)


def test_a_block_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\necho so far\nfalse\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:1: it failed:\s+so far"):
        run_page(page, tmp_path)


def test_every_promise_names_tests_that_exist() -> None:
    page = (DOCS / "behaviour.md").read_text()
    assert re.findall(r"^\| (T\d+) \|", page, re.MULTILINE) == [f"T{number}" for number in range(1, 26)]
    missing = [
        f"{path}::{test}"
        for path, test in _TEST.findall(page)
        if not (ROOT / path).is_file() or f"def {test}(" not in (ROOT / path).read_text()
    ]
    assert missing == []


# -- joined up ---------------------------------------------------------------------------------------------------------


def test_every_link_between_pages_leads_somewhere() -> None:
    broken = [f"{_name(page)}: {link}" for page, link, target in _links() if not _leads_to(target, link)]
    assert broken == []


def test_every_page_can_be_found_from_the_readme() -> None:
    found, todo = set(), [ROOT / "README.md"]
    ways: dict[Path, set[Path]] = {page: set() for page in PAGES}
    for page, _, target in _links():
        ways[page].add(target)
    while todo:
        page = todo.pop()
        if page not in found:
            found.add(page)
            todo += ways.get(page, ())
    assert [_name(page) for page in PAGES if page not in found] == []


def _links() -> Iterator[tuple[Path, str, Path]]:
    for page in PAGES:
        for link in _LINK.findall(_prose(page)):
            if not re.match(r"[a-z]+:", link):
                path = link.partition("#")[0]
                yield page, link, (page.parent / path).resolve() if path else page


def _leads_to(target: Path, link: str) -> bool:
    anchor = link.partition("#")[2]
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# -- well spoken -------------------------------------------------------------------------------------------------------


def test_the_glossary_has_each_word_once_in_order() -> None:
    words = re.findall(r"^- \*\*(.+?)\*\*:", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert words == sorted(set(words), key=str.lower)


def test_nothing_is_called_simple() -> None:
    condescending = re.compile(r"\b(simply|obviously|of course|easily)\b", re.IGNORECASE)
    found = [f"{_name(page)}: {word}" for page in PAGES for word in condescending.findall(_prose(page))]
    assert found == []
