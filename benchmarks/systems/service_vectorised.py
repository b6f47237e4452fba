"""The model call takes applications as they come, any number of them: the batch does the vectorising."""

import xgboost as xgb

import bentoml
from bentoml.io import JSON

model_ref = bentoml.xgboost.get("credit_risk_model:latest")


class Credit(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self):
        self.model = bentoml.xgboost.load_model(model_ref)
        self.model.set_param({"nthread": 1})
        self.vectorizer = model_ref.custom_objects["DictVectorizer"]

    @bentoml.Runnable.method(batchable=True)
    def risk(self, applications):
        vectors = self.vectorizer.transform(applications)
        return self.model.predict(xgb.DMatrix(vectors, nthread=1)).tolist()


runner = bentoml.Runner(Credit, name="credit", models=[model_ref])
svc = bentoml.Service("credit_risk_classifier", runners=[runner])


@svc.api(input=JSON(), output=JSON())
async def classify(application):
    (risk,) = await runner.risk.async_run([application])
    if risk > 0.5:
        return {"Status": "DECLINED"}
    elif risk > 0.3:
        return {"Status": "MAYBE"}
    else:
        return {"Status": "APPROVED"}
