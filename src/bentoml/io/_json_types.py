"""plan(): how a parsed JSON document becomes a value of a declared type, and which JSON Schema says so."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bentoml._importing import loaded
from bentoml.exceptions import BadInput, InvalidArgument
from bentoml.io._json_body import shortened

__all__ = ["TypePlan", "is_pydantic_model", "plan"]

#: Problems that one answer lists; the rest is counted.
_MAX_PROBLEMS = 10


@dataclass(frozen=True)
class TypePlan:
    """What is known of a type before the first request.

    Attributes:
        validate: from (parsed document, its bytes) to the value; raises BadInput.
        schema: JSON Schema of the document.
        components: the schemas it refers to, by name.
    """

    validate: Callable[[Any, bytes], Any]
    schema: dict[str, Any]
    components: dict[str, Any]


def is_pydantic_model(given: Any) -> bool:
    """Whether this is a class derived from pydantic's BaseModel."""
    pydantic = loaded("pydantic")
    return pydantic is not None and isinstance(given, type) and issubclass(given, pydantic.BaseModel)


def plan(given: Any) -> TypePlan:
    """The plan for a type: by pydantic where it is part of the type, else by msgspec.

    Raises:
        InvalidArgument: neither can validate it.
    """
    return _pydantic_plan(given) if _mentions_pydantic(given, set()) else _msgspec_plan(given)


def _mentions_pydantic(given: Any, seen: set[int]) -> bool:
    """Whether a pydantic model, dataclass or constraint stands anywhere in the type."""
    if id(given) in seen:
        return False
    seen.add(id(given))
    if hasattr(given, "__pydantic_core_schema__") or _is_of_pydantic(type(given)):
        return True
    parts: list[Any] = [*typing.get_args(given), *getattr(given, "__metadata__", ())]
    if isinstance(given, type) and getattr(given, "__annotations__", None):
        try:
            parts += typing.get_type_hints(given, include_extras=True).values()
        except NameError as error:
            raise InvalidArgument(
                f"JSON: the type {given.__name__} has an annotation that cannot be resolved: {error}"
            ) from error
    return any(_mentions_pydantic(part, seen) for part in parts)


def _is_of_pydantic(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in ("pydantic", "annotated_types")


def _pydantic_plan(given: Any) -> TypePlan:
    pydantic = loaded("pydantic")
    if pydantic is None or not hasattr(pydantic, "TypeAdapter"):
        raise InvalidArgument("JSON validates with pydantic 2", hint="pip install 'pydantic>=2.5'")
    adapter = given if isinstance(given, pydantic.TypeAdapter) else pydantic.TypeAdapter(given)
    validate_json = adapter.validator.validate_json
    schemas, definitions = pydantic.TypeAdapter.json_schemas(
        [("value", "validation", adapter)], ref_template="#/components/schemas/{model}"
    )

    def validate(_: Any, body: bytes) -> Any:
        try:
            return validate_json(body)
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            listed = [(_path(each["loc"]), f"{each['msg']} ({each['type']})") for each in found[:_MAX_PROBLEMS]]
            raise _invalid(listed, total=len(found)) from None

    return TypePlan(validate, schemas["value", "validation"], definitions.get("$defs", {}))


def _msgspec_plan(given: Any) -> TypePlan:
    try:
        (schema,), components = msgspec.json.schema_components((given,), ref_template="#/components/schemas/{name}")
    except TypeError as error:
        raise InvalidArgument(
            f"JSON cannot validate the type {given!r}: {str(error).splitlines()[-1]}",
            hint="use a dataclass, TypedDict, msgspec.Struct or pydantic model, or a type made of them and "
            "of list, dict, str, int, float, bool, None",
        ) from error

    def validate(value: Any, _: bytes) -> Any:
        try:
            return msgspec.convert(value, given, str_keys=True)
        except msgspec.ValidationError as error:
            rule, _at, place = str(error).partition(" - at ")
            path = place.strip("`").removeprefix("$").removeprefix(".")
            raise _invalid([(path, rule)], total=1) from None

    return TypePlan(validate, schema, components)


def _invalid(listed: list[tuple[str, str]], *, total: int) -> BadInput:
    """One line per problem: the field's path and the rule that it breaks, never the value."""
    lines = [shortened(f"{path or 'body'}: {rule}") for path, rule in listed]
    if total > len(lines):
        lines.append(f"… and {total - len(lines)} more")
    return BadInput("Invalid JSON input received: " + "\n".join(lines))


def _path(location: Sequence[str | int]) -> str:
    """`("rows", 0, "age")` as `rows[0].age`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")
