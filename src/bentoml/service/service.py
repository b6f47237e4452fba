"""Service: a name, the runners it needs, and the functions it offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from bentoml.exceptions import BentoMLException
from bentoml.io.descriptor import IODescriptor
from bentoml.runner.runner import Runner
from bentoml.service.api import InferenceAPI
from bentoml.service.openapi import openapi_document
from bentoml.store.model import Model
from bentoml.tag import Tag, validate_part

__all__ = ["Service"]

Function = TypeVar("Function", bound=Callable[..., Any])


class Service:
    """What is offered over HTTP.

    Args:
        name: lower-cased with a warning.
        runners: the runners that its functions call.
        models: models that its functions use without a runner; a bento carries them along.

    Raises:
        ValueError: the name cannot be one, or two runners have the same name.
        AssertionError: an element of `runners` is no Runner, or one of `models` no Model.
    """

    def __init__(
        self, name: str, *, runners: Sequence[Runner] | None = None, models: Sequence[Model] | None = None
    ) -> None:
        self.name = validate_part(name, "name of a service")
        self.runners = list(runners or [])
        self.models = list(models or [])
        for runner in self.runners:
            if not isinstance(runner, Runner):
                raise AssertionError(f'Service runners list can only contain bentoml.Runner, not "{runner!r}"')
        for model in self.models:
            if not isinstance(model, Model):
                raise AssertionError(f'Service models list can only contain bentoml.Model, not "{model!r}"')
        names = [runner.name for runner in self.runners]
        for runner_name in names:
            if names.count(runner_name) > 1:
                raise ValueError(
                    f"Found duplicate name {runner_name!r} in the runners of the service {self.name!r}; "
                    "give one of them another: to_runner(name='...')"
                )
        self.apis: dict[str, InferenceAPI] = {}
        self.startup_hooks: list[Callable[..., Any]] = []
        self.shutdown_hooks: list[Callable[..., Any]] = []
        self.deployment_hooks: list[Callable[..., Any]] = []
        #: Where the service was imported from, set by the loader.
        self.import_string: str | None = None
        self.working_dir: str | None = None
        #: The bento that it was loaded from.
        self.tag: Tag | None = None
        self.bento: Any = None

    def api(
        self,
        input: IODescriptor[Any],
        output: IODescriptor[Any],
        name: str | None = None,
        doc: str | None = None,
        route: str | None = None,
    ) -> Callable[[Function], Function]:
        """Offer the decorated function at `POST /<route>`; the function itself stays as it is.

        Args:
            input: makes the function's argument of the request.
            output: makes the response of what it returns.
            name: defaults to the function's name.
            doc: defaults to its docstring; shown in the Swagger UI.
            route: defaults to the name.

        Raises:
            BentoMLException: the service has an API of that name or route already.
            InvalidArgument, ValueError, TypeError: a rule of `InferenceAPI` is broken.
        """

        def offer(function: Function) -> Function:
            api = InferenceAPI(function, input=input, output=output, name=name, doc=doc, route=route)
            if api.name in self.apis:
                raise BentoMLException(f"API {api.name!r} is already defined in Service {self.name!r}")
            taken = next((other for other in self.apis.values() if other.route == api.route), None)
            if taken is not None:
                raise BentoMLException(
                    f"the route {api.route!r} is already defined in Service {self.name!r}, by the API {taken.name!r}"
                )
            self.apis[api.name] = api
            return function

        return offer

    def on_startup(self, function: Function) -> Function:
        """Run `function(context)`, plain or async, once in each API worker before its first request."""
        self.startup_hooks.append(function)
        return function

    def on_shutdown(self, function: Function) -> Function:
        """Run `function(context)`, plain or async, once in each API worker after its last request."""
        self.shutdown_hooks.append(function)
        return function

    def on_deployment(self, function: Function) -> Function:
        """Run `function()` once for each `bentoml serve`, before any worker takes a request."""
        self.deployment_hooks.append(function)
        return function

    @property
    def doc(self) -> str:
        """What the service's page says of it: of the bento, else one sentence."""
        if self.bento is not None:
            return str(self.bento.doc)
        return f"The service `{self.name}`: {len(self.apis)} API{'s' if len(self.apis) != 1 else ''}."

    @property
    def openapi_spec(self) -> dict[str, Any]:
        """The OpenAPI document of its routes."""
        return self.openapi()

    def openapi(self, *, metrics: bool = True, guarded: bool = False) -> dict[str, Any]:
        """The OpenAPI document, with or without the route of the metrics and the need for an API key."""
        version = self.tag.version if self.tag is not None else None
        return openapi_document(
            self.name,
            version=version,
            description=self.doc,
            apis=self.apis.values(),
            metrics=metrics,
            guarded=guarded,
        )

    def __str__(self) -> str:
        if self.bento is not None:
            return f'bentoml.Service(tag="{self.tag}", path="{self.bento.path}")'
        if self.import_string is not None and self.working_dir is not None:
            return (
                f'bentoml.Service(name="{self.name}", import_str="{self.import_string}", '
                f'working_dir="{self.working_dir}")'
            )
        return f'bentoml.Service(name="{self.name}", runners=[{",".join(runner.name for runner in self.runners)}])'

    __repr__ = __str__
