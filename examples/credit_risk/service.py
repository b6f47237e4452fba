"""The credit-risk service: an application in, a decision out."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

import bentoml
from bentoml.io import JSON


# Beyond these limits a number is a typing error, and perhaps none that the model can read.
Count = Annotated[int, Field(ge=0, le=1000)]
Amount = Annotated[float, Field(ge=0, le=1e9)]


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

    seniority: Count
    home: str
    time: Count
    age: Count
    marital: str
    records: str
    job: str
    expenses: Amount
    income: Amount
    assets: Amount
    debt: Amount
    amount: Amount
    price: Amount


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
