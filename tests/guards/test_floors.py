"""Imports point down: each floor may import the floors above it in this list, and no neighbour on its own floor."""

from tests.guards._source import files, imports, module_name, relative, room

FLOORS = [
    {"exceptions", "_version"},
    {"types", "tag", "_importing", "_http", "_trace_context", "_process", "_resources", "_threads"},
    {"_pickling", "_context"},
    {"config"},
    {"_logging", "_metrics"},
    {"metrics"},
    {"store"},
    {"models"},
    {"io", "runner"},
    {"_model_methods", "_versions"},
    {"framework", "monitoring"},
    {"_xgboost_dense"},
    {"lightgbm", "picklable_model", "sklearn", "xgboost"},
    {"service"},
    {"build", "client", "server"},
    {"bentos", "http_server"},
    {"container", "kubernetes", "testing"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def test_every_room_stands_on_a_floor() -> None:
    rooms = {room(path) for path in files()}
    assert rooms - set(LEVEL) == set(), "name the floor of a new room in FLOORS"
    assert set(LEVEL) - rooms == set(), "these rooms are gone: take them out of FLOORS"


def test_no_import_points_up_or_sideways() -> None:
    wrong = []
    for path in files():
        here = room(path)
        for line, module in imports(path):
            parts = module.split(".")
            if parts[0] != "bentoml":
                continue
            there = parts[1] if len(parts) > 1 and parts[1] in LEVEL else "__init__"
            if there != here and LEVEL[there] >= LEVEL[here]:
                wrong.append(f"{relative(path)}:{line}: {here} may not import {there}")
    assert wrong == []


def test_no_two_files_import_each_other_in_a_circle() -> None:
    names = {module_name(path): path for path in files()}
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = set()
        for _, module in imports(path):
            target = module if module in names else module.rpartition(".")[0]
            # A package's face is entered by every import of its members; that is no tie of the file's own.
            if target in names and target != name and not name.startswith(f"{target}."):
                targets.add(target)
        edges[name] = targets
    assert _circles(edges) == []


def _circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components with more than one member."""
    found, done = [], set()

    def reach(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            for target in edges[todo.pop()]:
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return seen

    reachable = {name: reach(name) for name in edges}
    for name in edges:
        circle = sorted(other for other in reachable[name] if name in reachable[other])
        if circle and name not in done:
            done.update(circle)
            found.append(circle)
    return found
