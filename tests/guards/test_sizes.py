"""Files and functions stay small enough to be read at once, and no type check is switched off without a reason."""

import ast
import re

from tests.guards._source import files, parsed, relative

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 80
MAX_PACKAGE_LINES = 20_000


def test_no_file_is_longer_than_300_lines() -> None:
    long = {relative(path): count for path in files() if (count := len(path.read_text().splitlines())) > MAX_FILE_LINES}
    assert long == {}


def test_no_function_is_longer_than_80_lines() -> None:
    long = [
        f"{relative(path)}:{node.lineno} {node.name}: {lines} lines"
        for path in files()
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_every_type_ignore_has_a_code_and_a_reason() -> None:
    bare = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "type: ignore" in line and not re.search(r"# type: ignore\[[a-z-]+(, ?[a-z-]+)*\]  # \S", line)
    ]
    assert bare == []


def test_every_file_says_in_its_first_line_what_lives_in_it() -> None:
    silent = [relative(path) for path in files() if not ast.get_docstring(parsed(path))]
    assert silent == []


def test_every_module_lists_its_names_in_order() -> None:
    wrong = []
    for path in files():
        names = _listed_names(parsed(path))
        if names is not None and names != sorted(names, key=_order):
            wrong.append(relative(path))
    assert wrong == []


def _listed_names(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as the linter sorts them."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)
