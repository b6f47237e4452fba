"""Train the credit-risk model, print how well it does on applications it has not seen, and save it.

Usage: python train.py [--not-batchable]
"""

import sys

import numpy as np
import xgboost as xgb
from data import load
from sklearn.feature_extraction import DictVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import bentoml

PARAMETERS = {
    "objective": "binary:logistic",
    "eval_metric": "auc",
    "eta": 0.1,
    "max_depth": 3,
    "min_child_weight": 1,
    "seed": 1,
    "verbosity": 0,
}
ROUNDS = 175


def split() -> tuple[list, list, np.ndarray, np.ndarray]:
    """Training and validation applications, training and validation targets; the same split every time."""
    applications, bad = load()
    return train_test_split(applications, np.array(bad), test_size=0.2, random_state=1)


def main() -> None:
    train_rows, validation_rows, train_target, validation_target = split()
    vectorizer = DictVectorizer(sparse=False)
    train = xgb.DMatrix(vectorizer.fit_transform(train_rows), label=train_target)
    validation = xgb.DMatrix(vectorizer.transform(validation_rows), label=validation_target)

    model = xgb.train(PARAMETERS, train, num_boost_round=ROUNDS, callbacks=[Progress()])

    auc = roc_auc_score(validation_target, model.predict(validation))
    print(f"trained on {len(train_rows)} applications; AUC on {len(validation_rows)} held-out ones: {auc:.3f}")

    signatures = {"predict": {"batchable": "--not-batchable" not in sys.argv, "batch_dim": 0}}
    saved = bentoml.xgboost.save_model(
        "credit_risk_model", model, custom_objects={"DictVectorizer": vectorizer}, signatures=signatures
    )
    print(f"saved {saved.tag}")


class Progress(xgb.callback.TrainingCallback):
    """One line that grows as the boosting rounds go by."""

    def after_iteration(self, model, epoch: int, evals_log) -> bool:
        done = (epoch + 1) / ROUNDS
        end = "\n" if epoch + 1 == ROUNDS else "\r"
        if sys.stdout.isatty() or epoch + 1 == ROUNDS:
            print(f"training [{'#' * round(30 * done):<30}] {epoch + 1:>3}/{ROUNDS} rounds", end=end, flush=True)
        return False


if __name__ == "__main__":
    main()
