"""The operations of mounted applications in the OpenAPI document of the service: those of FastAPI and its like."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from bentoml.exceptions import BentoMLException
from bentoml.service.components import Components, renamed
from bentoml.service.mount import Mount

__all__ = ["add_mounts"]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
#: Pages of the server that the document does not list.
_PAGES = ("/",)

logger = logging.getLogger("bentoml")


def add_mounts(document: dict[str, Any], components: Components, mounts: Iterable[Mount]) -> None:
    """Add what mounted applications say of themselves; one that cannot say it is left out, with a warning."""
    taken = {operation["operationId"] for item in document["paths"].values() for operation in item.values()}
    longer: list[str] = []
    for mount in sorted(mounts, key=lambda mount: -len(mount.path)):
        prefix = mount.path.rstrip("/")
        describe = getattr(mount.app, "openapi", None)
        if callable(describe):
            try:
                _add(document, components, _described(describe()), mount, [*longer, *_PAGES], taken)
            except Exception as error:  # noqa: BLE001 - the border to foreign code; its requests are answered all the same
                reason = f"{type(error).__name__}: {error}"
                logger.warning("the OpenAPI document lacks the operations of %s (%s)", mount, reason)
        longer.append(f"{prefix}/")


def _described(given: Any) -> dict[str, Any]:
    """A copy of a document, made of JSON values.

    Raises:
        BentoMLException: it is no document of OpenAPI 3.1.
        TypeError: it has a value that JSON has not.
    """
    document = msgspec.json.decode(msgspec.json.encode(given))
    version = document.get("openapi") if isinstance(document, dict) else None
    if not str(version).startswith("3.1"):
        raise BentoMLException(f"openapi() returned a document of version {version!r}, expected 3.1")
    assert isinstance(document, dict)
    return document


def _add(
    document: dict[str, Any],
    components: Components,
    theirs: dict[str, Any],
    mount: Mount,
    elsewhere: list[str],
    taken: set[str],
) -> None:
    """Add one document.

    Args:
        elsewhere: paths, and with a slash at their end all paths below them, that others answer.
        taken: operation ids that are in use.
    """
    changed = components.add(theirs.get("components") or {})
    prefix = quote(mount.path.rstrip("/"), safe="/:@!$&'()*+,;=~")
    tag = theirs.get("info", {}).get("title") or mount.name
    used = False
    for path, item in renamed(theirs.get("paths") or {}, changed).items():
        whole = prefix + path
        if any(whole == other or (other != "/" and f"{whole}/".startswith(other)) for other in elsewhere):
            continue
        ours = document["paths"].setdefault(whole, {})
        for method in _METHODS:
            if method not in item or method in ours:
                continue
            operation = ours[method] = item[method]
            if shared := item.get("parameters"):
                operation["parameters"] = [*shared, *operation.get("parameters", ())]
            if "security" in operation or "security" in theirs:
                requirements = operation.get("security", theirs.get("security"))
                operation["security"] = [_renamed_schemes(each, changed) for each in requirements]
            if "operationId" in operation:
                operation["operationId"] = _unused(operation["operationId"], mount, taken)
            used = used or not operation.get("tags")
            operation["tags"] = operation.get("tags") or [tag]
        if not ours:
            del document["paths"][whole]
    known = {each["name"] for each in document["tags"]}
    own = [{"name": tag, "description": f"Mounted at {mount.path}."}] if used else []
    document["tags"] += [each for each in [*theirs.get("tags", ()), *own] if each["name"] not in known]


def _renamed_schemes(requirement: Mapping[str, Any], changed: Mapping[str, str]) -> dict[str, Any]:
    """A security requirement, which names schemes without the form of a reference."""
    here = "#/components/securitySchemes/"
    return {changed.get(here + name, name).removeprefix(here): scopes for name, scopes in requirement.items()}


def _unused(operation_id: str, mount: Mount, taken: set[str]) -> str:
    candidate, number = operation_id, 1
    while candidate in taken:
        candidate, number = f"{mount.name}__{operation_id}" + (f"_{number}" if number > 1 else ""), number + 1
    taken.add(candidate)
    return candidate
