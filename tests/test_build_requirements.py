"""Reading requirements: what is taken, what is read in place, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bentoml.build.options import PythonOptions
from bentoml.build.requirements import Requirements, read, without_credentials, without_secrets
from bentoml.exceptions import BentoMLException, InvalidArgument


def of_packages(*packages: str) -> Requirements:
    return read(PythonOptions(packages=list(packages)), context=Path("/nowhere"))


def of_file(folder: Path, **files: str) -> Requirements:
    """Of requirements.txt; a file `a_b` is named a/b.txt."""
    for name, text in files.items():
        path = folder / f"{name.replace('_', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read(PythonOptions(requirements_txt="requirements.txt"), context=folder)


@pytest.mark.parametrize(
    "line",
    [
        "xgboost",
        "xgboost>=2.1,<3",
        "scikit-learn ~= 1.3",
        "torch==2.1.0+cpu",
        "uvicorn[standard]>=0.20; python_version < '3.12' and sys_platform == \"linux\"",
        "wheel @ https://host.example/wheel-1.0-py3-none-any.whl",
        "git+https://host.example/x.git@v1#egg=x",
        "x @ git+ssh://git@host.example/x.git",
        "pkg===1.0",
        "a (>=1.0)",
        "x==1.*",
    ],
)
def test_requirements_are_taken_as_they_are(line: str) -> None:
    assert of_packages(line).packages == [line]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--index-url=https://evil.example", "'--index-url=https://evil.example' is not a requirement"),
        ("-r other.txt", "'-r other.txt' is not a requirement"),
        ("x; python_version > `id`", "is not a requirement"),
        ("x ${HOME}", "is not a requirement"),
        ("numpy scipy", "'numpy scipy' is not a requirement"),
        ("x \\", "cannot be installed in a bento"),
        ("", "'' is not a requirement"),
        ("./local", "cannot be installed in a bento: a path means nothing in an image"),
        ("dist/x-1.0-py3-none-any.whl", "cannot be installed in a bento"),
        ("x @ file:///x.whl", "cannot be installed in a bento"),
        ("x @ https://me:secret@host.example/x.whl", "the URL of x holds credentials"),
        ("git+https://token@host.example/x.git", "the URL of a package holds credentials"),
        ("x\ny", "`python.packages[0]` holds the character '\\n'"),
    ],
)
def test_what_is_no_requirement_is_refused_with_its_place(line: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        of_packages(line)
    assert message in str(caught.value)
    assert "python.packages[0]" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_this_package_itself_is_left_to_the_bento_with_its_extras() -> None:
    found = of_packages("bentoml[tracing, image]>=1.0", "makunouchi", "xgboost")
    assert found.packages == ["xgboost"]
    assert found.own_extras == ["image", "tracing"]


def test_nested_files_are_read_in_place(tmp_path: Path) -> None:
    found = of_file(
        tmp_path,
        requirements="# ours\nnumpy  # arrays\n-r deps/more.txt\n-c limits.txt\npandas \\\n  >=2\n",
        deps_more="xgboost\n--requirement=../base.txt\n",
        base="click\r\n",
        limits="scipy<2\n",
    )
    assert found.packages == ["numpy", "xgboost", "click", "pandas   >=2"]
    assert found.constraints == ["scipy<2"]


def test_index_options_of_a_file_join_those_of_the_bentofile(tmp_path: Path) -> None:
    text = "-i https://one.example/simple\n--extra-index-url https://two.example\n--pre\n--no-binary :all:\nx\n"
    options = of_file(tmp_path, requirements=text).options
    assert options.index_url == "https://one.example/simple"
    assert options.extra_index_url == ["https://two.example"]
    assert options.pip_args == "--pre --no-binary :all:"


def test_digests_stay_with_their_line(tmp_path: Path) -> None:
    line = "x==1.0 --hash=sha256:" + "0" * 64
    assert of_file(tmp_path, requirements=line.replace(" --", " \\\n    --")).packages == [
        line.replace(" --", "     --")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n-e .\n", "requirements.txt:2: '-e .' cannot be installed in a bento"),
        ("--editable=src", "requirements.txt:1: '--editable=src' cannot be installed in a bento"),
        ("-r ../outside.txt", "`requirements.txt:1`: '../outside.txt' leads out of the build context"),
        ("-r /etc/hosts", "requirements.txt:1"),
        ("-r requirements.txt", "requirements.txt includes itself"),
        ("-r missing.txt", "there is no file 'missing.txt'"),
        ("--report x", "requirements.txt:1: the option --report is not understood in a requirements file"),
        ("x y z;", "requirements.txt:1: 'x y z;' is not a requirement"),
        ("-i https://${TOKEN}@host.example", "python.index_url: variables are not expanded in a bento"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        of_file(tmp_path, requirements=text)
    assert message in str(caught.value)


def test_a_link_out_of_the_context_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x\n")
    context = tmp_path / "project"
    context.mkdir()
    (context / "requirements.txt").symlink_to("../secret.txt")
    with pytest.raises(InvalidArgument, match="is a link that leads out of the build context"):
        of_file(context)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BentoMLException, match=r"the requirements file .* cannot be read"):
        of_file(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PythonOptions(index_url="--x"), "python.index_url: '--x' is neither a URL nor the name of a host"),
        (PythonOptions(trusted_host=["a b"]), "python.trusted_host: 'a b' is neither a URL nor the name of a host"),
        (PythonOptions(pip_args="it's"), 'python.pip_args: "it\'s" cannot be split into words: No closing quotation'),
        (PythonOptions(pip_args="-i https://a:b@c.example"), "python.pip_args: an argument holds credentials"),
        (
            PythonOptions(pip_args="--index-url=https://token@c.example"),
            "python.pip_args: an argument holds credentials",
        ),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_with_its_key(options: PythonOptions, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(options, context=Path("/nowhere"))
    assert message in str(caught.value)


def test_credentials_are_taken_out_of_an_address() -> None:
    assert without_credentials("https://me:secret@host.example:8080/simple") == "https://host.example:8080/simple"
    assert without_credentials("https://me:p@ss@host.example/simple") == "https://host.example/simple"
    assert without_credentials("https://host.example/a@b") == "https://host.example/a@b"
    assert without_credentials("at https://me@one.example and http://two.example") == (
        "at https://one.example and http://two.example"
    )


def test_the_record_of_a_bento_has_no_credentials() -> None:
    address = "https://me:secret@host.example/simple"
    shown = without_secrets(PythonOptions(index_url=address, extra_index_url=[address], find_links=[address]))
    assert "secret" not in repr(shown)
    assert shown.index_url == "https://host.example/simple"
    assert without_secrets(PythonOptions()) == PythonOptions()
