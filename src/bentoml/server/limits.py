"""Limits: how much and how long one client may keep the server busy; Phase: what a connection waits for."""

from __future__ import annotations

import enum
import math

import msgspec

__all__ = ["Limits", "Phase"]


class Phase(enum.Enum):
    """What a connection waits for."""

    IDLE = "the first byte of a request"
    HEAD = "the rest of a request's head"
    BODY = "the rest of a request's body"
    ANSWERING = "the handler, to begin its answer"
    STREAMING = "the handler, for the rest of its answer"
    SENDING = "the client, to read what was written"
    LINGERING = "the client, to close after our last answer"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one listener; times are kept to within a second.

    Attributes:
        header_bytes: request line and header fields of one request; more is a 431.
        header_count: header fields of one request; more is a 431.
        body_bytes: one body; more is a 413, before it is read where its length was announced.
        bodies_bytes: all bodies that are being received at one time; more is a 503.
        header_timeout_s: from the first byte of a request to the end of its head; more is a 408.
        body_grace_s: what a body may take whatever its size; more is a 408, see `body_bytes_per_s`.
        body_bytes_per_s: each so many bytes that arrived give the body one more second.
        answer_timeout_s: from a whole request to the beginning of its answer; more is a 504.
        keep_alive_s: how long a connection may stay open without a request.
        write_stall_s: how long a client may read nothing of what is written to it.
        linger_s: how long a client may take to close after the last answer.
        connections: connections that are open at one time; further clients wait in the kernel's queue, and
            idle connections are closed to make room.
    """

    #: Eight times what browsers with large cookies send; what a connection may hold before it is understood.
    header_bytes: int = 64 * 1024
    #: Browsers behind several proxies send about 40.
    header_count: int = 128
    #: A photograph or a data frame of a million numbers; what is larger belongs in an object store.
    body_bytes: int = 100 * 1024 * 1024
    #: Ten bodies of the largest size: a hundred slow uploads must not fill the memory.
    bodies_bytes: int = 1024 * 1024 * 1024
    #: A head is one or two packets; ten seconds are two retransmissions on a bad radio link.
    header_timeout_s: float = 10.0
    #: The same link may stall for a while at any point of the body.
    body_grace_s: float = 20.0
    #: 8 kbit/s, below any link that a client would call from.
    body_bytes_per_s: int = 1000
    #: The listener alone does not know what its handlers do.
    answer_timeout_s: float = math.inf
    #: Above the 60 s of common load balancers: if we closed first, we would lose what they send meanwhile.
    keep_alive_s: float = 75.0
    #: The kernel takes megabytes before we notice, so that a slow reader moves in large steps.
    write_stall_s: float = 30.0
    #: A few round trips: what still arrives is thrown away meanwhile, as a reset would destroy the answer.
    linger_s: float = 2.0
    #: Each costs a file descriptor and about 5 KB.
    connections: int = 10_000

    def seconds_allowed(self, phase: Phase, body_bytes: int = 0) -> float:
        """How long a connection may wait in `phase`; `body_bytes` of the body have arrived."""
        match phase:
            case Phase.IDLE:
                return self.keep_alive_s
            case Phase.HEAD:
                return self.header_timeout_s
            case Phase.BODY:
                return self.body_grace_s + body_bytes / self.body_bytes_per_s
            case Phase.SENDING:
                return self.write_stall_s
            case Phase.LINGERING:
                return self.linger_s
            case Phase.ANSWERING:
                # The clock of a connection stands still between two sweeps, and nobody shall be cut off early.
                return self.answer_timeout_s + self.sweep_interval_s
            case Phase.STREAMING:
                return math.inf

    @property
    def sweep_interval_s(self) -> float:
        """How often the times are checked: every second, more often where one of them is short."""
        shortest_s = min(self.header_timeout_s, self.body_grace_s, self.keep_alive_s, self.write_stall_s, self.linger_s)
        return min(1.0, shortest_s / 2, self.answer_timeout_s / 8)
