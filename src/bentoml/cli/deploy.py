"""`bentoml deploy kubernetes|kserve`: the manifests of a bento, written to a file or to the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bentoml.cli.group import Group

if TYPE_CHECKING:
    from bentoml.kubernetes import Workload

__all__ = ["deploy"]

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("-o", "--output", type=click.Path(dir_okay=False), help="File to write.  [default: the terminal]"),
    click.option("--image", help="Image that the cluster pulls.  [default: name:version of the bento]"),
    click.option("--namespace", help="Namespace of the objects.  [default: that of whoever applies them]"),
    click.option("--replicas", "min_replicas", type=int, default=2, show_default=True, help="Pods at least."),
    click.option("--max-replicas", type=int, default=10, show_default=True, help="Pods at most."),
    click.option("--cpu", default="1", show_default=True, help="CPUs of a pod; each whole one runs an API worker."),
    click.option("--memory", default="1Gi", show_default=True, help="Memory of a pod, which is also its limit."),
    click.option("--gpus", type=click.IntRange(min=0), default=0, show_default=True, help="NVIDIA GPUs of a pod."),
    click.option(
        "--cpu-percent",
        type=click.IntRange(1, 100),
        default=70,
        show_default=True,
        help="Share of its CPUs above which pods are added.",
    ),
    click.option("--secret", help="Secret whose keys become environment variables, for ${VAR} in the configuration."),
    click.option(
        "--startup",
        "startup_s",
        type=click.IntRange(min=1),
        default=300,
        show_default=True,
        help="Seconds that a pod may take to load its models.",
    ),
)


@click.group(cls=Group)
def deploy() -> None:
    """Write the manifests with which a cluster runs a bento."""


def _with_options(function: _F) -> _F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@deploy.command()
@click.argument("tag")
@_with_options
def kubernetes(tag: str, output: str | None, **options: Any) -> None:
    """Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget of the bento TAG.

    Ports, probes and grace periods follow the configuration that `bentoml serve` would use here; its file goes along as
    a ConfigMap. Nothing is sent to a cluster: that is what `kubectl apply -f FILE` does.
    """
    from bentoml.kubernetes import manifests, to_yaml

    _write(to_yaml(manifests(_workload(tag, options))), output)


@deploy.command()
@click.argument("tag")
@_with_options
def kserve(tag: str, output: str | None, **options: Any) -> None:
    """An InferenceService of KServe for the bento TAG, with the same pod as `bentoml deploy kubernetes`."""
    from bentoml.kubernetes import inference_service, to_yaml

    _write(to_yaml(inference_service(_workload(tag, options))), output)


def _workload(tag: str, options: dict[str, Any]) -> Workload:
    from bentoml import bentos, config
    from bentoml.kubernetes import Workload

    loaded = config.from_environment(working_dir=Path())
    return Workload(
        tag=bentos.get(tag).tag,
        config=loaded.config,
        config_text=_config_text(),
        config_options=os.environ.get("BENTOML_CONFIG_OPTIONS", ""),
        **options,
    )


def _config_text() -> str | None:
    """The configuration file as it stands, its `${VAR}` unexpanded; None where there is none.

    Raises:
        BentoMLConfigException: it holds a key in clear text, which would be readable in the cluster.
    """
    from bentoml.config import sources
    from bentoml.exceptions import BentoMLConfigException

    named = os.environ.get("BENTOML_CONFIG", "")
    path = sources.path_from_environment(named, os.environ) if named else sources.discover(Path())
    if path is None:
        return None
    auth = (sources.read_file(path).get("api_server") or {}).get("auth") or {}
    if any(not str(key).startswith("${") for key in auth.get("api_keys") or []):
        raise BentoMLConfigException(
            f"{path} holds API keys in clear text, which everybody who may read a ConfigMap could read",
            hint="api_keys: ['${API_KEY}'], and --secret with the name of a Secret that has API_KEY",
        )
    return path.read_text(encoding="utf-8")


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    Path(output).write_text(text, encoding="utf-8")
    click.echo(f"Written to {output}. Next: kubectl apply -f {output}")
