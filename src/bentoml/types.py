"""ModelSignature: how one method of a model may be called; stored in `model.yaml`, read by the runner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bentoml.exceptions import InvalidArgument

__all__ = ["ModelSignature"]


class ModelSignature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """How one method of a model may be called.

    Attributes:
        batchable: whether requests may be joined along `batch_dim[0]` of every argument, and the result be split
            along `batch_dim[1]`.
        batch_dim: the axis of the inputs and the axis of the outputs; one integer stands for both.
        input_spec: reserved; kept as given.
        output_spec: reserved; kept as given.
    """

    batchable: bool = False
    batch_dim: tuple[int, int] = (0, 0)
    input_spec: Any = None
    output_spec: Any = None

    @classmethod
    def of(cls, method: str, given: ModelSignature | Mapping[str, Any]) -> ModelSignature:
        """The signature that a user gave for `method`, in either of its forms.

        Raises:
            InvalidArgument: an unknown key or a value of the wrong type; names method and key.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise InvalidArgument(
                f"the signature of {method!r} must be a mapping or a ModelSignature, not {type(given).__name__}",
                hint=f'signatures={{"{method}": {{"batchable": True, "batch_dim": 0}}}}',
            )
        unknown = [key for key in given if key not in cls.__struct_fields__]
        if unknown:
            raise InvalidArgument(
                f"the signature of {method!r} has the unknown key {unknown[0]!r}",
                hint=f"known keys are {', '.join(cls.__struct_fields__)}",
            )
        fields = dict(given)
        fields["batch_dim"] = _dim_pair(method, fields.get("batch_dim", 0))
        if not isinstance(fields.get("batchable", False), bool):
            raise InvalidArgument(f"'batchable' in the signature of {method!r} must be True or False")
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """The form of `model.yaml`: the axes only where they matter, the specs only where they are set."""
        fields: dict[str, Any] = {"batchable": self.batchable}
        if self.batchable:
            fields["batch_dim"] = list(self.batch_dim)
        for name in ("input_spec", "output_spec"):
            if getattr(self, name) is not None:
                fields[name] = getattr(self, name)
        return fields


def _dim_pair(method: str, given: Any) -> tuple[int, int]:
    pair = (given, given) if isinstance(given, int) else given
    is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
    if not is_pair or not all(isinstance(dim, int) and not isinstance(dim, bool) and dim >= 0 for dim in pair):
        raise InvalidArgument(
            f"'batch_dim' in the signature of {method!r} must be an axis (0, 1, …) or a pair of axes (input, output), "
            f"not {given!r}"
        )
    return (pair[0], pair[1])
