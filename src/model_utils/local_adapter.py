"""Rank, size and device of this process from its launcher: msrun, mpirun, or a rank table."""
from __future__ import annotations

import os
from collections.abc import Mapping

from src.errors import UsageError


def get_rank_id(environ: Mapping = os.environ) -> int:
    """Number of this process in the job; 0 without a launcher."""
    # mpirun's variables come first: RANK_ID may be left in the shell from an earlier rank-table job.
    return _number(environ, ("OMPI_COMM_WORLD_RANK", "RANK_ID", "MS_NODE_ID"), 0)


def get_device_num(environ: Mapping = os.environ) -> int:
    """Processes in the job, one per device; 1 without a launcher."""
    return _number(environ, ("OMPI_COMM_WORLD_SIZE", "MS_WORKER_NUM", "RANK_SIZE"), 1)


def get_device_id(environ: Mapping = os.environ) -> int:
    """Device on this host; 0 if it is not set."""
    return _number(environ, ("OMPI_COMM_WORLD_LOCAL_RANK", "DEVICE_ID"), 0)


def get_job_id(environ: Mapping = os.environ) -> str:
    """ModelArts job, or "Local Job"."""
    return environ.get("JOB_ID") or "Local Job"


def is_scheduler(environ: Mapping = os.environ) -> bool:
    """Whether this is msrun's scheduler: an extra process that only connects the others."""
    return environ.get("MS_ROLE") == "MS_SCHED"


def is_launched(environ: Mapping = os.environ) -> bool:
    """Whether a launcher has started this process as one of a job; RANK_SIZE=1 is what scripts of one process set."""
    return any(environ.get(name) for name in ("MS_ROLE", "OMPI_COMM_WORLD_SIZE")) or \
        environ.get("RANK_SIZE", "").strip() not in ("", "1")


def names_device(environ: Mapping = os.environ) -> bool:
    """Whether the environment names the device."""
    return any(environ.get(name) for name in ("OMPI_COMM_WORLD_LOCAL_RANK", "DEVICE_ID"))


def _number(environ: Mapping, names: tuple, default: int) -> int:
    for name in names:
        text = environ.get(name, "").strip()
        if text:
            if not (text.isascii() and text.isdigit()):
                raise UsageError(f"environment variable {name} = {text!r} is not a number from 0; the launcher "
                                 "(msrun, mpirun, rank-table script) sets it")
            return int(text)
    return default
