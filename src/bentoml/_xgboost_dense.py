"""A Booster's answers for a dense array, without a DMatrix and without the Python around the C function.

For a few rows, `Booster.predict(DMatrix(rows))` spends most of its time on making the DMatrix, `inplace_predict` on
describing the array and the answer. Behind the latter stands `XGBoosterPredictFromDense` of XGBoost's C interface,
which takes a pointer. Where its answers would not be those of `Booster.predict`, bit for bit, it is not used.
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Callable
from typing import Any

from bentoml._importing import loaded

__all__ = ["dense_predict"]

#: What Booster.predict(DMatrix(rows)) asks for: values, of all trees, NaN is missing.
_CONFIG = json.dumps(
    {
        "type": 0,
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,
        "missing": math.nan,
        "strict_shape": False,
        "cache_id": 0,
    }
).encode()

#: NumPy's array interface, of which XGBoost reads the text form: address, rows, columns.
_ARRAY = b'{"data":[%d,true],"shape":[%d,%d],"typestr":"<f4","version":3}'

_Answer = Callable[[Any], Any]


def dense_predict(xgboost: Any, booster: Any) -> _Answer:
    """A function that answers for an array of shape (n, features), or with None: then the usual way must be taken.

    That is so for whatever is no array of numbers with exactly the model's features, and for one with an infinity,
    which a DMatrix refuses. It is always so for a model with feature names or types, which an array does not have;
    for `dart`, which rounds otherwise; for linear models; on a GPU; and where the C function is not what it was.
    """
    learner = json.loads(booster.save_config())["learner"]
    if (
        learner["gradient_booster"]["name"] != "gbtree"
        or learner["generic_param"].get("device") != "cpu"
        or booster.feature_names is not None
        or booster.feature_types is not None
    ):
        return _never
    try:
        answer = _bound(xgboost, booster)
        if _agrees(xgboost, booster, answer):
            return answer
    except (AttributeError, KeyError, TypeError, ctypes.ArgumentError):
        pass  # a private name of xgboost is gone
    return _never


def _never(data: Any) -> None:
    return None


def _bound(xgboost: Any, booster: Any) -> _Answer:
    numpy = loaded("numpy")  # xgboost imports it
    assert numpy is not None
    ndarray, float32, isinf, contiguous = numpy.ndarray, numpy.float32, numpy.isinf, numpy.ascontiguousarray
    #: The conversions to float32 that NumPy and XGBoost do alike; others, like texts and objects, are left to XGBoost.
    exact = {numpy.dtype(kind) for kind in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
    features, handle = booster.num_features(), booster.handle

    # Taken by index, so that the types set here are ours alone.
    function = xgboost.core._LIB["XGBoosterPredictFromDense"]
    shape_type, dims_type, values_type = (
        ctypes.POINTER(ctypes.c_uint64),
        ctypes.c_uint64,
        ctypes.POINTER(ctypes.c_float),
    )
    inputs = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    outputs = [ctypes.POINTER(kind) for kind in (shape_type, dims_type, values_type)]
    function.restype, function.argtypes = ctypes.c_int, inputs + outputs
    byref, string_at, frombuffer = ctypes.byref, ctypes.string_at, numpy.frombuffer

    def answer(data: Any) -> Any:
        if type(data) is not ndarray or data.ndim != 2 or data.shape[1] != features or data.dtype not in exact:
            return None
        rows = contiguous(data, dtype=float32)
        if not len(rows) or isinf(rows).any():
            return None
        described = _ARRAY % (rows.ctypes.data, len(rows), features)
        shape, dims, values = shape_type(), dims_type(), values_type()
        if function(handle, described, _CONFIG, None, byref(shape), byref(dims), byref(values)):
            return None  # the usual way fails too, and says why
        sizes = shape[: dims.value]
        # Copied, as the memory belongs to the library, which uses it again for this thread's next call.
        return frombuffer(bytearray(string_at(values, 4 * math.prod(sizes))), dtype=float32).reshape(sizes)

    answer.booster = booster  # type: ignore[attr-defined]  # the handle lives as long as the booster does
    return answer


def _agrees(xgboost: Any, booster: Any, answer: _Answer) -> bool:
    """Whether the answers for a few rows are those of `Booster.predict`."""
    numpy = loaded("numpy")
    assert numpy is not None
    rows = numpy.random.default_rng(0).normal(scale=100.0, size=(3, booster.num_features()))
    rows[1, ::2], rows[2] = numpy.nan, 0.0
    mine, expected = answer(rows), booster.predict(xgboost.DMatrix(rows, nthread=1))
    return mine is not None and mine.dtype == expected.dtype and numpy.array_equal(mine, expected, equal_nan=True)
