"""Saves the model of the service: an object with one method for each kind of value."""

import typing as t

import pandas as pd

import bentoml


class Case:
    """What a model may be: any object that can be pickled."""

    def echo_json(self, value: t.Any) -> t.Any:
        return value

    def predict_ndarray(self, array, factor: int = 2):
        return array * factor

    def predict_partial(self, array, factor: int = 1):
        return array * factor

    def predict_multi_output(self, array):
        return array, array * 3

    def predict_dataframe(self, frame: "pd.DataFrame", factor: int = 2):
        return pd.DataFrame({"col1": frame["col1"] * factor})

    def predict_file(self, files: t.List[bytes]) -> bytes:
        return files[0] + b"!"


if __name__ == "__main__":
    import train

    saved = bentoml.picklable_model.save_model(
        "e2e_case",
        train.Case(),
        signatures={
            "echo_json": {"batchable": False},
            "predict_ndarray": {"batchable": True},
            "predict_partial": {"batchable": True},
            "predict_multi_output": {"batchable": True, "batch_dim": 0},
            "predict_dataframe": {"batchable": True},
            "predict_file": {"batchable": False},
        },
        labels={"stage": "test"},
        metadata={"accuracy": 0.5},
        external_modules=[train],
    )
    print(saved.tag)
