"""The same service written by hand with FastAPI: one model in each worker, one call for each request."""

import os
import pickle
from pathlib import Path

import xgboost as xgb
from credit_application import CreditApplication
from fastapi import FastAPI

folder = Path(os.environ["MODEL_FOLDER"])
dv = pickle.loads((folder / "vectorizer.pkl").read_bytes())
model = xgb.Booster()
model.load_model(folder / "model.ubj")
model.set_param({"nthread": 1})
app = FastAPI()


@app.post("/classify")
async def classify(credit_application: CreditApplication):
    vector = dv.transform(credit_application.model_dump())
    result = model.predict(xgb.DMatrix(vector, nthread=1))[0]
    if result > 0.5:
        return {"Status": "DECLINED"}
    elif result > 0.3:
        return {"Status": "MAYBE"}
    else:
        return {"Status": "APPROVED"}
