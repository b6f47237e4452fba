"""The same model behind mosec, which batches the applications of all requests into one call."""

import os
import pickle
from pathlib import Path

import xgboost as xgb
from mosec import Server, Worker

folder = Path(os.environ["MODEL_FOLDER"])


class Credit(Worker):
    def __init__(self):
        self.vectorizer = pickle.loads((folder / "vectorizer.pkl").read_bytes())
        self.model = xgb.Booster()
        self.model.load_model(folder / "model.ubj")
        self.model.set_param({"nthread": 1})

    def forward(self, data):
        vectors = self.vectorizer.transform(data)
        risks = self.model.predict(xgb.DMatrix(vectors, nthread=1))
        return [{"Status": "DECLINED" if risk > 0.5 else "MAYBE" if risk > 0.3 else "APPROVED"} for risk in risks]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Credit, num=2, max_batch_size=100, route="/classify")
    server.run()
