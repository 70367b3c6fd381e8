import os
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
    assert "CUDA 11.1 or 11.6 and cuDNN 8" in lines[0]
    assert "already works on CPU 0 and cannot change to CPU 1" in lines[1]
    assert lines[2] == "CPU True 1"


def test_the_same_device_may_have_been_used_before():
    """As in a notebook that calls src.api after some computations of its own."""
    pytest.importorskip("mindspore")
    program = """
import mindspore as ms
ms.ops.ReLU()(ms.Tensor([1.0])).asnumpy()
from src.errors import UsageError
from src.model_utils.device_adapter import set_device
from src.settings.schema import RuntimeSection
try:
    set_device(RuntimeSection(device_id=1))
except UsageError as error:
    print(error)
set_device(RuntimeSection())
print(ms.get_context("mode") == ms.GRAPH_MODE)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "this process already works on CPU 0 and cannot change to CPU 1; start another process", "True"]


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


@pytest.mark.parametrize("flags, training, hf32", [({}, True, False), ({"allow_hf32": True}, True, True),
                                                   ({"allow_hf32": True}, False, False)])
def test_ascend_keeps_float32_and_its_operators_are_not_deterministic_unless_asked(flags, training, hf32, calls):
    """HF32 is for trainings: evaluations and the check of exported files keep all bits."""
    device_adapter.set_device(RuntimeSection(device_target="Ascend", **flags), training=training)
    assert ("precision_mode", "must_keep_origin_dtype") in calls
    assert ("conv_allow_hf32", hf32) in calls and ("matmul_allow_hf32", hf32) in calls
    assert ("set_deterministic", True) not in calls


def test_operators_are_deterministic_where_that_is_asked_for(calls):
    device_adapter.set_device(RuntimeSection(device_target="Ascend", deterministic=True))
    assert ("set_deterministic", True) in calls


def test_operators_are_deterministic_on_a_cpu_by_default(calls):
    device_adapter.set_device(RuntimeSection())
    assert ("set_deterministic", True) in calls and not any(name == "precision_mode" for name, *_ in calls)


@pytest.mark.usefixtures("calls")
def test_ranks_on_ascend_wait_long_enough_for_rank_0(monkeypatch):
    """The time-outs are set before the device is opened, which reads them, and one of the user's stays."""
    for name in device_adapter.COLLECTIVE_TIMEOUTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HCCL_CONNECT_TIMEOUT", "300")
    seen = []
    monkeypatch.setattr(mindspore, "set_device", lambda *_: seen.append(dict(os.environ)))
    runtime = RuntimeSection(device_target="Ascend", run_distribute=True, device_num=8)
    device_adapter.set_device(runtime)
    assert (seen[0]["HCCL_CONNECT_TIMEOUT"], seen[0]["HCCL_EXEC_TIMEOUT"]) == ("300", "7208")
    assert int(seen[0]["HCCL_EXEC_TIMEOUT"]) % 68 == 0, "the 910A rounds down to a multiple of 68"
    monkeypatch.setattr(device_adapter, "chip_name", lambda: "Ascend910B2")
    assert device_adapter.described_device(runtime, True) == (
        "Ascend Ascend910B2, float16 with float32 losses, HF32 off, operators not deterministic, HCCL_CONNECT_TIMEOUT "
        "300 s, HCCL_EXEC_TIMEOUT 7208 s")


def test_the_first_line_names_the_arithmetic_of_a_cpu():
    described = device_adapter.described_device(RuntimeSection(), use_float16=True)
    assert described == "CPU, float32, operators deterministic"


@pytest.mark.parametrize("chip, rounds", [
    ("", False), ("Ascend910A", True), ("Ascend910ProB", True), ("Ascend910B", True), ("Ascend310P3", True),
    ("Ascend310B4", True), ("Ascend910B2", False), ("Ascend910B4-1", False), ("Ascend910_9392", False)])
def test_chips_whose_suppression_takes_float16_only(chip, rounds):
    assert device_adapter.rounds_nms(chip) is rounds


@pytest.mark.parametrize("given, ends", [([], [2, 3, 4, 5]), ([1, 3, 5], [1, 3, 5]), ([29, 58, 89], [2, 3, 4, 5]),
                                         ([0, 1], [2, 3, 4, 5])])
def test_gradients_are_reduced_in_parts_that_fit_their_number(given, ends, monkeypatch):
    """[29, 58, 89] counts the parameters of another network; [0, 1] would leave all the rest for one part."""
    made = []
    monkeypatch.setattr(mindspore, "set_auto_parallel_context", lambda **settings: made.append(settings))
    device_adapter.fuse_gradients(RuntimeSection(device_target="Ascend", all_reduce_fusion_config=given),
                                  [10, 10, 80, 100, 100, 100])
    assert made == [{"all_reduce_fusion_config": ends}]


def test_a_collective_library_without_fusion_is_said(monkeypatch, capsys):
    def refuse(**_settings):
        raise AttributeError("libhccl.so: undefined symbol: HcomSetGradFusionByIndex")

    monkeypatch.setattr(mindspore, "set_auto_parallel_context", refuse)
    device_adapter.fuse_gradients(RuntimeSection(device_target="Ascend"), [1, 1])
    assert "reduced one by one" in capsys.readouterr().err
