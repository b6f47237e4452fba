"""What a return code says."""

from __future__ import annotations

import signal

import pytest

from bentoml._process import describe_exit


@pytest.mark.parametrize(
    ("code", "out_of_memory", "said"),
    [
        (0, False, "exited with code 0"),
        (3, True, "exited with code 3"),
        (-signal.SIGSEGV, False, "was killed by SIGSEGV"),
        (-signal.SIGKILL, False, "was killed by SIGKILL"),
        (-signal.SIGKILL, True, "was killed by SIGKILL: out of memory"),
        (-200, False, "was killed by signal 200"),
    ],
)
def test_a_return_code_is_told_to_a_human(code: int, out_of_memory: bool, said: str) -> None:
    assert describe_exit(code, out_of_memory=out_of_memory) == said
