"""Clients of a running service: a method for each of its APIs, shaped by the OpenAPI document that it serves.

/docs.json ─► Endpoints        value ─► Endpoint.encode ─► POST ─► Endpoint.decode ─► value
                                                            │ 503, no connection: again, within the time-out
"""

from __future__ import annotations

from bentoml.client.aio import AsyncHTTPClient
from bentoml.client.base import Health
from bentoml.client.http import Client, HTTPClient
from bentoml.client.options import Timeouts
from bentoml.client.sync import SyncHTTPClient

__all__ = ["AsyncHTTPClient", "Client", "HTTPClient", "Health", "SyncHTTPClient", "Timeouts"]
