"""Two real processes on the CPU: gradients are averaged, and all wait for all."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each rank trains on its half of eight rows; rank 0 writes down the weights after every step. Without a batch norm,
# whose statistics are a rank's own, they have to be those of one process that sees all rows.
PROGRAM = """
import json, sys
import mindspore as ms
import numpy as np
from mindspore import nn
from src.engine.train_step import TrainStep
from src.model_utils.device_adapter import init_distributed, set_device
from src.ops.norms import synchronise_norms
from src.settings.schema import RuntimeSection

accumulation = int(sys.argv[2])
runtime = RuntimeSection(run_distribute=sys.argv[3] == "several", runtime_num_threads=1)
set_device(runtime)
process = init_distributed(runtime)
ms.set_seed(1)

class SquaredError(nn.Cell):
    parts = ("loss",)

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, rows, wanted):
        error = self.network(rows) - wanted
        return (error * error).mean(),

rng = np.random.default_rng(0)
network = nn.SequentialCell(nn.Dense(3, 4), nn.Tanh(), nn.Dense(4, 1))
parameters = network.trainable_params()
step = TrainStep(SquaredError(network), nn.Momentum(parameters, 0.1, 0.9), nn.Identity(),
                 accumulation_steps=accumulation, clip_norm=0.5,
                 reducer=nn.DistributedGradReducer(parameters) if process.size > 1 else None)
rows, wanted = rng.normal(size=(2, 6, 8, 3)).astype(np.float32), rng.normal(size=(6, 8, 1)).astype(np.float32)
own = slice(process.rank * 8 // process.size, (process.rank + 1) * 8 // process.size)
course = []
for index in range(6):
    step(rows[0, index, own], wanted[index, own])
    course.append([float(x) for parameter in parameters for x in parameter.asnumpy().ravel()])
sums = [float(x) for parameter in step.sums for x in parameter.asnumpy().ravel()]
process.barrier()
agreed = [process.any(False), process.any(process.rank == process.size - 1), process.any(False)]
# Rank 1 wishes to stop, and later its chip alone records an overflow.
stops = [bool(step(rows[0, 0, own], wanted[0, own], stop=wish).stop.asnumpy()[0] > 0)
         for wish in [False, process.rank == process.size - 1] * accumulation]


def all_finite(_):
    return ms.Tensor(process.rank == 0)


if process.size > 1:
    careful = TrainStep(SquaredError(network), nn.Momentum(parameters, 0.1, 0.9), nn.Identity(), reducer=step.reducer,
                        all_finite=all_finite)
    before = [parameter.asnumpy() for parameter in parameters]
    result = careful(rows[0, 0, own], wanted[0, own])
    assert np.isfinite(result.grad_norm.asnumpy()) and result.skipped_in_row.asnumpy() == 1
    assert all((parameter.asnumpy() == array).all() for parameter, array in zip(parameters, before))
# With a batch norm, ranks that share its statistics train as one process, and end with its moving statistics.
norm = nn.BatchNorm2d(3, momentum=0.8)
network = nn.SequentialCell(norm, nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Dense(8, 1))
if process.rank == 1:
    network[1].weight.set_data(ms.Tensor(np.full((2, 3, 1, 1), 7, np.float32)))
process.broadcast(list(network.get_parameters()))
if process.size > 1:
    synchronise_norms(network, process.size)
parameters = network.trainable_params()
step = TrainStep(SquaredError(network), nn.Momentum(parameters, 0.1, 0.9), nn.Identity(),
                 reducer=nn.DistributedGradReducer(parameters) if process.size > 1 else None)
images = rng.normal(3, 2, size=(3, 8, 3, 2, 2)).astype(np.float32)
for index in range(3):
    step(images[index, own], wanted[index, own])
normed = [float(x) for parameter in network.get_parameters() for x in parameter.asnumpy().ravel()]
if process.rank == 0:
    with open(sys.argv[1], "w") as file:
        json.dump({"size": process.size, "course": course, "sums": sums, "agreed": agreed,
                   "stops": stops, "normed": normed, "moving": norm.moving_variance.asnumpy().tolist()}, file)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def trained(folder: Path, processes: int, accumulation: int) -> dict:
    program, result = folder / "program.py", folder / f"result_{processes}.json"
    program.write_text(PROGRAM)
    launcher = [sys.executable] if processes == 1 else [
        str(Path(sys.executable).with_name("msrun")), f"--worker_num={processes}", f"--local_worker_num={processes}",
        "--join=True", f"--master_port={free_port()}", f"--log_dir={folder / 'logs'}"]
    command = [*launcher, str(program), str(result), str(accumulation), "one" if processes == 1 else "several"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(result.read_text())


# By day test_two_processes.py compares the losses of two ranks that do not accumulate.
@pytest.mark.parametrize("accumulation", [pytest.param(1, marks=pytest.mark.nightly), 4])
def test_two_ranks_with_half_the_rows_each_train_as_one_with_all(tmp_path, accumulation):
    one, two = (trained(tmp_path, processes, accumulation) for processes in (1, 2))

    assert (one["size"], two["size"]) == (1, 2)
    course = np.array(one["course"])
    assert np.abs(np.diff(course, axis=0)).max() > 0.01, "nothing was trained"
    np.testing.assert_allclose(two["course"], course, rtol=1e-5, atol=1e-6)
    # In the middle of an accumulation, what rank 0 saves has to stand for all ranks.
    assert len(one["sums"]) == (0 if accumulation == 1 else course.shape[1])
    np.testing.assert_allclose(two["sums"], one["sums"], rtol=1e-4, atol=1e-6)
    assert one["agreed"] == two["agreed"] == [False, True, False]
    np.testing.assert_allclose(two["normed"], one["normed"], rtol=1e-4, atol=1e-5)
    assert min(one["moving"]) > 1.5, "of images with a variance of 4"
    assert one["stops"] == two["stops"] == [False, True] * accumulation
