"""The device of this process, and its rank among the others. Importing this module has no effects."""
from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from src.errors import UsageError
from src.model_utils.local_adapter import (
    get_device_id,
    get_device_num,
    get_rank_id,
    is_launched,
    is_scheduler,
    names_device,
)

LONGEST_TEXT = 4096     # bytes
# What MindSpore's wheel does not bring along, by device.
NEEDS = {"CPU": "install MindSpore again",
         "GPU": "install CUDA 11.1 or 11.6 and cuDNN 8 for MindSpore's Linux wheel, which cannot load later ones",
         "Ascend": "install the driver and the CANN that docs/ascend.md names for this MindSpore, and run "
                   "`source /usr/local/Ascend/ascend-toolkit/set_env.sh` in this shell"}
# Seconds that a device waits for the others: while rank 0 reads the annotations (MindSpore sets the same number when it
# is imported), and while rank 0 measures an evaluation. The 910A rounds the second one down to a multiple of 68, and
# MindSpore wants it above 900.
COLLECTIVE_TIMEOUTS = {"HCCL_CONNECT_TIMEOUT": 600, "HCCL_EXEC_TIMEOUT": 7208}
GRADIENT_BUCKETS = 4    # gradients of the last layers travel while those of the first ones are computed
_device = None


@dataclass(frozen=True)
class Process:
    """This process in the job: its rank, the number of processes, and its device on this host."""

    rank: int
    size: int
    device_id: int

    def barrier(self) -> None:
        """Wait for all processes of the job. Collective: every rank must call it."""
        self.any(False)

    def any(self, wish: bool) -> bool:
        """Logical OR of `wish` over all ranks. Collective: every rank must call it; it also acts as a barrier."""
        if self.size == 1:
            return wish
        import mindspore as ms

        return bool(ms.ops.AllReduce()(ms.Tensor([float(wish)], ms.float32)).asnumpy()[0] > 0)

    def share(self, text: str) -> str:
        """The text of rank 0. Collective: every rank must call it, those after 0 with any text."""
        if self.size == 1:
            return text
        import mindspore as ms

        content = text.encode() if self.rank == 0 else b""
        if len(content) > LONGEST_TEXT:
            raise UsageError(f"{text[:100]}...: more than {LONGEST_TEXT} bytes; choose a shorter path")
        # The sum over all ranks, of which only rank 0 has numbers.
        letters = np.frombuffer(content.ljust(LONGEST_TEXT, b"\0"), np.uint8).astype(np.float32)
        return ms.ops.AllReduce()(ms.Tensor(letters)).asnumpy().astype(np.uint8).tobytes().rstrip(b"\0").decode()

    def broadcast(self, parameters: Sequence) -> None:
        """Give the float32 parameters the values of rank 0. Collective: every rank must call it with the same ones."""
        if self.size == 1:
            return
        import mindspore as ms

        own = np.concatenate([parameter.asnumpy().ravel() for parameter in parameters])
        # The sum over all ranks, of which only rank 0 has numbers.
        shared = ms.ops.AllReduce()(ms.Tensor(own if self.rank == 0 else np.zeros_like(own))).asnumpy()
        ends = np.cumsum([parameter.size for parameter in parameters])[:-1]
        for parameter, values in zip(parameters, np.split(shared, ends)):
            parameter.set_data(ms.Tensor(values.reshape(parameter.shape)))


ALONE = Process(0, 1, 0)


def this_process(runtime, environ: Mapping = os.environ) -> Process:
    """The rank, size and device of this process. In a job of several processes the launcher's environment overrides the
    settings; otherwise device_id wins, because a DEVICE_ID may be left over in the shell from an earlier job.

    Raises UsageError if rank and size contradict each other or the settings.
    """
    launched = get_device_num(environ)
    from_environment = runtime.device_id is None or (launched > 1 and names_device(environ))
    device_id = get_device_id(environ) if from_environment else runtime.device_id
    if not runtime.run_distribute:
        if launched > 1 and not is_scheduler(environ):
            raise UsageError(f"the environment (MS_WORKER_NUM, OMPI_COMM_WORLD_SIZE or RANK_SIZE) says that {launched} "
                             "processes were started, but run_distribute is false and each would do the whole work; "
                             "add --run_distribute True, or unset the variable")
        return Process(0, 1, device_id)
    size = launched if launched > 1 else runtime.device_num
    rank = get_rank_id(environ) if launched > 1 else runtime.rank_id
    if rank >= size:
        raise UsageError(f"rank {rank} does not exist in a job of {size} processes; check RANK_ID and RANK_SIZE, "
                         "or --rank_id and --device_num")
    return Process(rank, size, device_id)


def set_device(runtime, *, training: bool = False) -> None:
    """Choose the device, graph mode, deterministic operators and the precision of Ascend's for this process.

    training: allow_hf32 counts; what evaluates or exports computes with all bits.

    A second call for the same device does nothing. For another device it raises UsageError, because MindSpore accepts a
    device once per process.
    """
    global _device
    wanted = (runtime.device_target, this_process(runtime).device_id)
    if _device == wanted:
        return
    if _device is not None:
        raise _bound_to(_device, wanted)
    import mindspore as ms

    if runtime.device_target == "Ascend" and runtime.run_distribute:    # read when the device is opened
        for name, seconds in COLLECTIVE_TIMEOUTS.items():
            os.environ.setdefault(name, str(seconds))
    try:
        ms.set_device(*wanted)
    except (RuntimeError, ValueError) as error:
        if "has been initialized" not in str(error):
            reason = str(error).strip().splitlines()[0].split(". ")[0]
            raise UsageError(f"MindSpore {ms.__version__} cannot use {wanted[0]} device {wanted[1]}: {reason}; "
                             f"{NEEDS[wanted[0]]}, or give --device_target CPU") from None
        # The caller of src.api has computed something before, which is no harm on the same device.
        present = ms.get_context("device_target"), ms.get_context("device_id")
        if present != wanted:
            raise _bound_to(present, wanted) from None
    _device = wanted
    ms.set_context(mode=ms.GRAPH_MODE)
    if is_deterministic(runtime):
        ms.set_deterministic(True)
    if runtime.device_target == "Ascend":
        # By default the 910A computes float32 in float16, in which whole numbers above 2048 are lost: positions of
        # boxes and cells.
        precision = ms.device_context.ascend.op_precision
        precision.precision_mode("must_keep_origin_dtype")
        hf32 = training and runtime.allow_hf32
        precision.conv_allow_hf32(hf32)
        precision.matmul_allow_hf32(hf32)
    if runtime.device_target == "CPU":
        if runtime.runtime_num_threads:
            ms.device_context.cpu.op_tuning.threads_num(runtime.runtime_num_threads)
        warning = slow_cpu_warning(ms.__version__)
        if warning:
            print(f"warning: {warning}", file=sys.stderr)


def _bound_to(present: tuple, wanted: tuple) -> UsageError:
    return UsageError(f"this process already works on {present[0]} {present[1]} and cannot change to "
                      f"{wanted[0]} {wanted[1]}; start another process")


def is_deterministic(runtime) -> bool:
    """Whether operators always add in the same order: by default on a CPU only, where it costs little."""
    return runtime.device_target == "CPU" if runtime.deterministic is None else runtime.deterministic


def chip_name() -> str:
    """The name of this process's Ascend, such as Ascend910B2; empty on other devices and where it is unknown."""
    import mindspore as ms

    if ms.get_context("device_target") != "Ascend":
        return ""
    try:
        return ms.hal.get_device_name(ms.get_context("device_id"), "Ascend")
    except (RuntimeError, ValueError):
        return ""


def rounds_nms(chip: str) -> bool:
    """Whether MindSpore's operator for suppression takes float16 only on this chip: all but 910B and later."""
    return chip.startswith("Ascend") and not re.match(r"Ascend910(B\d|_9)", chip)


def convolves_in_half(chip: str) -> bool:
    """Whether convolutions and matrix products of this chip take float16 only: all but 910B and later."""
    return rounds_nms(chip)


def described_device(runtime, use_float16: bool) -> str:
    """The arithmetic of a training and its time-outs, for the first line of its log."""
    words = [f"{runtime.device_target} {chip_name()}".strip(),
             "float16 with float32 losses" if use_float16 and runtime.device_target != "CPU" else "float32"]
    if runtime.device_target == "Ascend":
        words.append(f"HF32 {'on' if runtime.allow_hf32 else 'off'}")
    words.append(f"operators {'' if is_deterministic(runtime) else 'not '}deterministic")
    if runtime.device_target == "Ascend" and runtime.run_distribute:
        words += [f"{name} {os.environ[name]} s" for name in COLLECTIVE_TIMEOUTS if name in os.environ]
    return ", ".join(words)


def slow_cpu_warning(version: str) -> str:
    """A warning for MindSpore versions with slow convolutions on a CPU; empty for other versions."""
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 9):
        return ""
    return (f"on a CPU, MindSpore {version} computes convolutions 40 to 130 times slower than 2.8.0 (from 2.9 on they "
            "land in oneDNN's reference kernels); install mindspore==2.8.0 for CPU work")


def init_distributed(runtime) -> Process:
    """Join the other processes if run_distribute is set; call it after `set_device`. Returns this Process.

    In msrun's scheduler process this call serves the other processes and ends the process. A single process without a
    launcher does not join, because evaluations also read run_distribute from the settings of the run.
    """
    process = this_process(runtime)
    if not runtime.run_distribute or process.size == 1 and not is_launched():
        return process
    import mindspore as ms
    from mindspore import communication

    try:
        communication.init()
    except RuntimeError as error:
        port = os.environ.get("MS_SCHED_PORT")
        if port is None:
            raise
        raise UsageError(f"the processes of the job could not connect ({str(error).strip().splitlines()[0][:100]}); if "
                         f"another job uses port {port}, choose another one (--master_port of msrun, MASTER_PORT of "
                         "the scripts)") from error
    process = Process(communication.get_rank(), communication.get_group_size(), process.device_id)
    ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True,
                                 device_num=process.size)
    return process


def fuse_gradients(runtime, sizes: Sequence[int]) -> None:
    """Let Ascend reduce the gradients in few collectives; call it before the training step is compiled.

    sizes: numbers of the trained parameters. all_reduce_fusion_config is taken where it fits their number; otherwise
    they are divided into GRADIENT_BUCKETS of equal size, also where an old file counts another network's parameters.
    """
    if runtime.device_target != "Ascend":
        return
    import mindspore as ms

    indices = runtime.all_reduce_fusion_config
    if not indices or indices[-1] >= len(sizes) or 2 * indices[-1] < len(sizes):
        indices = bucket_ends(sizes)
    try:
        ms.set_auto_parallel_context(all_reduce_fusion_config=indices)
    except (AttributeError, OSError) as error:
        # MindSpore knows the indices by now; what is missing is a function of this CANN's collective library.
        print(f"gradients may be reduced one by one, which is slower: {error}", file=sys.stderr)


def bucket_ends(sizes: Sequence[int]) -> list[int]:
    """The last index of each of GRADIENT_BUCKETS parts of about equal sums, in rising order."""
    sums = np.cumsum(sizes)
    return sorted({int(np.searchsorted(sums, sums[-1] * part / GRADIENT_BUCKETS))
                   for part in range(1, GRADIENT_BUCKETS + 1)})
