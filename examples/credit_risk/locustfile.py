"""Load for the credit-risk service: `locust -H http://localhost:3000`, then open http://localhost:8089."""

from locust import HttpUser, between, task

SAMPLE = {
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


class CreditRiskUser(HttpUser):
    """Sends one application, waits up to two seconds, sends the next."""

    wait_time = between(0.01, 2)

    @task
    def classify(self) -> None:
        self.client.post("/classify", json=SAMPLE)
