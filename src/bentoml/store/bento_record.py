"""BentoInfo: the record `bento.yaml`, with the keys of BentoML 1.x in their order, read with as much tolerance."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bentoml.exceptions import BentoMLException
from bentoml.store.local import as_utc
from bentoml.store.yaml_file import read_mapping, yaml_text
from bentoml.tag import Tag

__all__ = ["BENTO_FILE", "BentoApiInfo", "BentoInfo", "BentoModelInfo", "BentoRunnerInfo"]

BENTO_FILE = "bento.yaml"


class BentoModelInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model of the bento; `alias` is another name under which the service may ask for it."""

    tag: Tag
    module: str
    creation_time: datetime.datetime
    alias: str | None = None


class BentoRunnerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A runner of the service: the class that it runs, and the tags of its models."""

    name: str
    runnable_type: str
    embedded: bool = False
    models: list[str] = []
    resource_config: dict[str, Any] | None = None


class BentoApiInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An API of the service: the names of its descriptors' classes."""

    name: str
    input_type: str
    output_type: str


class BentoInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One bento's record; the fields are the keys of `bento.yaml` in their order there.

    Attributes:
        service: import string, as in `service:svc`.
        docker, python, conda: the sections of the bentofile as they were used; None where a key was not set.
    """

    service: str
    name: str
    version: str
    bentoml_version: str = ""
    creation_time: datetime.datetime
    labels: dict[str, str] = {}
    models: list[BentoModelInfo] = []
    runners: list[BentoRunnerInfo] = []
    apis: list[BentoApiInfo] = []
    docker: dict[str, Any] = {}
    python: dict[str, Any] = {}
    conda: dict[str, Any] = {}

    @property
    def tag(self) -> Tag:
        """Name and version."""
        return Tag(self.name, self.version)

    @property
    def aliases(self) -> dict[str, Tag]:
        """Alias → model."""
        return {model.alias: model.tag for model in self.models if model.alias}

    def to_dict(self) -> dict[str, Any]:
        """The record in plain values, keys in the order of the file."""
        plain = msgspec.to_builtins(self, enc_hook=_tag_as_text)
        assert isinstance(plain, dict)
        plain["creation_time"] = self.creation_time.isoformat()
        for entry, model in zip(plain["models"], self.models, strict=True):
            entry["creation_time"] = model.creation_time.isoformat()
        return plain

    def write(self, folder: Path) -> None:
        """Write `bento.yaml` into `folder`."""
        (folder / BENTO_FILE).write_text(yaml_text(self.to_dict()), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> BentoInfo:
        """Read `bento.yaml` in `folder`. Unknown keys are passed over: every BentoML 1.x wrote some of its own.

        Raises:
            BentoMLException: the file is missing, is not YAML, or a key is missing or wrong; names file and key.
        """
        path = folder / BENTO_FILE
        fields = read_mapping(path, kind="bento")
        try:
            return _info_of(fields)
        except (msgspec.ValidationError, BentoMLException, ValueError) as error:
            raise BentoMLException(f"{path} is not the record of a bento: {error}") from error


def _info_of(fields: Mapping[Any, Any]) -> BentoInfo:
    # `null` stands for what a bento does not have; a label or a version may be a number in the file.
    given = {key: value for key, value in fields.items() if value is not None}
    given["labels"] = {str(key): str(value) for key, value in msgspec.convert(given.get("labels", {}), dict).items()}
    info = msgspec.convert(given, BentoInfo, dec_hook=_tag_of)
    Tag(info.name, info.version)
    return msgspec.structs.replace(info, creation_time=as_utc(info.creation_time))


def _tag_as_text(value: Any) -> str:
    if isinstance(value, Tag):
        return str(value)
    raise TypeError(f"values of the type {type(value).__name__} have no form in YAML")


def _tag_of(kind: type, value: Any) -> Any:
    if kind is not Tag:
        raise NotImplementedError
    if not isinstance(value, str):
        raise ValueError("a tag is text, as in `iris:v1`")
    return Tag.from_str(value)
