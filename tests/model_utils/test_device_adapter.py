import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mindspore
import pytest

from src.errors import UsageError
from src.model_utils import device_adapter
from src.model_utils.device_adapter import Process, slow_cpu_warning, this_process
from src.model_utils.local_adapter import (
    get_device_id,
    get_device_num,
    get_job_id,
    get_rank_id,
    is_launched,
    is_scheduler,
)
from src.settings.schema import RuntimeSection

ROOT = Path(__file__).resolve().parents[2]

MSRUN = {"MS_WORKER_NUM": "4", "MS_ROLE": "MS_WORKER", "MS_NODE_ID": "2", "RANK_ID": "2", "DEVICE_ID": "2"}
MPIRUN = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
RANK_TABLE = {"RANK_TABLE_FILE": "hccl_8p.json", "RANK_SIZE": "16", "RANK_ID": "9", "DEVICE_ID": "1"}


@pytest.mark.parametrize("environ, rank, size, device", [
    ({}, 0, 1, 0), (MSRUN, 2, 4, 2), (MPIRUN, 1, 2, 1), (RANK_TABLE, 9, 16, 1),
    ({**MPIRUN, "RANK_ID": "7", "DEVICE_ID": "7"}, 1, 2, 1),
])
def test_launchers_say_rank_size_and_device(environ, rank, size, device):
    assert (get_rank_id(environ), get_device_num(environ), get_device_id(environ)) == (rank, size, device)
    distributed = RuntimeSection(run_distribute=True)
    assert this_process(distributed, environ) == Process(rank, size, device)


def test_the_scheduler_and_the_job_are_known():
    assert is_scheduler({"MS_ROLE": "MS_SCHED"}) and not is_scheduler(MSRUN)
    assert get_job_id({}) == "Local Job" and get_job_id({"JOB_ID": "17"}) == "17"


@pytest.mark.parametrize("environ, launched", [({}, False), ({"RANK_ID": "1", "DEVICE_ID": "1"}, False),
                                               ({"RANK_SIZE": "1", "DEVICE_NUM": "1"}, False), (MSRUN, True),
                                               (MPIRUN, True), (RANK_TABLE, True), ({"MS_ROLE": "MS_SCHED"}, True)])
def test_a_launcher_is_known_by_its_variables(environ, launched):
    assert is_launched(environ) is launched


def test_without_a_launcher_the_configuration_counts():
    runtime = RuntimeSection(run_distribute=True, rank_id=1, device_num=2, device_id=5)
    assert this_process(runtime, {}) == Process(1, 2, 5)
    assert this_process(RuntimeSection(device_id=3, rank_id=7), {}) == Process(0, 1, 3)


def test_the_device_that_is_asked_for_wins_over_one_left_in_the_shell_but_not_over_a_launcher():
    assert this_process(RuntimeSection(device_id=3), {"DEVICE_ID": "6"}) == Process(0, 1, 3)
    assert this_process(RuntimeSection(), {"DEVICE_ID": "6"}) == Process(0, 1, 6)
    assert this_process(RuntimeSection(device_id=0), {"DEVICE_ID": "6"}) == Process(0, 1, 0)
    assert this_process(RuntimeSection(run_distribute=True, device_id=3), RANK_TABLE) == Process(9, 16, 1)
    assert this_process(RuntimeSection(run_distribute=True, device_id=3), MPIRUN) == Process(1, 2, 1)


@pytest.mark.parametrize("runtime, environ, words", [
    (RuntimeSection(), MSRUN, "4 processes were started, but run_distribute is false"),
    (RuntimeSection(run_distribute=True), {**RANK_TABLE, "RANK_ID": "16"}, "rank 16 does not exist in a job of 16"),
    (RuntimeSection(run_distribute=True, rank_id=1), {}, "rank 1 does not exist in a job of 1"),
    (RuntimeSection(), {"DEVICE_ID": "two"}, "DEVICE_ID = 'two' is not a number"),
    (RuntimeSection(), {"RANK_SIZE": "-1"}, "RANK_SIZE = '-1'"),
])
def test_contradictions_are_named(runtime, environ, words):
    with pytest.raises(UsageError, match=words):
        this_process(runtime, environ)


@pytest.mark.parametrize("version, slow", [("2.7.1", False), ("2.8.0", False), ("2.9.0", True), ("2.10.0", True),
                                           ("2.9.0rc1", True), ("3.0.0", True)])
def test_slow_cpu_versions_are_named_with_the_reason(version, slow):
    warning = slow_cpu_warning(version)
    assert bool(warning) is slow
    assert not slow or (version in warning and "oneDNN" in warning and "2.8.0" in warning)


def test_the_device_is_chosen_once_per_process():
    """And a single process that nobody launched joins nobody, whatever run_distribute says."""
    pytest.importorskip("mindspore")
    program = """
from src.errors import UsageError
from src.model_utils import device_adapter
from src.model_utils.device_adapter import init_distributed, set_device
from src.settings.schema import RuntimeSection
runtime = RuntimeSection(device_target="CPU", runtime_num_threads=1, run_distribute=True)
try:
    set_device(RuntimeSection(device_target="GPU"))
except UsageError as error:
    print(error)
set_device(runtime)
set_device(runtime)
try:
    set_device(RuntimeSection(device_id=1))
except UsageError as error:
    print(error)
import mindspore as ms
print(ms.get_context("device_target"), ms.get_context("mode") == ms.GRAPH_MODE, init_distributed(runtime).size)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert "cannot use GPU device 0" in lines[0] and "give --device_target CPU" in lines[0]
    assert "already works on CPU 0 and cannot change to CPU 1" in lines[1]
    assert lines[2] == "CPU True 1"


@pytest.fixture
def calls(monkeypatch) -> list:
    """The calls that choose a device, instead of MindSpore's."""
    made: list = []

    def note(name: str):
        return lambda *values: made.append((name, *values))

    monkeypatch.setattr(device_adapter, "_device", None)
    for name in ("set_device", "set_deterministic", "set_context"):
        monkeypatch.setattr(mindspore, name, lambda *values, name=name, **_: made.append((name, *values)))
    names = ("precision_mode", "conv_allow_hf32", "matmul_allow_hf32")
    precision = SimpleNamespace(**{name: note(name) for name in names})
    monkeypatch.setattr(mindspore, "device_context", SimpleNamespace(ascend=SimpleNamespace(op_precision=precision)))
    return made


@pytest.mark.parametrize("flags, hf32", [({}, False), ({"allow_hf32": True}, True)])
def test_ascend_keeps_float32_and_its_operators_are_not_deterministic_unless_asked(flags, hf32, calls):
    device_adapter.set_device(RuntimeSection(device_target="Ascend", **flags))
    assert ("precision_mode", "must_keep_origin_dtype") in calls
    assert ("conv_allow_hf32", hf32) in calls and ("matmul_allow_hf32", hf32) in calls
    assert ("set_deterministic", True) not in calls


def test_operators_are_deterministic_where_that_is_asked_for(calls):
    device_adapter.set_device(RuntimeSection(device_target="Ascend", deterministic=True))
    assert ("set_deterministic", True) in calls


def test_operators_are_deterministic_on_a_cpu_by_default(calls):
    device_adapter.set_device(RuntimeSection())
    assert ("set_deterministic", True) in calls and not any(name == "precision_mode" for name, *_ in calls)
