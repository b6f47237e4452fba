"""The service of the tutorial, asynchronous, its model batchable."""

from credit_application import CreditApplication

import bentoml
from bentoml.io import JSON

model_ref = bentoml.xgboost.get("credit_risk_model:latest")
dv = model_ref.custom_objects["DictVectorizer"]
model_runner = model_ref.to_runner()
svc = bentoml.Service("credit_risk_classifier", runners=[model_runner])


@svc.api(input=JSON(pydantic_model=CreditApplication), output=JSON())
async def classify(credit_application):
    vector = dv.transform(credit_application.dict())
    prediction = await model_runner.predict.async_run(vector)
    result = prediction[0]
    if result > 0.5:
        return {"Status": "DECLINED"}
    elif result > 0.3:
        return {"Status": "MAYBE"}
    else:
        return {"Status": "APPROVED"}
