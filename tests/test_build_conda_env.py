"""env/conda of a bento: the environment file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bentoml.build import conda_env
from bentoml.build.options import CondaOptions
from bentoml.exceptions import InvalidArgument


def written(folder: Path, options: CondaOptions) -> object:
    conda_env.write(folder / "bento", options, context=folder)
    return yaml.safe_load((folder / "bento" / "env" / "conda" / "environment.yml").read_text())


def test_nothing_is_written_where_conda_is_not_used(tmp_path: Path) -> None:
    conda_env.write(tmp_path / "bento", CondaOptions(channels=["defaults"]), context=tmp_path)
    assert not (tmp_path / "bento").exists()


def test_dependencies_channels_and_pip_become_an_environment(tmp_path: Path) -> None:
    assert written(tmp_path, CondaOptions(dependencies=["numpy=1.26"], pip=["iris"])) == {
        "dependencies": ["numpy=1.26", "pip", {"pip": ["iris"]}],
        "channels": ["conda-forge"],
    }


def test_an_environment_file_is_copied_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text("# ours\nname: x\n")
    assert written(tmp_path, CondaOptions(environment_yml="environment.yml")) == {"name": "x"}
    assert (tmp_path / "bento/env/conda/environment.yml").read_text().startswith("# ours\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            CondaOptions(environment_yml="../x.yml"),
            "`conda.environment_yml`: '../x.yml' leads out of the build context",
        ),
        (CondaOptions(dependencies=["a\nb"]), "`conda.dependencies[0]` holds the character '\\n'"),
        (CondaOptions(pip=["-r /etc/passwd"]), "conda.pip[0]: '-r /etc/passwd' is an option, which is refused"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_key(options: CondaOptions, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        written(tmp_path, options)
    assert message in str(caught.value)
