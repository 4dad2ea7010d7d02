"""What is counted of those who do not get in."""

from __future__ import annotations

from enum import StrEnum


class Denial(StrEnum):
    """Why. The last two are counted also while they are let through: before proofs are required."""

    UNAUTHENTICATED = "unauthenticated"
    MISSING_SCOPE = "missing-scope"
    UNPROVEN_REQUEST = "unproven-request"
    UNPROVEN_HEARTBEAT = "unproven-heartbeat"
