"""OTLPMonitor: rows as log records to an OpenTelemetry collector, over HTTP with JSON; it needs no library."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bentoml._context import identity
from bentoml.exceptions import BentoMLConfigException
from bentoml.monitoring.base import MonitorBase, RowsLost

__all__ = ["OTLPMonitor"]

#: Where a collector takes log records; what an endpoint without a path means.
LOGS_PATH = "/v1/logs"
#: Rows in one request at most.
ROWS_AT_ONCE = 1000


class OTLPMonitor(MonitorBase):
    """A log record for each row: its columns are the body, the name of the monitor is the attribute `bentoml.monitor`.

    The columns come as a record as well; the attribute `bentoml.monitor.record` is `schema` or `data`.

    Args:
        endpoint: of the collector.
        headers: further header fields, for instance a key.
        timeout: seconds that one request may take; what waits meanwhile is bounded.

    Raises:
        BentoMLConfigException: the endpoint is no http or https URL.
    """

    def __init__(
        self,
        name: str,
        endpoint: str = "http://localhost:4318",
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(name)
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise BentoMLConfigException(f"monitoring.options.endpoint: {endpoint!r} is no http or https URL")
        self._url = endpoint if parts.path not in ("", "/") else endpoint.rstrip("/") + LOGS_PATH
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._timeout_s = timeout

    def export_schema(self, columns_schema: Mapping[str, Mapping[str, str]]) -> None:
        """Send the columns as one record."""
        self._send([{"columns": list(columns_schema.values())}], "schema")

    def export_data(self, datas: Mapping[str, deque[Any]]) -> None:
        """Send a record for each row."""
        self._send([dict(zip(datas, row, strict=True)) for row in zip(*datas.values(), strict=True)], "data")

    def export_lines(self, lines: Sequence[bytes]) -> None:
        """Send a record for each line."""
        for begin in range(0, len(lines), ROWS_AT_ONCE):
            try:
                self._send([msgspec.json.decode(line) for line in lines[begin : begin + ROWS_AT_ONCE]], "data")
            except OSError as error:
                raise RowsLost(len(lines) - begin, f"{self._url}: {error}") from error

    def _send(self, bodies: list[Any], kind: str) -> None:
        served = identity()
        now_ns = str(time.time_ns())
        attributes = list(_pairs({"bentoml.monitor": self.name, "bentoml.monitor.record": kind}))
        resource = {
            "service.name": served.bento_name,
            "service.version": served.bento_version,
            "bentoml.worker": served.worker,
        }
        records = [
            {"timeUnixNano": now_ns, "observedTimeUnixNano": now_ns, "body": _value(body), "attributes": attributes}
            for body in bodies
        ]
        scope = {"scope": {"name": "bentoml"}, "logRecords": records}
        document = {"resourceLogs": [{"resource": {"attributes": list(_pairs(resource))}, "scopeLogs": [scope]}]}
        request = urllib.request.Request(self._url, msgspec.json.encode(document), self._headers)
        with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
            response.read()


def _pairs(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    return ({"key": key, "value": _value(value)} for key, value in values.items())


def _value(value: Any) -> dict[str, Any]:
    """A value of JSON as the AnyValue of the protocol; an int is text there, as it may have 64 bits, null is empty."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": list(_pairs(value))}}
    return {"arrayValue": {"values": [_value(item) for item in value]}}
