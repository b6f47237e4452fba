"""Which packages a project needs: the names under which they can be installed, and imports that nobody declared."""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bentoml.build.options import BuildOptions

__all__ = ["declared", "imported", "undeclared", "with_real_names"]

logger = logging.getLogger("bentoml")

#: What is imported, or was installed once, under a name under which nothing useful can be installed.
REAL_NAMES = {
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "pil": "pillow",
    "pytorch": "torch",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
#: The import package, and the distributions, of this very project: every bento has a wheel of it.
OWN = frozenset({"bentoml", "makunouchi"})
#: One library, built in several ways: `xgboost-cpu` is imported as `xgboost`.
_VARIANT = re.compile(r"-(?:binary|cpu|gpu|headless)$")
_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")


def with_real_names(packages: Iterable[str]) -> list[str]:
    """The requirement specifiers with names under which the packages can be installed; each change is said."""
    found = []
    for package in packages:
        match = _NAME.match(package)
        real = REAL_NAMES.get(match[1].lower()) if match else None
        if match and real:
            logger.info("python.packages: %s is installed under the name %s", match[1], real)
            package = real + package[match.end() :]
        found.append(package)
    return found


def declared(options: BuildOptions, context: Path) -> set[str]:
    """The names of the distributions that the bentofile asks for, in their normal form."""
    lines = [*options.conda.dependencies, *options.conda.pip]
    lines += [Path(wheel).name.partition("-")[0] for wheel in options.python.wheels]
    if options.python.requirements_txt is not None:
        lines += _lines_of(context / options.python.requirements_txt, context)
    else:
        lines += options.python.packages
    return {_normal(match[1]) for line in lines if (match := _NAME.match(line))}


def _lines_of(path: Path, context: Path, depth: int = 0) -> list[str]:
    """The lines of a requirements file and of those that it names; whether they are sound is judged elsewhere."""
    found = []
    for line in path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() and depth < 8 else ():
        nested = re.match(r"\s*(?:-r|--requirement)[\s=]*(\S+)", line)
        if nested and (path.parent / nested[1]).resolve().is_relative_to(context.resolve()):
            found += _lines_of(path.parent / nested[1], context, depth + 1)
        else:
            found.append(line.rpartition("#egg=")[2])
    return found


def imported(sources: Mapping[str, Path], *, start: Iterable[str]) -> list[str]:
    """The top-level modules, neither of the standard library nor of the project, that the service may import.

    Args:
        sources: path inside of the project → file.
        start: the files that its import read. Whatever they import from the project, in functions too, counts as well;
            a script beside them that trains the model does not.
    """
    found: set[str] = set()
    todo, seen = [name for name in start if name in sources], set(start)
    while todo:
        try:
            tree = ast.parse(sources[todo.pop()].read_bytes())
        except (SyntaxError, ValueError):  # a compiled extension, a template: whoever imports it will hear of it
            continue
        for module in _modules(tree):
            own = [name for name in _files_of(module) if name in sources]
            todo += [name for name in own if name not in seen]
            seen.update(own)
            # A folder of the project may be a package without an __init__.py.
            if not own and not any(name.startswith(f"{module.partition('.')[0]}/") for name in sources):
                found.add(module.partition(".")[0])
    return sorted(found - sys.stdlib_module_names - OWN)


def _files_of(module: str) -> Iterator[str]:
    """Where a project may have the module, and the packages around it; for `a.b` also where `b` is a name in `a`."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        path = "/".join(parts[:count])
        yield from (f"{path}.py", f"{path}/__init__.py")


def _modules(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def undeclared(modules: Iterable[str], names: set[str]) -> list[str]:
    """The distributions behind `modules` that neither are among `names` nor come with one of them.

    What is not installed here cannot be looked up; its module stands for it.
    """
    if not (modules := list(modules)):
        return []
    from importlib import metadata

    by_module = metadata.packages_distributions()
    present = _closure({*names, *OWN})
    bases = {_VARIANT.sub("", name) for name in present}
    missing = set()
    for module in modules:
        real = REAL_NAMES.get(module.lower(), module)
        candidates = by_module.get(module) or [real]
        if not {_VARIANT.sub("", _normal(each)) for each in (real, *candidates)} & bases:
            missing.add(candidates[0])
    return sorted(missing)


def _closure(names: Iterable[str]) -> set[str]:
    """The distributions, and whatever they require, as far as they are installed here."""
    from importlib import metadata

    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        try:
            requires: Sequence[str] = metadata.requires(name) or ()
        except (metadata.PackageNotFoundError, ValueError):
            continue
        # An extra is installed by those who ask for it.
        todo += [_normal(match[1]) for line in requires if "extra ==" not in line and (match := _NAME.match(line))]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
