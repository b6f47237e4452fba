"""When a call is sent again: a pure decision; and Attempts, which makes it for one call against the clock."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Final

from bentoml.client.errors import error_of_failure, retry_after_s
from bentoml.client.options import Options, httpx
from bentoml.exceptions import DeadlineExceeded

__all__ = ["Attempts", "pause_s"]

#: The pauses of a call to a server that does not say how long to wait: at most 0.1 s, 0.2 s, 0.4 s, …
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
_SERVICE_UNAVAILABLE: Final = 503


def pause_s(failures: int, told_s: float | None, *, max_retries: int, remaining_s: float, luck: float) -> float | None:
    """Seconds until the next attempt, None where there shall be none.

    Args:
        failures: attempts that have failed, 1 or more.
        told_s: what `Retry-After` said; never cut short.
        remaining_s: of the call's time; an attempt that could only begin after it is not made.
        luck: 0 to 1, so that clients that were refused together do not come back together.
    """
    if failures > max_retries:
        return None
    spread_s = luck * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 30))
    pause = spread_s if told_s is None else told_s + spread_s
    return pause if pause < remaining_s else None


class Attempts:
    """The attempts of one call.

    Args:
        repeatable: whether it may be sent twice; else only what the server refused, or never got, is sent again.
    """

    def __init__(self, options: Options, url: str, *, repeatable: bool) -> None:
        self._options = options
        self._url = url
        self._repeatable = repeatable
        self._failures = 0
        self._deadline_s = time.monotonic() + options.timeouts.total_s

    def check(self) -> float:
        """The seconds that are left of the call's time.

        Raises:
            DeadlineExceeded: none are.
        """
        remaining_s = self._deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise DeadlineExceeded(
                f"{self._url} did not answer in time (timeout {self._options.timeouts.total_s:g} s)",
                hint="raise the client's timeout",
            )
        return remaining_s

    def limits(self) -> dict[str, dict[str, float]]:
        """The extensions of httpx for the next attempt."""
        return {"timeout": self._options.timeouts.within(self.check())}

    def pause_after_answer(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Seconds until the next attempt, None where this answer is the last."""
        return self._pause(retry_after_s(headers, time.time())) if status == _SERVICE_UNAVAILABLE else None

    def pause_after_failure(self, error: Exception) -> float:
        """Seconds until the next attempt.

        Raises:
            BentoMLException: there shall be none; says what went wrong.
        """
        library = httpx()
        was_sent = not isinstance(error, (library.ConnectError, library.ConnectTimeout))
        lost = isinstance(error, library.TransportError) and not isinstance(error, library.TimeoutException)
        pause = self._pause(None) if not was_sent or (self._repeatable and lost) else None
        if pause is None:
            raise error_of_failure(error, self._url, self._options.timeouts.total_s) from error
        return pause

    def _pause(self, told_s: float | None) -> float | None:
        self._failures += 1
        return pause_s(
            self._failures,
            told_s,
            max_retries=self._options.max_retries,
            remaining_s=self._deadline_s - time.monotonic(),
            luck=random.random(),
        )
