"""Trains the credit model in the environment of one system, and says what that very model answers for each row.

Usage: python prepare.py ROWS_JSON OUT_FOLDER    (run by run.py, with the interpreter of the system's environment)

Written for every Python and library version in requirements/, so nothing newer than BentoML 1.0.7 may be used here.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import xgboost as xgb
from sklearn.feature_extraction import DictVectorizer

PARAMETERS = {"objective": "binary:logistic", "eta": 0.1, "max_depth": 3, "min_child_weight": 1, "seed": 1}
ROUNDS = 175


def status(risk):
    if risk > 0.5:
        return "DECLINED"
    return "MAYBE" if risk > 0.3 else "APPROVED"


def main():
    rows, bad = json.loads(Path(sys.argv[1]).read_text())
    out = Path(sys.argv[2])
    vectorizer = DictVectorizer(sparse=False)
    features = vectorizer.fit_transform(rows)
    model = xgb.train(PARAMETERS, xgb.DMatrix(features, label=np.array(bad)), num_boost_round=ROUNDS)
    answers = [status(risk) for risk in model.predict(xgb.DMatrix(features))]
    (out / "expected.json").write_text(json.dumps(answers))
    model.save_model(str(out / "model.ubj"))
    (out / "vectorizer.pkl").write_bytes(pickle.dumps(vectorizer))
    try:
        import bentoml
    except ImportError:
        return
    for batchable in (False, True):
        bentoml.xgboost.save_model(
            "credit_risk_model" if batchable else "credit_risk_model_unbatched",
            model,
            custom_objects={"DictVectorizer": vectorizer},
            signatures={"predict": {"batchable": batchable, "batch_dim": 0}},
        )


main()
