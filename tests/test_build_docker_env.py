"""env/docker of a bento: its files, templates that extend the Dockerfile, and what starts in the image."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bentoml.build import docker_env
from bentoml.build.options import BuildOptions, DockerOptions
from bentoml.exceptions import BentoMLException, InvalidArgument
from tests._dockerfile import Instruction, instructions


def write(folder: Path, name: str = "iris", **docker: Any) -> Path:
    """env/docker of a bento whose build context is `folder`."""
    options = BuildOptions(service="service:svc", docker=DockerOptions(python_version="3.12", **docker))
    docker_env.write(folder / "bento", options, context=folder, name=name)
    return folder / "bento" / "env" / "docker"


def with_template(folder: Path, template: str, **docker: Any) -> list[Instruction]:
    (folder / "Dockerfile.template").write_text(template)
    env = write(folder, dockerfile_template="Dockerfile.template", **docker)
    return instructions((env / "Dockerfile").read_text())


def plain(folder: Path, **docker: Any) -> list[Instruction]:
    (folder / "plain").mkdir()
    return instructions((write(folder / "plain", **docker) / "Dockerfile").read_text())


def test_models_are_copied_where_there_are_some(tmp_path: Path) -> None:
    assert "COPY --chown=1034:1034 models/" not in (write(tmp_path) / "Dockerfile").read_text()
    other = tmp_path / "other"
    (other / "bento" / "models").mkdir(parents=True)
    assert "COPY --chown=1034:1034 models/ ./models/\n" in (write(other) / "Dockerfile").read_text()


def test_a_set_up_script_comes_along_and_runs_last(tmp_path: Path) -> None:
    script = tmp_path / "setup.sh"
    script.write_text("#!/bin/sh\necho ready\n")
    script.chmod(0o755)
    env = write(tmp_path, setup_script="setup.sh")
    assert (env / "setup_script").read_text() == script.read_text()
    assert stat.S_IMODE((env / "setup_script").stat().st_mode) == 0o755
    runs = [each.words[0] for each in instructions((env / "Dockerfile").read_text()) if each.keyword == "RUN"]
    assert runs[-1] == "chmod +x env/docker/setup_script && env/docker/setup_script"


def test_a_set_up_script_that_cannot_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_text("echo\n")
    with pytest.raises(InvalidArgument) as caught:
        write(tmp_path, setup_script="setup.sh")
    assert str(caught.value) == "`docker.setup_script`: 'setup.sh' is not executable (hint: chmod +x setup.sh)"


@pytest.mark.parametrize("key", ["setup_script", "dockerfile_template"])
@pytest.mark.parametrize("path", ["../outside", "/etc/hosts", "~/x", "missing", "link"])
def test_a_path_that_leads_nowhere_or_outside_is_refused_with_its_key(key: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("")
    context = tmp_path / "project"
    context.mkdir()
    (context / "link").symlink_to("../outside")
    with pytest.raises(InvalidArgument, match=rf"`docker.{key}`.*{path!r}"):
        write(context, **{key: path})


def test_what_has_no_effect_with_a_base_image_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, base_image="acme/base", system_packages=["git"])
    assert "docker.system_packages has no effect with docker.base_image: install it in that image" in caplog.text


def test_a_name_that_no_bento_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"name: 'a b' cannot be the name of a bento"):
        write(tmp_path, name="a b")


# -- templates ---------------------------------------------------------------------------------------------------------


def test_a_template_that_changes_nothing_makes_the_same_dockerfile(tmp_path: Path) -> None:
    assert with_template(tmp_path, "{% extends bento_base_template %}\n") == plain(tmp_path)
    assert (tmp_path / "bento" / "env" / "docker" / "Dockerfile.template").is_file()


def test_a_template_adds_to_a_block(tmp_path: Path) -> None:
    template = """{% extends bento_base_template %}
{% block SETUP_BENTO_COMPONENTS %}
RUN echo before
{{ super() }}
RUN echo "behind {{ bento__path }} {{ expands_bento_path('src', 'x') }}"
{% endblock %}
{% block SETUP_BENTO_ENTRYPOINT %}
{{ super() }}
EXPOSE 9000
{% endblock %}
"""
    unchanged = plain(tmp_path)
    added = [each for each in with_template(tmp_path, template) if each not in unchanged]
    assert [each.words for each in added] == [
        ("echo before",),
        ('echo "behind /home/bentoml/bento /home/bentoml/bento/src/x"',),
        ("9000",),
    ]


def test_variables_of_a_template_change_the_user_and_the_places(tmp_path: Path) -> None:
    template = "{% extends bento_base_template %}\n{% set bento__user = 'svc' %}\n{% set bento__uid_gid = 2000 %}\n"
    found = with_template(tmp_path, template)
    assert Instruction("USER", (), "words", ("2000:2000",)) in found
    assert any("echo 'svc:x:2000:2000::" in each.words[0] for each in found)


def test_options_of_the_bentofile_are_variables(tmp_path: Path) -> None:
    template = "{% extends bento_base_template %}\n{% block SETUP_BENTO_USER %}\n{{ super() }}\nUSER {{ __options__distro }}\n{% endblock %}\n"
    assert Instruction("USER", (), "words", ("alpine",)) in with_template(tmp_path, template, distro="alpine")


@pytest.mark.parametrize(
    ("first", "named"),
    [
        ("FROM acme/base:1", ["acme/base:1", "AS", "base"]),
        ("FROM acme/other AS helper\nRUN true\nFROM --platform=linux/amd64 acme/base:1\nRUN id", ["acme/base:1", "AS", "base"]),
        ("FROM acme/base:1 as mine\nRUN id", ["mine", "AS", "base"]),
        ("FROM acme/base:1 AS base\nRUN id", ["acme/base:1", "AS", "base"]),
    ],
)  # fmt: skip
def test_a_template_may_begin_the_image_itself(tmp_path: Path, first: str, named: list[str]) -> None:
    template = f"{{% extends bento_base_template %}}\n{{% block SETUP_BENTO_BASE_IMAGE %}}\n{first}\n{{% endblock %}}\n"
    stages = [list(each.words) for each in with_template(tmp_path, template) if each.keyword == "FROM"]
    assert named in stages
    assert stages[-2:] == [["base", "AS", "packages"], ["base"]]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% extends bento_base_template %}\n{% block X %}\n", "Dockerfile.template:2: Unexpected end of template"),
        ("{{ no_such_name }}", "Dockerfile.template cannot be rendered: 'no_such_name' is undefined"),
        ("{% include '/etc/hosts' %}", "Dockerfile.template cannot be rendered: "),
        ("{{ ''.__class__.__mro__ }}", "Dockerfile.template cannot be rendered: "),
        ("{% extends bento_base_template %}{% set bento__home = '/a b; id' %}", "bento__home: '/a b; id' is more than"),
        (
            "{% extends bento_base_template %}{% block SETUP_BENTO_BASE_IMAGE %}{% endblock %}",
            "docker.dockerfile_template: no stage comes before SETUP_BENTO_COMPONENTS",
        ),
    ],
)
def test_a_wrong_template_is_told(tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(BentoMLException) as caught:
        with_template(tmp_path, template)
    assert message in str(caught.value)


# -- entrypoint.sh -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "ran"),
    [
        ([], ["bentoml", "serve", "/the bento"]),
        (["--port", "1"], ["bentoml", "serve", "--port", "1", "/the bento"]),
        (["serve", "--debug"], ["bentoml", "serve", "--debug", "/the bento"]),
        (["serve-http"], ["bentoml", "serve-http", "/the bento"]),
        (["env", "printf", "a b"], ["env", "printf", "a b"]),
    ],
)
def test_the_entrypoint_serves_unless_it_is_told_something_else(
    tmp_path: Path, given: list[str], ran: list[str]
) -> None:
    script = write(tmp_path) / "entrypoint.sh"
    shown = tmp_path / "show"
    shown.write_text('#!/bin/sh\nfor each in "${0##*/}" "$@"; do echo "$each"; done; echo "port=${BENTOML_PORT:-}"\n')
    shown.chmod(0o755)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / ran[0]).symlink_to(shown)
    environment = {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "BENTO_PATH": "/the bento", "PORT": "8080"}
    done = subprocess.run(["/bin/sh", script, *given], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*ran, "port=8080"]
