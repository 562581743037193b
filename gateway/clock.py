"""Wall-clock time, for records and calendars. Limits and deadlines use `time.monotonic` instead."""

import time


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
