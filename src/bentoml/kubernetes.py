"""Kubernetes manifests of a bento: plain objects made from its tag and the server's own settings, by pure functions.

    Workload ──► manifests          ──► ConfigMap?, Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget
             └─► inference_service  ──► ConfigMap?, InferenceService of KServe

Whatever the server does by itself, the cluster is told: where it listens, when it is ready, how long it takes to drain,
how many processes it starts. No object is sent anywhere; `kubectl apply -f` does that.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import msgspec

from bentoml.build.dockerfile import USER_ID
from bentoml.config import Config
from bentoml.exceptions import InvalidArgument
from bentoml.tag import Tag

__all__ = ["Workload", "inference_service", "manifests", "to_yaml"]

#: Seconds between a pod's end being decided and its SIGTERM: the routers of the cluster need some to hear of it.
LEAVING_S = 5
#: Seconds beyond the server's own grace period before the kubelet kills: writing what is left takes its time.
MARGIN_S = 5
#: How often the kubelet asks a starting pod, in seconds.
STARTUP_PERIOD_S = 2
#: How long the kubelet waits for an answer, in seconds: a busy pod answers late, and is not to be killed for it.
PROBE_TIMEOUT_S = 3
CONFIG_FOLDER = "/etc/bentoml"
CONFIG_FILE = "bentoml_configuration.yaml"

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[\w./:@-]{1,512}", re.ASCII)


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What shall run in the cluster.

    Attributes:
        tag: of the bento, with its version.
        config: the server's settings; the manifests follow its port, TLS, metrics and grace period.
        image: None is `name:version`, as `bentoml containerize` calls it.
        config_text: a configuration file, given to the pods as a ConfigMap.
        config_options: `BENTOML_CONFIG_OPTIONS` of the pods.
        namespace: None leaves it to whoever applies the manifests.
        min_replicas, max_replicas: of the autoscaler.
        cpu: CPUs of one pod, a Kubernetes quantity; the server starts one API worker for each whole one.
        memory: of one pod, a Kubernetes quantity; also its limit.
        gpus: NVIDIA GPUs of one pod.
        secret: a Secret whose keys become environment variables, for `${VAR}` in the configuration.
        cpu_percent: of `cpu`; the autoscaler adds pods above it.
        startup_s: how long a pod may take to load its models, in seconds.

    Raises:
        InvalidArgument: a value that Kubernetes would refuse; names the option.
    """

    tag: Tag
    config: Config
    image: str | None = None
    config_text: str | None = None
    config_options: str = ""
    namespace: str | None = None
    min_replicas: int = 2
    max_replicas: int = 10
    cpu: str = "1"
    memory: str = "1Gi"
    gpus: int = 0
    secret: str | None = None
    cpu_percent: int = 70
    startup_s: int = 300

    def __post_init__(self) -> None:
        for option, value in (("namespace", self.namespace), ("secret", self.secret)):
            if value is not None and not _NAME.fullmatch(value):
                raise InvalidArgument(f"--{option}: {value!r} is no name of Kubernetes", hint="a-z, 0-9 and '-'")
        for option, value in (("cpu", self.cpu), ("memory", self.memory)):
            if not (found := _QUANTITY.fullmatch(value)) or not Decimal(found[1]):
                raise InvalidArgument(f"--{option}: {value!r} is no quantity of Kubernetes", hint="such as 2 or 4Gi")
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise InvalidArgument(f"--image: {self.image!r} is no name of an image", hint="registry/repository:tag")
        if self.tag.version is None:
            raise InvalidArgument(f"the tag {self.tag} has no version: two pods might run two bentos")
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise InvalidArgument(
                f"--replicas: from {self.min_replicas} to {self.max_replicas} pods is no range",
                hint="--replicas 2 --max-replicas 10",
            )

    @property
    def name(self) -> str:
        """Of all objects: the bento's name as a DNS label that begins with a letter, of 63 characters at most."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.tag.name)
        return (plain if plain[0].isalpha() else f"bento-{plain}")[:63].strip("-")

    @property
    def api_workers(self) -> int:
        """Processes that answer requests in one pod: a node has more CPUs than the pod may use."""
        return self.config.api_server.workers or max(1, math.floor(_cpus(self.cpu)))


def manifests(workload: Workload) -> list[dict[str, Any]]:
    """Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget, and a ConfigMap where there is a file."""
    metadata = _metadata(workload)
    selector = {"matchLabels": _identity(workload)}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name}
    busy = {"type": "Utilization", "averageUtilization": workload.cpu_percent}
    return [
        *_config_map(workload),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            # No number of replicas: the autoscaler would be overruled by each `kubectl apply`.
            "spec": {
                "selector": selector,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {
                    "metadata": {"labels": metadata["labels"], "annotations": _scraping(workload)},
                    "spec": {
                        **_pod(workload),
                        "containers": [_container(workload, name=workload.name, port_name="http")],
                    },
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "ClusterIP",
                "selector": _identity(workload),
                "ports": [{"name": "http", "port": 443 if _is_tls(workload) else 80, "targetPort": "http"}],
            },
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": {
                "scaleTargetRef": target,
                "minReplicas": workload.min_replicas,
                "maxReplicas": workload.max_replicas,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": busy}}],
                # Models take long to load: a pod that is taken away too soon is missed for longer.
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
            },
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": {"maxUnavailable": 1, "selector": selector},
        },
    ]


def inference_service(workload: Workload) -> list[dict[str, Any]]:
    """An InferenceService of KServe with the bento as its predictor, and a ConfigMap where there is a file."""
    return [
        *_config_map(workload),
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": _metadata(workload),
            "spec": {
                "predictor": {
                    "minReplicas": workload.min_replicas,
                    "maxReplicas": workload.max_replicas,
                    "scaleMetric": "cpu",
                    "scaleTarget": workload.cpu_percent,
                    **_pod(workload),
                    # KServe knows its own container by this name, and the protocol by the name of the port.
                    "containers": [_container(workload, name="kserve-container", port_name="http1")],
                }
            },
        },
    ]


def to_yaml(objects: list[dict[str, Any]]) -> str:
    """The objects as one file, in the order in which they are applied."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes an object that is used twice out twice: `kubectl` reads anchors, people do not."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    text: str = yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, allow_unicode=True, explicit_start=True)
    return text


def _identity(workload: Workload) -> dict[str, str]:
    """The labels by which pods are found; the version is not among them, or a new one would be another application."""
    return {"app.kubernetes.io/name": workload.name}


def _metadata(workload: Workload) -> dict[str, Any]:
    labels = {
        **_identity(workload),
        "app.kubernetes.io/version": str(workload.tag.version),
        "app.kubernetes.io/managed-by": "makunouchi",
    }
    namespace = {"namespace": workload.namespace} if workload.namespace is not None else {}
    return {"name": workload.name, **namespace, "labels": labels}


def _scraping(workload: Workload) -> dict[str, str]:
    """The annotations that most installations of Prometheus go by."""
    if not workload.config.api_server.metrics.enabled:
        return {}
    port = str(workload.config.api_server.http.port)
    scheme = {"prometheus.io/scheme": "https"} if _is_tls(workload) else {}
    return {"prometheus.io/scrape": "true", "prometheus.io/port": port, "prometheus.io/path": "/metrics", **scheme}


def _pod(workload: Workload) -> dict[str, Any]:
    grace_s = LEAVING_S + math.ceil(workload.config.api_server.shutdown_grace) + MARGIN_S
    volumes = [{"name": "configuration", "configMap": {"name": workload.name}}]
    return {
        "terminationGracePeriodSeconds": grace_s,
        # The service asks nothing of the cluster itself.
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"volumes": volumes} if workload.config_text is not None else {}),
    }


def _container(workload: Workload, *, name: str, port_name: str) -> dict[str, Any]:
    gpus = {"nvidia.com/gpu": workload.gpus} if workload.gpus else {}
    mounts = [{"name": "configuration", "mountPath": CONFIG_FOLDER, "readOnly": True}]
    sources = [{"secretRef": {"name": workload.secret}}]
    return {
        "name": name,
        "image": workload.image or str(workload.tag),
        "env": [{"name": key, "value": value} for key, value in _environment(workload).items()],
        **({"envFrom": sources} if workload.secret is not None else {}),
        "ports": [{"name": port_name, "containerPort": workload.config.api_server.http.port, "protocol": "TCP"}],
        "startupProbe": _probe(
            workload, "/readyz", every_s=STARTUP_PERIOD_S, failures=math.ceil(workload.startup_s / STARTUP_PERIOD_S)
        ),
        "readinessProbe": _probe(workload, "/readyz", every_s=5, failures=2),
        "livenessProbe": _probe(workload, "/livez", every_s=10, failures=3),
        # SIGTERM closes the door at once; until the routers know, requests would knock at it in vain.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVING_S)]}}},
        "resources": {
            "requests": {"cpu": workload.cpu, "memory": workload.memory, **gpus},
            # A limit of CPU would throttle bursts that the node has room for; one of memory saves its neighbours.
            "limits": {"memory": workload.memory, **gpus},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **({"volumeMounts": mounts} if workload.config_text is not None else {}),
    }


def _environment(workload: Workload) -> dict[str, str]:
    http = workload.config.api_server.http
    found = {"BENTOML_API_WORKERS": str(workload.api_workers), "BENTOML_PORT": str(http.port)}
    if workload.config_text is not None:
        found["BENTOML_CONFIG"] = f"{CONFIG_FOLDER}/{CONFIG_FILE}"
    if workload.config_options:
        found["BENTOML_CONFIG_OPTIONS"] = workload.config_options
    return found


def _probe(workload: Workload, path: str, *, every_s: int, failures: int) -> dict[str, Any]:
    scheme = {"scheme": "HTTPS"} if _is_tls(workload) else {}
    asked = {"path": path, "port": workload.config.api_server.http.port, **scheme}
    return {"httpGet": asked, "periodSeconds": every_s, "timeoutSeconds": PROBE_TIMEOUT_S, "failureThreshold": failures}


def _config_map(workload: Workload) -> list[dict[str, Any]]:
    if workload.config_text is None:
        return []
    data = {CONFIG_FILE: workload.config_text}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(workload), "data": data}]


def _is_tls(workload: Workload) -> bool:
    return workload.config.api_server.ssl.is_on


def _cpus(quantity: str) -> Decimal:
    return Decimal(quantity[:-1]) / 1000 if quantity.endswith("m") else Decimal(quantity)
