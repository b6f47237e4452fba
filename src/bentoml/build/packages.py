"""Which packages a project needs: the names under which they can be installed, and imports that nobody declared."""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bentoml.build import requirements
from bentoml.build.options import BuildOptions
from bentoml.build.requirements import normalised_name

__all__ = ["TAKEN_ALONG", "declared", "imported", "undeclared", "with_real_names"]

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
#: What services import and bentofiles seldom declare: BentoML brought it along.
TAKEN_ALONG = frozenset({"numpy", "pydantic"})
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
            # A warning, as a script may read the tag of the bento from stdout.
            logger.warning("python.packages: %s is taken for %s, its name for pip", match[1], real)
            package = real + package[match.end() :]
        found.append(package)
    return found


def declared(options: BuildOptions, context: Path) -> set[str]:
    """The names of the distributions that the bentofile asks for, in their normal form.

    Raises:
        InvalidArgument: a requirement cannot be used; says where it stands.
    """
    lines = [*options.conda.dependencies, *options.conda.pip]
    lines += [Path(wheel).name.partition("-")[0] for wheel in options.python.wheels]
    lines += [line.rpartition("#egg=")[2] for line in requirements.read(options.python, context=context).packages]
    return {normalised_name(match[1]) for line in lines if (match := _NAME.match(line))}


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
            if not own and not _is_own(module.partition(".")[0], sources):
                found.add(module.partition(".")[0])
    return sorted(found - sys.stdlib_module_names - set(requirements.OWN_NAMES))


def _files_of(module: str) -> Iterator[str]:
    """Where a project may have the module, and the packages around it; for `a.b` also where `b` is a name in `a`."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        path = "/".join(parts[:count])
        yield from (f"{path}.py", f"{path}/__init__.py")


def _is_own(name: str, sources: Iterable[str]) -> bool:
    """Whether the project has such a package without an __init__.py, or such a module in a folder that it puts on the
    path."""
    return any(f"/{name}/" in f"/{source}" or source.endswith(f"/{name}.py") for source in sources)


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
    present = _closure({*names, *requirements.OWN_NAMES})
    bases = {_VARIANT.sub("", name) for name in present}
    missing = set()
    for module in modules:
        real = REAL_NAMES.get(module.lower(), module)
        candidates = by_module.get(module) or [real]
        if not {_VARIANT.sub("", normalised_name(each)) for each in (real, *candidates)} & bases:
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
        todo += [
            normalised_name(match[1]) for line in requires if "extra ==" not in line and (match := _NAME.match(line))
        ]
    return found
