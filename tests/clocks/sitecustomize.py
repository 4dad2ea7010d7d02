"""Shifts the wall clock of a process before anything is imported; what measures time goes right.

Python imports a module of this name at its start. CLOCK_FILE names a file with the seconds by
which the clock is wrong; it is read again all the time, so a clock can be stepped under a
running process. `monotonic` and what sleeps by it stay true, and so does `datetime.now`, which
is no function of Python and which nothing that is kept or decided asks.
"""

import os
import time

_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_file = os.environ["CLOCK_FILE"]
_read = [0.0, 0.0]


def _shift() -> float:
    now = _monotonic()
    if now >= _read[0]:
        with open(_file, encoding="ascii") as file:  # pathlib is not loaded yet
            _read[:] = [now + 0.05, float(file.read() or _read[1])]
    return _read[1]


time.time = lambda: _time() + _shift()
time.time_ns = lambda: _time_ns() + int(_shift() * 1e9)
