"""Nothing that could run code from a file or a peer stands outside the one module that is allowed it (trust T1)."""

import ast

from tests.guards._source import files, imports, parsed, relative

ALLOWED = "_pickling.py"
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}


def test_only_one_module_imports_a_pickle_library() -> None:
    found = [
        f"{relative(path)}:{line}: {module}"
        for path in files()
        for line, module in imports(path)
        if module.split(".")[0] in UNPICKLERS and relative(path) != ALLOWED
    ]
    assert found == []


def test_that_module_is_named_by_few() -> None:
    users = {
        relative(path) for path in files() for _, module in imports(path) if module.startswith("bentoml._pickling")
    }
    assert users <= {
        "framework.py",
        "lightgbm.py",
        "models.py",
        "picklable_model.py",
        "runner/wire.py",
        "sklearn.py",
        "store/model.py",
        "xgboost.py",
    }, "a new user of pickles needs a reason in its docstring and in this list"


def test_no_call_runs_a_shell_or_loads_code() -> None:
    found = []
    for path in files():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and (fault := _fault(node)):
                found.append(f"{relative(path)}:{node.lineno}: {fault}")
    assert found == []


def _fault(call: ast.Call) -> str:
    name = ast.unparse(call.func)
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ("os.system", "os.popen", "eval", "exec", "compile", "yaml.load", "yaml.unsafe_load", "yaml.full_load"):
        return name
    if _is_true(keywords.get("shell")):
        return f"{name}(shell=True)"
    if name.endswith(".load") and _is_true(keywords.get("allow_pickle")):
        return f"{name}(allow_pickle=True)"
    if name == "torch.load" and not _is_true(keywords.get("weights_only")):
        return "torch.load without weights_only=True"
    return ""


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True
