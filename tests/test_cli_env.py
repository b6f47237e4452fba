"""`bentoml env`: what a bug report needs."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from bentoml import __version__
from tests._cli import invoke, run


def test_markdown_has_versions_the_platform_and_all_distributions(tmp_path: Path) -> None:
    lines = invoke("env", home=tmp_path).stdout.splitlines()
    assert f"- `bentoml`: {__version__} (makunouchi)" in lines
    assert f"- `python`: {platform.python_version()}" in lines
    assert f"- `platform`: {platform.platform()}" in lines
    assert f"- `click`: {metadata.version('click')}" in lines
    assert f"- `BENTOML_HOME`: {tmp_path}" in lines
    assert f"pytest=={metadata.version('pytest')}" in lines


def test_plain_has_one_fact_in_a_line(tmp_path: Path) -> None:
    facts = dict(line.split(": ", 1) for line in invoke("env", "-o", "plain").stdout.splitlines())
    assert facts["bentoml"] == f"{__version__} (makunouchi)"
    assert facts["msgspec"] == metadata.version("msgspec")
    assert "pytest" not in facts


def test_bash_can_be_sourced(tmp_path: Path) -> None:
    script = invoke("env", "-o", "bash", home=tmp_path / "it's").stdout
    shown = subprocess.run(
        ["sh", "-euc", f'{script}\necho "$python|$package_click|$BENTOML_HOME"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == f"{platform.python_version()}|{metadata.version('click')}|{tmp_path}/it's\n"


def test_configured_keys_are_named_and_their_values_are_not() -> None:
    shown = invoke("env", BENTOML_CONFIG_OPTIONS="api_server.metrics.namespace=secret").stdout
    assert "- `api_server.metrics.namespace`: BENTOML_CONFIG_OPTIONS" in shown
    assert "- `BENTOML_CONFIG_OPTIONS`: (set)" in shown
    assert "secret" not in shown


def test_a_configuration_that_cannot_be_read_is_a_fact_too(tmp_path: Path) -> None:
    result = invoke("env", "-o", "plain", BENTOML_CONFIG=str(tmp_path / "missing.yaml"))
    assert result.exit_code == 0
    assert "configuration: cannot be read: " in result.stdout


def test_the_other_distribution_is_a_fact(tmp_path: Path) -> None:
    (tmp_path / "bentoml-1.4.20.dist-info").mkdir()
    (tmp_path / "bentoml-1.4.20.dist-info/METADATA").write_text("Name: bentoml\nVersion: 1.4.20\n")
    shown = run("env", "-o", "plain", PYTHONPATH=str(tmp_path)).stdout
    assert "bentoml_distribution: 1.4.20 is installed as well\n" in shown
