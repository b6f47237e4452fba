"""Building: what is in a bento, that it is there whole or not at all, and that two builds of one project are alike."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

import bentoml
from bentoml.exceptions import BentoMLException, CorruptedItem, ImportServiceError, InvalidArgument, NotFound
from bentoml.tag import Tag
from tests import _bentos, _server
from tests._bentos import build, save_rules, write, write_project


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with rules:v1."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    save_rules()
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def contents(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refusal(project: Path, error: type[BentoMLException] = InvalidArgument, **options: object) -> str:
    """The error of a build that leaves nothing behind."""
    with pytest.raises(error) as raised:
        build(project, **options)  # type: ignore[arg-type]  # the keys of a bentofile
    assert bentoml.list() == []
    store = Path(os.environ["BENTOML_HOME"], "bentos")
    assert [path.name for path in store.rglob("*") if path.name != ".staging" and path.suffix != ".name"] == []
    return str(raised.value)


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_a_bento_holds_all_that_serving_needs(project: Path) -> None:
    bento = build(project, "v1", labels={"owner": "team"})
    assert set(contents(bento.path)) >= {
        "README.md",
        "SHA256SUMS",
        "apis/openapi.yaml",
        "bento.yaml",
        "env/docker/Dockerfile",
        "env/docker/entrypoint.sh",
        "env/python/install.sh",
        "env/python/version.txt",
        "models/rules/latest",
        "models/rules/v1/SHA256SUMS",
        "models/rules/v1/model.yaml",
        "models/rules/v1/saved_model.pkl",
        "src/service.py",
    }
    assert Path(bento.path_of("models/rules/latest")).read_text() == "v1"
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bento.path, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    info = bento.info
    assert (info.service, info.tag, info.labels) == ("service:svc", Tag("payments", "v1"), {"owner": "team"})
    assert [(model.tag, model.module) for model in info.models] == [(Tag("rules", "v1"), "bentoml.picklable_model")]
    assert [(runner.name, runner.runnable_type, runner.models) for runner in info.runners] == [
        ("rules", "ModelRunnable", ["rules:v1"])
    ]
    assert [(api.name, api.input_type, api.output_type) for api in info.apis] == [("decide", "JSON", "JSON")]
    assert info.docker["distro"] == "debian"
    assert info.docker["python_version"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert info.python["lock_packages"] is False
    assert info.conda == {"environment_yml": None, "channels": None, "dependencies": None, "pip": None}


def test_the_document_of_the_apis_is_that_of_the_served_bento(project: Path) -> None:
    bento = build(project, "v1")
    document = msgspec.yaml.decode(Path(bento.path_of("apis/openapi.yaml")).read_bytes())
    assert document == bentoml.load(bento).openapi_spec
    assert document["info"]["version"] == "v1"


def test_two_builds_of_one_project_differ_in_version_and_time_alone(project: Path) -> None:
    first, second = build(project, "v1"), build(project, "v2")
    one, two = contents(first.path), contents(second.path)
    assert one.keys() == two.keys()
    assert {name for name in one if one[name] != two[name]} == {
        "README.md",
        "SHA256SUMS",
        "apis/openapi.yaml",
        "bento.yaml",
    }
    # `v1` of the model stays `v1`; everything else is the same once the versions are.
    for name in ("README.md", "apis/openapi.yaml", "bento.yaml"):
        same = [
            re.sub(rb"payments:v[12]|\nversion: v[12]|  version: v[12]|creation_time: .*", b"", each[name])
            for each in (one, two)
        ]
        assert same[0] == same[1], name
    for name in one:
        if name.startswith(("src/", "models/rules/v1/")):
            times = [Path(each.path, name).stat().st_mtime_ns for each in (first, second)]
            assert times[0] == times[1], name


def test_a_second_build_in_one_process_sees_the_project_as_it_is_then(project: Path) -> None:
    build(project, "v1")
    write(project, "service.py", _bentos.SERVICE.replace("async def decide", "async def judge"))
    assert [api.name for api in build(project, "v2").info.apis] == ["judge"]


def test_building_leaves_the_process_as_it_was(project: Path) -> None:
    before = os.getcwd(), list(sys.path), set(sys.modules)
    build(project)
    assert (os.getcwd(), sys.path) == before[:2]
    assert not {"service", "tests.service"} & set(sys.modules) - before[2]


def test_files_keep_their_time_and_whether_they_may_be_run_and_nothing_else(project: Path) -> None:
    script = write(project, "run.py", "")
    script.chmod(0o4700)
    os.utime(script, (1e9, 1e9))
    copy = Path(build(project).path_of("src/run.py"))
    umask = os.umask(0)
    os.umask(umask)
    assert copy.stat().st_mtime == 1e9
    assert copy.stat().st_mode & 0o7777 == (0o666 & ~umask) | 0o111


def test_models_of_the_bentofile_replace_those_of_the_service_and_may_have_an_alias(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_rules("v2")
    models = [{"tag": "rules:v2", "alias": "newest"}, {"tag": "rules:v1", "alias": "oldest"}, "rules:latest"]
    bento = build(project, models=models)
    assert [(str(model.tag), model.alias) for model in bento.info.models] == [
        ("rules:v1", "oldest"), ("rules:v2", "newest"), ("rules:v2", None),
    ]  # fmt: skip
    assert Path(bento.path_of("models/rules/latest")).read_text() == "v2"
    assert not any("does not carry" in message for message in caplog.messages)
    build(project, models=["rules:v1"])
    assert caplog.messages[-1].startswith(
        "the service uses the model rules:v2, which the bento does not carry (hint: name"
    )


def test_an_alias_is_known_to_the_service_while_it_is_built(project: Path) -> None:
    write(project, "service.py", _bentos.SERVICE.replace("rules:latest", "sorter"))
    assert refusal(project, NotFound).startswith("no model 'sorter' in the store")
    bento = build(project, models=[{"tag": "rules:v1", "alias": "sorter"}])
    assert bentoml.load(bento).runners[0].models[0].tag == Tag("rules", "v1")


def test_a_model_that_the_service_reads_and_the_bento_would_lack_is_named(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_rules("v2")
    write(project, "service.py", "import bentoml\nbentoml.models.get('rules:v1')\n" + _bentos.SERVICE)
    build(project)
    assert [message for message in caplog.messages if "does not carry" in message] == [
        "the service uses the model rules:v1, which the bento does not carry (hint: name it in `models` of the "
        "bentofile, or in bentoml.Service(models=[...]))"
    ]


def test_the_name_may_be_another_than_that_of_the_service(project: Path) -> None:
    assert build(project, "V1", name="Money").tag == Tag("money", "v1")


def test_the_description_is_a_text_or_a_file(project: Path) -> None:
    write(project, "docs/about.md", "# About\n")
    assert build(project, description="Pays.").doc == "Pays.\n"
    assert build(project, description="file: ./docs/about.md").doc == "# About\n"
    assert build(project, description="file:docs/about.md").doc == "# About\n"


def test_the_page_that_is_made_names_apis_models_and_commands(project: Path) -> None:
    doc = build(project, "v1").doc
    assert doc.startswith("# payments:v1\n\nThe service `payments`: 1 API over HTTP.\n\nSorts payments.\n")
    assert "| InferenceAPI | Input | Output |\n| --- | --- | --- |\n| `POST /decide` | JSON | JSON |\n" in doc
    assert "### decide\n\nWhich payments need a second look.\n" in doc
    assert "- `rules:v1`\n" in doc
    assert "bentoml serve payments:v1" in doc


def test_a_store_in_the_project_is_not_built_into_the_bento(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(project / "home"))
    save_rules()
    bento = build(project, include=["*"])
    assert {name for name in contents(bento.path) if name.startswith("src/")} == {
        "src/service.py",
        "src/bentofile.yaml",
    }


def test_build_bentofile_reads_the_file_and_leaves_the_folder(project: Path, tmp_path: Path) -> None:
    write(project, "other.yaml", _bentos.BENTOFILE + "name: other\n")
    before = os.getcwd()
    assert bentoml.bentos.build_bentofile(build_ctx=project, version="v1").tag == Tag("payments", "v1")
    assert bentoml.bentos.build_bentofile("other.yaml", build_ctx=str(project)).tag.name == "other"
    assert os.getcwd() == before
    with pytest.raises(InvalidArgument, match=r"^the build context .*/nosuch is not a folder$"):
        bentoml.bentos.build_bentofile(build_ctx=tmp_path / "nosuch")


# -- what is said ------------------------------------------------------------------------------------------------------


def test_what_is_needed_and_not_declared_is_named_once(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(project, "service.py", "def later():\n    import numpy, helper\n" + _bentos.SERVICE)
    write(project, "helper.py", "import sklearn\n")
    write(project, "train.py", "import nosuch_library\n")
    build(project, python={"packages": ["scipy"]})
    named = [message for message in caplog.messages if "not declared" in message]
    assert named == [
        "needed, and not declared in the arguments of bentos.build(): scikit-learn (hint: add them to "
        "`python.packages`, or the bento will not start where they are not installed)"
    ]
    caplog.clear()
    build(project, python={"packages": ["scikit-learn"]})
    assert not any("not declared" in message for message in caplog.messages)


def test_what_bentoml_brought_along_need_not_be_declared(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(project, "service.py", "import pydantic\n" + _bentos.SERVICE)
    bento = build(project, python={"packages": ["scipy"]})
    assert "python.packages: pydantic comes along, as the service imports it" in caplog.messages
    assert not any("not declared" in message for message in caplog.messages)
    assert "pydantic" in Path(bento.path_of("env/python/requirements.txt")).read_text().split()
    caplog.clear()
    write(project, "needed.txt", "scipy\n")
    build(project, python={"requirements_txt": "needed.txt"})
    assert any("not declared in the arguments of bentos.build(): pydantic (hint" in each for each in caplog.messages)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_file_that_the_service_needs_and_the_bento_would_not_hold_is_an_error(project: Path) -> None:
    write(project, "service.py", "import helper\n" + _bentos.SERVICE)
    write(project, "helper.py", "")
    assert refusal(project, exclude=["helper.py"]) == (
        "the service imports helper.py, which the bento would not hold "
        "(hint: add a pattern to `include`, or take one out of `exclude` or .bentoignore)"
    )


def test_a_service_that_cannot_be_imported_is_an_error_with_its_line(project: Path) -> None:
    write(project, "service.py", "\n1 / 0\n")
    said = refusal(project, ImportServiceError)
    assert said == f"importing 'service.py' failed: {project}/service.py:2: ZeroDivisionError: division by zero"


def test_a_service_that_ends_its_process_does_not_end_the_builder(project: Path) -> None:
    write(project, "service.py", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    said = refusal(project, ImportServiceError)
    assert said == "importing 'service.py:svc' ended the process: it was killed by SIGKILL"


def test_a_missing_model_is_the_stores_own_error(project: Path) -> None:
    assert refusal(project, NotFound, models=["nosuch"]).startswith("no model 'nosuch' in the store")
    bentoml.models.delete("rules")
    assert refusal(project, NotFound).startswith("no model 'rules:latest' in the store")


def test_a_model_that_is_not_the_one_that_was_saved_is_not_shipped(project: Path, home: Path) -> None:
    (home / "models/rules/v1/saved_model.pkl").write_bytes(b"other")
    assert "'saved_model.pkl'" in refusal(project, CorruptedItem)


def test_an_existing_version_is_refused_before_anything_is_done(project: Path) -> None:
    build(project, "v1")
    with pytest.raises(BentoMLException, match=r"^bento 'payments:v1' exists already"):
        build(project, "v1")
    (project / "service.py").unlink()
    with pytest.raises(BentoMLException, match=r"^bento 'payments:v1' exists already"):
        build(project, "v1", name="payments")


@pytest.mark.parametrize("version", ["../x", "a b", "", "a/b"])
def test_a_version_that_is_none_is_refused(project: Path, version: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be the version of a tag"):
        build(project, version)


def test_t15_a_link_out_of_the_project_is_refused(project: Path, tmp_path: Path) -> None:
    (project / "secret.py").symlink_to(write(tmp_path, "secret.py", ""))
    assert refusal(project) == (
        f"'secret.py' is a link to {tmp_path}/secret.py, outside of the build context "
        '(hint: put the file itself in its place, or exclude it: "/secret.py")'
    )


def test_a_service_outside_of_the_project_is_refused(project: Path) -> None:
    with pytest.raises(ImportServiceError, match="lies outside of the working directory"):
        bentoml.bentos.build("../service.py:svc", build_ctx=write(project, "sub/x.py", "").parent)


# -- whole or not at all (T17) -----------------------------------------------------------------------------------------

SLOW = """
import os, sys
from pathlib import Path
import bentoml
from bentoml.build import builder

step = sys.argv[2]

def stop_at(text):
    if text.startswith(step):
        Path(sys.argv[3]).touch()
        sys.stdin.read()

real = builder.build
builder.build = lambda *args, **kwargs: real(*args, **kwargs, report=stop_at)
bentoml.bentos.build_bentofile(build_ctx=sys.argv[1])
"""


@pytest.mark.parametrize("step", ["importing", "copying 1", "copying the model", "writing the Python", "saving"])
def test_a_build_killed_at_any_step_leaves_nothing(project: Path, home: Path, tmp_path: Path, step: str) -> None:
    reached = tmp_path / "reached"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW), str(project), step, str(reached)],
        env=_server.environment(home),
        stdin=subprocess.PIPE,
    )
    try:
        _server.until(lambda: reached.exists() or process.poll() is not None, f"the step {step!r}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert bentoml.list() == []
    assert [path.name for path in (home / "bentos").iterdir()] == [".staging"]
    bento = build(project)  # the next writer sweeps what the dead one left
    assert bentoml.list() == [bento]
    assert [path.suffix for path in (home / "bentos/.staging").iterdir()] == [".name"]


def test_two_builds_at_once_are_two_bentos_and_the_later_one_is_latest(project: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        built = list(pool.map(lambda _: build(project), range(2)))
    assert {bento.tag for bento in bentoml.list()} == {bento.tag for bento in built}
    for bento in built:
        bentoml.get(bento.tag).verify()
    newest = max(built, key=lambda bento: bento.creation_time)
    assert bentoml.get("payments") == newest


def test_of_two_builds_of_one_version_one_is_refused(project: Path) -> None:
    def attempt(_: int) -> str:
        try:
            return str(build(project, "v1").tag)
        except BentoMLException as error:
            return error.message

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(attempt, range(2)))
    assert outcomes[0].startswith("bento 'payments:v1' exists already")
    assert outcomes[1] == "payments:v1"
    bentoml.get("payments:v1").verify()


def test_a_read_only_store_is_a_clear_error(project: Path, home: Path) -> None:
    (home / "bentos").write_text("")
    with pytest.raises(BentoMLException, match=r"^cannot write in the bento store"):
        build(project)
