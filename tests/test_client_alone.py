"""A client needs httpx and nothing of models: not NumPy, not pandas, no library that trains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests._server import Server, environment

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numpy", "pandas", "sklearn", "xgboost", "lightgbm", "scipy", "pydantic", "PIL",
                                      "pyarrow"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import asyncio
from bentoml.client import AsyncHTTPClient, HTTPClient
from bentoml.exceptions import MissingDependencyException
"""

CALLS = """
url = sys.argv[1]
with HTTPClient.from_url(url) as client:
    assert "array" in client.endpoints
    assert client.order({"dish": "soup", "count": 1}) == {"dish": "soup", "count": 1, "price": 1.0}
    assert client.text("a") == "A"
    try:
        client.array([[1, 2]])
    except MissingDependencyException as error:
        print(error)

async def work():
    async with AsyncHTTPClient.from_url(url) as client:
        assert await client.echo([1]) == [1]

asyncio.run(work())
heavy = {"numpy", "bentoml.server", "bentoml.runner", "bentoml.service", "bentoml.store"}
print(sorted(name for name in sys.modules if name in heavy))
"""


def test_a_client_works_with_none_of_the_libraries_of_models(kitchen: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + CALLS, f"http://127.0.0.1:{kitchen.port}"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    missing, loaded = done.stdout.splitlines()
    assert missing == (
        "bentoml.io.NumpyNdarray needs the library 'numpy', which is not installed (hint: pip install numpy)"
    )
    assert loaded == "[]"
