"""What the benchmarks share."""
from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Callable, NamedTuple


class Timing(NamedTuple):
    """Seconds of one call: the first, and median and least of those after the warm-up. cpu_s: median of the processor
    seconds of all threads."""

    first_s: float
    median_s: float
    min_s: float
    cpu_s: float

    def fields(self) -> dict:
        """For a line of JSON."""
        return {"first_s": round(self.first_s, 2), "median_s": round(self.median_s, 4), "min_s": round(self.min_s, 4),
                "cpu_s": round(self.cpu_s, 4)}


def timed(call: Callable[[], object], repeats: int, warm_up: int = 2) -> Timing:
    """Time `repeats` calls after `warm_up` others."""
    samples = []
    for _ in range(warm_up + repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        call()
        samples.append((time.perf_counter() - started, time.process_time() - cpu_started))
    seconds, cpu_seconds = zip(*samples[warm_up:])
    return Timing(samples[0][0], statistics.median(seconds), min(seconds), statistics.median(cpu_seconds))


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def memory_mb(process: int) -> int:
    """Resident memory of a running process, in MiB (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() >> 20
