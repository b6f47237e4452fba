"""ModelInfo: the record `model.yaml`, written byte for byte as BentoML 1.x does, read with as much tolerance."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bentoml._version import __version__
from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.store.local import as_utc
from bentoml.store.yaml_file import read_mapping, yaml_text
from bentoml.tag import Tag
from bentoml.types import ModelSignature

__all__ = ["MODEL_FILE", "ModelContext", "ModelInfo", "ModelOptions"]

MODEL_FILE = "model.yaml"

_Options = TypeVar("_Options", bound="ModelOptions")


class ModelOptions:
    """What a framework needs to know about one model besides its files; each option is an attribute."""

    def __init__(self, /, **options: Any) -> None:
        self.__dict__.update(options)

    def with_options(self: _Options, /, **options: Any) -> _Options:
        """A copy with these options set."""
        return type(self)(**{**self.to_dict(), **options})

    def to_dict(self) -> dict[str, Any]:
        """The options in the form of `model.yaml`."""
        return dict(vars(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelOptions) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(tuple(sorted(vars(self))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.to_dict().items())})"


class ModelContext(msgspec.Struct, frozen=True):
    """Under what a model was made.

    Attributes:
        framework_name: for instance `"xgboost"`.
        framework_versions: distribution to version, for instance `{"xgboost": "2.1.0"}`.
        bentoml_version: the version of this package that saved the model.
        python_version: `X.Y.Z` of the interpreter that saved it.
    """

    framework_name: str = ""
    framework_versions: dict[str, str] = {}
    bentoml_version: str = ""
    python_version: str = ""

    def of_this_process(self) -> ModelContext:
        """A copy with the versions of this package and of this interpreter."""
        python = ".".join(map(str, sys.version_info[:3]))
        return msgspec.structs.replace(self, bentoml_version=__version__, python_version=python)


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One model's record; the fields are the keys of `model.yaml` in their order there."""

    name: str
    version: str
    module: str = ""
    labels: dict[str, str] = {}
    options: ModelOptions = msgspec.field(default_factory=ModelOptions)
    metadata: dict[Any, Any] = {}
    context: ModelContext = ModelContext()
    signatures: dict[str, ModelSignature] = {}
    api_version: str = "v1"
    creation_time: datetime.datetime

    @property
    def tag(self) -> Tag:
        """Name and version."""
        return Tag(self.name, self.version)

    def with_options(self, /, **options: Any) -> ModelInfo:
        """A copy with these options set."""
        return msgspec.structs.replace(self, options=self.options.with_options(**options))

    def to_dict(self) -> dict[str, Any]:
        """The record in plain values, keys in the order of the file.

        YAML has text, numbers, bytes, dates and datetimes: a time and a timedelta become ISO 8601 text, a complex
        number becomes its text, a tuple becomes a list.

        Raises:
            InvalidArgument: an option or a metadata value has a type that no file can hold.
        """
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        fields["options"] = self.options.to_dict()
        fields["signatures"] = {method: signature.to_dict() for method, signature in self.signatures.items()}
        fields["creation_time"] = self.creation_time.isoformat()
        kept = (bytes, datetime.datetime, datetime.date)
        try:
            plain = msgspec.to_builtins(fields, builtin_types=kept, enc_hook=_complex_as_text)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(
                f"the record of model {self.tag} cannot be written to {MODEL_FILE}: {error}"
            ) from error
        assert isinstance(plain, dict)
        return plain

    def to_yaml(self) -> str:
        """The text of `model.yaml`."""
        return yaml_text(self.to_dict())

    def write(self, folder: Path) -> None:
        """Write `model.yaml` into `folder`."""
        (folder / MODEL_FILE).write_text(self.to_yaml(), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ModelInfo:
        """Read `model.yaml` in `folder`. Unknown keys are passed over: every BentoML 1.x wrote some of its own.

        Raises:
            BentoMLException: the file is missing, is not YAML, or a value has the wrong type; names file and key.
        """
        path = folder / MODEL_FILE
        fields = read_mapping(path, kind="model")
        try:
            return _info_of(fields)
        except (msgspec.ValidationError, InvalidArgument, ValueError) as error:
            raise BentoMLException(f"{path} is not the record of a model: {error}") from error


def _info_of(fields: Mapping[Any, Any]) -> ModelInfo:
    # Older releases wrote `signatures: null` and the like for what a model does not have.
    given = {key: value for key, value in fields.items() if value is not None}
    signatures = msgspec.convert(given.pop("signatures", {}), dict[str, dict[str, Any]])
    info = msgspec.convert(given, ModelInfo, dec_hook=_options_of)
    Tag(info.name, info.version)
    return msgspec.structs.replace(
        info,
        signatures={method: _signature_of(method, spec) for method, spec in signatures.items()},
        creation_time=as_utc(info.creation_time),
    )


def _signature_of(method: str, spec: dict[str, Any]) -> ModelSignature:
    known = {key: value for key, value in spec.items() if key in ModelSignature.__struct_fields__}
    return ModelSignature.of(method, known)


def _options_of(kind: type, value: Any) -> Any:
    if kind is not ModelOptions:
        raise NotImplementedError
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("options must be a mapping with text keys")
    return ModelOptions(**value)


def _complex_as_text(value: Any) -> str:
    if isinstance(value, complex):
        return str(value)
    raise TypeError(f"values of the type {type(value).__name__} have no form in YAML")
