"""Tables, columns and arrays in every format: each API says again what it was sent, in a coroutine and in a thread."""

from __future__ import annotations

import numpy as np
import pandas as pd

import bentoml
from bentoml.io import NumpyNdarray, PandasDataFrame, PandasSeries

svc = bentoml.Service("frames")


@svc.api(input=PandasDataFrame(dtype={"a": "int64"}, enforce_dtype=True), output=PandasDataFrame())
async def frame(given: pd.DataFrame) -> pd.DataFrame:
    return given


@svc.api(input=PandasDataFrame(default_format="csv"), output=PandasDataFrame(default_format="csv"))
def frame_in_thread(given: pd.DataFrame) -> pd.DataFrame:
    return given


@svc.api(input=PandasSeries(), output=PandasSeries())
async def series(given: pd.Series) -> pd.Series:
    return given


@svc.api(input=NumpyNdarray(dtype="float64"), output=NumpyNdarray())
async def array(given: np.ndarray) -> np.ndarray:
    given += 0  # the function may write to its argument, whatever format it came in
    return given
