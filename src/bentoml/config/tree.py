"""The configuration's keys: types, limits, defaults and descriptions stand here and nowhere else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bentoml.config.http import Auth, Http, Tls
from bentoml.config.observe import Monitoring, Tracing
from bentoml.config.section import PositiveInt, PositiveSeconds, Section

__all__ = ["AccessLog", "ApiServer", "Batching", "Config", "Models", "RunnerConfig"]


class AccessLogFormat(Section, frozen=True):
    """How ids are written."""

    trace_id: Annotated[str, Meta(description="Python format spec of the trace id.")] = "032x"
    span_id: Annotated[str, Meta(description="Python format spec of the span id.")] = "016x"


class AccessLog(Section, frozen=True):
    """What a line of the access log shows."""

    enabled: Annotated[bool, Meta(description="Write one line for each request.")] = True
    style: Annotated[
        Literal["text", "json"], Meta(description="The line of BentoML, or one JSON object on each line.")
    ] = "text"
    request_content_length: Annotated[bool, Meta(description="Show the length of the request body.")] = True
    request_content_type: Annotated[bool, Meta(description="Show the content type of the request.")] = True
    response_content_length: Annotated[bool, Meta(description="Show the length of the response body.")] = True
    response_content_type: Annotated[bool, Meta(description="Show the content type of the response.")] = True
    format: AccessLogFormat = msgspec.field(default_factory=AccessLogFormat)


class Logging(Section, frozen=True):
    """What a process logs."""

    access: AccessLog = msgspec.field(default_factory=AccessLog)


class Duration(Section, frozen=True):
    """The buckets of the request duration: a list, or an exponential series."""

    min: Annotated[PositiveSeconds | None, Meta(description="First bound of exponential buckets, in seconds.")] = None
    max: Annotated[PositiveSeconds | None, Meta(description="Last bound of exponential buckets, in seconds.")] = None
    factor: Annotated[
        Annotated[float, Meta(gt=1)] | None, Meta(description="Each exponential bucket to the one before it.")
    ] = None
    buckets: Annotated[
        list[float] | None,
        Meta(description="Bounds of the request duration histogram, in seconds, ascending."),
    ] = None


class ServerMetrics(Section, frozen=True):
    """The metrics of requests."""

    enabled: Annotated[bool, Meta(description="Count requests and offer /metrics.")] = True
    namespace: Annotated[
        Annotated[str, Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")],
        Meta(description="Prefix of the request metrics' names."),
    ] = "bentoml_api_server"
    duration: Duration = msgspec.field(default_factory=Duration)


class RunnerMetrics(Section, frozen=True):
    """The metrics of runners."""

    enabled: Annotated[bool, Meta(description="Count the runner's batches.")] = True
    namespace: Annotated[
        Annotated[str, Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")],
        Meta(description="Prefix of the runner metrics' names."),
    ] = "bentoml_runner"


class ApiTraffic(Section, frozen=True):
    """How much and how long clients may ask for."""

    timeout: Annotated[
        PositiveSeconds | None,
        Meta(description="Seconds that one request may take before it is answered with 504."),
    ] = 60.0
    max_concurrency: Annotated[
        PositiveInt | None,
        Meta(description="Requests in flight in one API worker before further ones are refused with 503."),
    ] = None
    keep_alive: Annotated[
        PositiveSeconds, Meta(description="Seconds that an idle connection is kept for the next request.")
    ] = 75.0
    max_connections: Annotated[PositiveInt, Meta(description="Open connections in one API worker.")] = 10_000


class RunnerProbe(Section, frozen=True):
    """How the server finds out whether its runners are ready."""

    enabled: Annotated[bool, Meta(description="/readyz answers 503 while a runner is not ready.")] = True


class ApiServer(Section, frozen=True):
    """The API workers and what stands in front of them."""

    workers: Annotated[
        PositiveInt | None,
        Meta(description="API worker processes; unset: one for each CPU that this machine or cgroup has."),
    ] = None
    backlog: Annotated[int, Meta(ge=64, description="Connections that may wait in the kernel to be accepted.")] = 2048
    threads: Annotated[
        PositiveInt, Meta(description="Threads of one API worker that run plain (not async) functions.")
    ] = 40
    shutdown_grace: Annotated[
        PositiveSeconds, Meta(description="Seconds that requests in flight have to finish after SIGTERM.")
    ] = 30.0
    traffic: ApiTraffic = msgspec.field(default_factory=ApiTraffic)
    metrics: ServerMetrics = msgspec.field(default_factory=ServerMetrics)
    logging: Logging = msgspec.field(default_factory=Logging)
    http: Http = msgspec.field(default_factory=Http)
    auth: Auth = msgspec.field(default_factory=Auth)
    ssl: Tls = msgspec.field(default_factory=Tls)
    runner_probe: RunnerProbe = msgspec.field(default_factory=RunnerProbe)


class Batching(Section, frozen=True):
    """How the calls of one method are joined, and how long they may take."""

    enabled: Annotated[bool, Meta(description="Join the requests of batchable methods into one call.")] = True
    max_batch_size: Annotated[PositiveInt, Meta(description="Rows in one call at most.")] = 100
    max_latency_ms: Annotated[
        float,
        Meta(
            gt=0,
            description="Milliseconds that a call may take, waiting included; it is the deadline and nothing else.",
        ),
    ] = 60_000.0
    patience_ms: Annotated[
        float,
        Meta(
            ge=0,
            description="Milliseconds that a call may be held back for more rows to join it; 0 never waits.",
        ),
    ] = 0.0
    max_queue_rows: Annotated[
        PositiveInt,
        Meta(description="Rows that may wait for one method before further calls are refused with 503."),
    ] = 10_000


class RunnerTraffic(Section, frozen=True):
    """How much and how long one runner may be asked."""

    timeout: Annotated[
        PositiveSeconds, Meta(description="Seconds that one call of a runner may take; more is a 504.")
    ] = 900.0
    max_concurrency: Annotated[
        PositiveInt | None,
        Meta(description="Calls of one runner in flight in one API worker; more are refused with 503."),
    ] = None


class RunnerConfig(Section, frozen=True):
    """One runner: where its model lives, what it may use, how its calls are joined."""

    batching: Batching = msgspec.field(default_factory=Batching)
    placement: Annotated[
        Literal["auto", "in_process", "worker_process"],
        Meta(description="Where the model lives: inside each API worker, or in worker processes of its own."),
    ] = "auto"
    resources: Annotated[
        Literal["system"] | dict[str, Any] | None,
        Meta(description="What the runner may use: `system`, or a map of cpu and nvidia.com/gpu."),
    ] = None
    workers_per_resource: Annotated[
        float, Meta(gt=0, description="Workers for each CPU or GPU; below 1, GPUs for each worker.")
    ] = 1.0
    traffic: RunnerTraffic = msgspec.field(default_factory=RunnerTraffic)
    metrics: RunnerMetrics = msgspec.field(default_factory=RunnerMetrics)


class Models(Section, frozen=True):
    """How models are loaded."""

    version_check: Annotated[
        Literal["warn", "error", "ignore"],
        Meta(description="What to do when a model was trained with another version of Python or of its framework."),
    ] = "warn"


class Config(Section, frozen=True):
    """The whole tree. `runners` is what applies to every runner; `LoadedConfig.runner` adds a runner's own section."""

    version: Annotated[Literal[1], Meta(description="Version of this file format.")] = 1
    api_server: ApiServer = msgspec.field(default_factory=ApiServer)
    runners: RunnerConfig = msgspec.field(default_factory=RunnerConfig)
    models: Models = msgspec.field(default_factory=Models)
    tracing: Tracing = msgspec.field(default_factory=Tracing)
    monitoring: Monitoring = msgspec.field(default_factory=Monitoring)
