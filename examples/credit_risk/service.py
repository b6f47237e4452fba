"""The credit-risk service: an application in, a decision out."""

from pydantic import BaseModel, ConfigDict

import bentoml
from bentoml.io import JSON


class CreditApplication(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "seniority": 3,
                "home": "owner",
                "time": 36,
                "age": 26,
                "marital": "single",
                "records": "no",
                "job": "freelance",
                "expenses": 35,
                "income": 0.0,
                "assets": 60000.0,
                "debt": 3000.0,
                "amount": 800,
                "price": 1000,
            }
        }
    )

    seniority: int
    home: str
    time: int
    age: int
    marital: str
    records: str
    job: str
    expenses: int
    income: float
    assets: float
    debt: float
    amount: int
    price: int


model_ref = bentoml.xgboost.get("credit_risk_model:latest")
dv = model_ref.custom_objects["DictVectorizer"]
model_runner = model_ref.to_runner()

svc = bentoml.Service("credit_risk_classifier", runners=[model_runner])


@svc.api(input=JSON(pydantic_model=CreditApplication), output=JSON())
async def classify(credit_application: CreditApplication) -> dict[str, str]:
    """Decide on one application: APPROVED, MAYBE or DECLINED."""
    vector = dv.transform(credit_application.model_dump())
    prediction = await model_runner.predict.async_run(vector)
    result = prediction[0]
    if result > 0.5:
        return {"Status": "DECLINED"}
    if result > 0.3:
        return {"Status": "MAYBE"}
    return {"Status": "APPROVED"}
