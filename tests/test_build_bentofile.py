"""A bentofile as options: every key and short form, and one error with file, key and way out for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml.build import bentofile
from bentoml.build.options import BuildOptions, CondaOptions, DockerOptions, ModelOption, PythonOptions
from bentoml.exceptions import BentoMLException, InvalidArgument
from tests._bentos import write

MINIMAL = {"service": "service.py:svc"}


def options(context: Path = Path("/"), **fields: Any) -> BuildOptions:
    return bentofile.options_of({**MINIMAL, **fields}, context=context, where="bentofile.yaml")


def refusal(context: Path = Path("/"), **fields: Any) -> str:
    with pytest.raises(InvalidArgument) as raised:
        options(context, **fields)
    return str(raised.value)


FULL = """\
service: "service.py:svc"
name: credit
description: |
  Decides.

  At once.
labels: {owner: team, year: 2026}
include: ["*.py", models.json]
exclude: [tests/]
models:
- credit_risk_model:latest
- {tag: "other:v1", filter: "label:staging", alias: other}
python:
  packages: [numpy, "pandas>=2"]
  lock_packages: false
  index_url: https://example.org/simple
  no_index: false
  trusted_host: example.org
  find_links: [https://example.org/links]
  extra_index_url: https://example.org/extra
  pip_args: "--pre"
  wheels: [wheels/a-1-py3-none-any.whl]
conda:
  channels: [conda-forge]
  dependencies: [h2o, {pip: [foo]}]
docker:
  distro: debian
  python_version: 3.11
  cuda_version: 11.6
  env: {A: b, N: 3}
  system_packages: [git]
  setup_script: setup.sh
  base_image: null
  dockerfile_template: Dockerfile.template
"""


def test_every_key_is_read(tmp_path: Path) -> None:
    for name in ("wheels/a-1-py3-none-any.whl", "setup.sh", "Dockerfile.template"):
        write(tmp_path, name, "")
    (tmp_path / "setup.sh").chmod(0o755)
    read = bentofile.read(write(tmp_path, "bentofile.yaml", FULL), context=tmp_path)
    assert read == BuildOptions(
        service="service.py:svc",
        name="credit",
        description="Decides.\n\nAt once.\n",
        labels={"owner": "team", "year": "2026"},
        include=["*.py", "models.json"],
        exclude=["tests/"],
        models=[
            ModelOption(tag="credit_risk_model:latest"),
            ModelOption(tag="other:v1", filter="label:staging", alias="other"),
        ],
        docker=DockerOptions(
            python_version="3.11",
            cuda_version="11.6",
            env={"A": "b", "N": "3"},
            system_packages=["git"],
            setup_script="setup.sh",
            dockerfile_template="Dockerfile.template",
        ),
        python=PythonOptions(
            packages=["numpy", "pandas>=2"],
            lock_packages=False,
            index_url="https://example.org/simple",
            no_index=False,
            trusted_host=["example.org"],
            find_links=["https://example.org/links"],
            extra_index_url=["https://example.org/extra"],
            pip_args="--pre",
            wheels=["wheels/a-1-py3-none-any.whl"],
        ),
        conda=CondaOptions(channels=["conda-forge"], dependencies=["h2o"], pip=["foo"]),
    )


def test_the_defaults_are_those_of_the_reference() -> None:
    read = options()
    assert (read.include, read.exclude, read.name, read.docker.distro) == (["*"], [], None, "debian")
    assert read.python.lock_packages is None
    assert not read.conda.is_used


def test_the_table_of_pyproject_is_the_same_thing(tmp_path: Path) -> None:
    text = '[tool.bentoml.build]\nservice = "service:svc"\ninclude = ["*.py"]\n[tool.bentoml.build.docker]\nenv = ["A=b"]\n'
    path = write(tmp_path, "pyproject.toml", text)
    read = bentofile.read(path, context=tmp_path)
    assert (read.service, read.include, read.docker.env) == ("service:svc", ["*.py"], {"A": "b"})
    assert bentofile.find(None, tmp_path) == path


def test_a_pyproject_without_the_table_is_no_bentofile(tmp_path: Path) -> None:
    path = write(tmp_path, "pyproject.toml", '[project]\nname = "x"\n')
    with pytest.raises(InvalidArgument, match=r"^there is no bentofile.yaml in .* \(hint: write one with the line"):
        bentofile.find(None, tmp_path)
    with pytest.raises(InvalidArgument, match=r"pyproject.toml has no table \[tool.bentoml.build\]$"):
        bentofile.read(path, context=tmp_path)
    path.write_text("a = [")
    with pytest.raises(BentoMLException, match=r"pyproject.toml is not TOML: "):
        bentofile.read(path, context=tmp_path)


def test_a_bentofile_is_looked_for_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, context = tmp_path / "here", tmp_path / "project"
    inside = write(context, "bentofile.yaml", "")
    write(here, "bentofile.yaml", "")
    write(here, "gpu.yaml", "")
    monkeypatch.chdir(here)
    assert bentofile.find(None, context) == inside
    assert bentofile.find("bentofile.yaml", context) == inside
    assert bentofile.find("gpu.yaml", context) == Path("gpu.yaml")
    other = write(context, "cpu.yaml", "")
    assert bentofile.find("cpu.yaml", context) == other
    with pytest.raises(InvalidArgument, match=r"^there is no x.yaml in "):
        bentofile.find("x.yaml", context)


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({"A": 1, "B": True}, {"A": "1", "B": "True"}),
        (["A=1", "B=x=y", "C="], {"A": "1", "B": "x=y", "C": ""}),
        ("vars.env", {"A": "1", "B": "two words", "C": "x # y", "D": "z", "E": ""}),
    ],
)
def test_variables_may_be_a_map_a_list_or_a_file(tmp_path: Path, env: Any, found: dict[str, str]) -> None:
    write(tmp_path, "vars.env", "# of the image\nA=1\n\nexport B = \"two words\" # said\nC='x # y'\nD=z # w\nE=\n")
    assert options(tmp_path, docker={"env": env}).docker.env == found


def test_one_text_may_stand_for_a_list() -> None:
    assert options(include="*.py", python={"packages": "numpy"}).include == ["*.py"]


def test_sklearn_is_taken_for_scikit_learn_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    packages = ["xgboost", "sklearn>=1.3", "PIL", "cv2; python_version < '4'", "yamllint"]
    assert options(python={"packages": packages}).python.packages == [
        "xgboost", "scikit-learn>=1.3", "pillow", "opencv-python-headless; python_version < '4'", "yamllint",
    ]  # fmt: skip
    assert caplog.messages[0] == "python.packages: sklearn is taken for scikit-learn, its name for pip"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"inclde": []}, "bentofile.yaml: `inclde` is no key of a bentofile (hint: did you mean `include`?)"),
        ({"python": {"packges": []}}, "bentofile.yaml: `python.packges` is no key of a bentofile (hint: did you mean `packages`?)"),
        ({"models": [{"tga": "x"}]}, "bentofile.yaml: `models[0].tga` is no key of a bentofile (hint: did you mean `tag`?)"),
        ({"service": None}, 'bentofile.yaml: the key `service` is missing (hint: service: "service.py:svc")'),
        ({"docker": {"distro": ["a"]}}, "bentofile.yaml: `docker.distro`: expected `str`, got `array`"),
        ({"docker": []}, "bentofile.yaml: `docker`: expected `object`, got `array`"),
        ({"models": "x"}, "bentofile.yaml: `models` must be a list, not str"),
        ({"models": [3]}, "bentofile.yaml: `models[0]` must be a tag or a mapping with the key `tag`, not int"),
        ({"models": [{"alias": "a"}]}, "bentofile.yaml: `models[0]`: object missing required field `tag`"),
        ({"models": ["../x:v1"]}, "bentofile.yaml: `models[0].tag`: '../x:v1' is not a tag: "),
        ({"models": [{"tag": "a", "alias": "m"}, {"tag": "b", "alias": "m"}]}, "bentofile.yaml: `models`: the alias 'm' is given twice"),
        ({"name": "../x"}, "bentofile.yaml: `name`: '../x' cannot be the name of a bento: "),
        ({"docker": {"python_version": 3.1}}, 'bentofile.yaml: `docker.python_version`: without quotes 3.10 is the number 3.1 (hint: write "3.10")'),
        ({"docker": {"python_version": "3.8"}}, "bentofile.yaml: `docker.python_version`: Python '3.8' cannot run this package (hint: one of 3.10, 3.11, "),
        ({"docker": {"env": 3}}, "bentofile.yaml: `docker.env` must be a mapping, a list of NAME=value or a path, not int"),
        ({"docker": {"env": ["A"]}}, "bentofile.yaml: `docker.env`: 'A' is not of the form NAME=value"),
        ({"docker": {"env": {"A B": "x"}}}, "bentofile.yaml: `docker.env`: 'A B' is no name of a variable (hint: use letters, digits and _)"),
        ({"docker": {"env": {"A": None}}}, "bentofile.yaml: `docker.env.A` must be text, not NoneType"),
        ({"conda": {"dependencies": [{"pip": []}], "pip": ["x"]}}, "bentofile.yaml: `conda.pip` and a mapping `pip` in `conda.dependencies` exclude each other"),
        ({"conda": {"dependencies": [{"npm": []}]}}, "bentofile.yaml: `conda.dependencies` takes text, and one mapping with the key `pip`"),
        ({"include": ["../shared/*.py"]}, "bentofile.yaml: `include`: '../shared/*.py' leads out of the build context (hint: "),
        ({"include": ["a/../../*.py"]}, "bentofile.yaml: `include`: 'a/../../*.py' leads out of the build context (hint: "),
        ({"exclude": ["!"]}, "bentofile.yaml: `exclude`: Invalid git pattern: '!'"),
        ({"include": ["a["]}, "bentofile.yaml: `include`: 'a[' is no pattern (hint: write it as in .gitignore: *.py, src/)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_error_with_file_key_and_way_out(fields: dict[str, Any], said: str) -> None:
    assert refusal(**fields).startswith(said)


@pytest.mark.parametrize("content", ["- a", "text", "3", ""])
def test_a_bentofile_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "bentofile.yaml", content)
    with pytest.raises(InvalidArgument, match=r"^bentofile.yaml: it must hold a mapping of keys, not "):
        bentofile.read(path, context=tmp_path)


def test_a_bentofile_that_harms_its_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BentoMLException, match=r"bentofile.yaml is not YAML"):
        bentofile.read(write(tmp_path, "bentofile.yaml", "a: ["), context=tmp_path)
    with pytest.raises(BentoMLException, match=r"nested deeper than 64"):
        bentofile.read(write(tmp_path, "bentofile.yaml", "[" * 100_000), context=tmp_path)


# -- T15: paths ---------------------------------------------------------------------------------------------------------

PATH_KEYS = {
    "description": lambda path: {"description": f"file: {path}"},
    "python.requirements_txt": lambda path: {"python": {"requirements_txt": path}},
    "python.wheels[0]": lambda path: {"python": {"wheels": [path]}},
    "docker.setup_script": lambda path: {"docker": {"setup_script": path}},
    "docker.dockerfile_template": lambda path: {"docker": {"dockerfile_template": path}},
    "docker.env": lambda path: {"docker": {"env": path}},
    "conda.environment_yml": lambda path: {"conda": {"environment_yml": path}},
}


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "a/../../secret", "~/secret", "~root/x", "..\\secret"])
@pytest.mark.parametrize("key", PATH_KEYS)
def test_a_path_out_of_the_context_is_refused_with_the_path_named(tmp_path: Path, key: str, path: str) -> None:
    write(tmp_path, "secret", "")
    context = tmp_path / "context"
    context.mkdir()
    assert refusal(context, **PATH_KEYS[key](path)) == (
        f"bentofile.yaml: `{key}`: {path!r} leads out of the build context "
        "(hint: name a file below it, by a relative path)"
    )


@pytest.mark.parametrize("key", PATH_KEYS)
def test_a_link_out_of_the_context_is_refused(tmp_path: Path, key: str) -> None:
    write(tmp_path, "secret", "")
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").symlink_to("../secret")
    (context / "folder").symlink_to("..")
    for path in ("file", "folder/secret"):
        assert refusal(context, **PATH_KEYS[key](path)) == (
            f"bentofile.yaml: `{key}`: {path!r} is a link that leads out of the build context "
            "(hint: put the file itself in its place)"
        )


@pytest.mark.parametrize("key", PATH_KEYS)
def test_a_missing_file_is_named(tmp_path: Path, key: str) -> None:
    assert refusal(tmp_path, **PATH_KEYS[key]("nope.txt")) == (
        f"bentofile.yaml: `{key}`: there is no file 'nope.txt' in {tmp_path}"
    )


def test_a_setup_script_must_be_executable(tmp_path: Path) -> None:
    write(tmp_path, "setup.sh", "")
    assert refusal(tmp_path, docker={"setup_script": "setup.sh"}) == (
        "bentofile.yaml: `docker.setup_script`: 'setup.sh' is not executable (hint: chmod +x setup.sh)"
    )


# -- T15: text -----------------------------------------------------------------------------------------------------------

TEXT_KEYS: dict[str, Any] = {
    "service": lambda text: {"service": text},
    "labels.a": lambda text: {"labels": {"a": text}},
    "a name in labels": lambda text: {"labels": {text: "b"}},
    "include[0]": lambda text: {"include": [text]},
    "models[0].alias": lambda text: {"models": [{"tag": "a", "alias": text}]},
    "python.packages[0]": lambda text: {"python": {"packages": [text]}},
    "python.index_url": lambda text: {"python": {"index_url": text}},
    "python.pip_args": lambda text: {"python": {"pip_args": text}},
    "docker.env.A": lambda text: {"docker": {"env": {"A": text}}},
    "docker.base_image": lambda text: {"docker": {"base_image": text}},
    "docker.system_packages[0]": lambda text: {"docker": {"system_packages": [text]}},
    "docker.distro": lambda text: {"docker": {"distro": text}},
    "conda.channels[0]": lambda text: {"conda": {"channels": [text]}},
}


@pytest.mark.parametrize("key", TEXT_KEYS)
@pytest.mark.parametrize("char", ["\n", "\r", "\0", "\x1b", "\u2028", "\x85"])
def test_a_line_break_or_what_nobody_sees_is_refused_where_it_does_not_belong(key: str, char: str) -> None:
    said = refusal(**TEXT_KEYS[key](f"a{char}b"))
    assert said.startswith(f"bentofile.yaml: `{key}` holds the character {char!r}, which does not belong there")


def test_a_description_may_have_lines_and_no_nul() -> None:
    assert options(description="a\n\tb\n").description == "a\n\tb\n"
    assert refusal(description="a\0").startswith("bentofile.yaml: `description` holds the character '\\x00'")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = {
    **{field.name: None for field in msgspec.structs.fields(BuildOptions)},
    **{("docker", field.name): None for field in msgspec.structs.fields(DockerOptions)},
    **{("python", field.name): None for field in msgspec.structs.fields(PythonOptions)},
    **{("conda", field.name): None for field in msgspec.structs.fields(CondaOptions)},
}


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(list(KEYS)), value=values)
def test_any_value_of_any_key_is_options_or_one_error(key: Any, value: Any) -> None:
    fields = {key[0]: {key[1]: value}} if isinstance(key, tuple) else {key: value}
    made, said = None, ""
    try:
        made = bentofile.options_of({**MINIMAL, **fields}, context=Path("/nonexistent"), where="bentofile.yaml")
    except InvalidArgument as error:
        said = str(error)
    assert isinstance(made, BuildOptions) or said.startswith("bentofile.yaml: ")
