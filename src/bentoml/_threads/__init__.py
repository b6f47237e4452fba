"""Threads: where plain functions run; the quick ones take turns, so that they do not fight for the interpreter lock."""

from bentoml._threads.lane import Lane
from bentoml._threads.pool import Threads
from bentoml._threads.waiting import Pending, has_company, post, wait_for
from bentoml._threads.work import Work

__all__ = ["Lane", "Pending", "Threads", "Work", "has_company", "post", "wait_for"]
