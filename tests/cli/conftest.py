"""The commands as users call them, on a few drawn pictures."""
from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import recipe
from forks import Forks
from golden import Golden

from src.checkpoint import save_weights
from src.command_line import load_config
from src.data.shapes import draw_shapes
from src.models import build_detector

ROOT = Path(__file__).resolve().parents[2]
# Golden data that lists the parameters, where its name is another; and the one whose scales are taken.
MEASURED_AS = {"faster_rcnn_resnet50": "faster_rcnn_r50", "faster_rcnn_resnet101": "faster_rcnn_master_r101",
               "faster_rcnn_resnet152": "faster_rcnn_master_r152", "mask_rcnn_resnet50": "maskrcnn_r50"}
SCALED_AS = {"faster_rcnn_resnet101": "faster_rcnn_r50", "faster_rcnn_resnet152": "faster_rcnn_r50",
             "faster_rcnn_res2net101": "faster_rcnn_res2net50", "faster_rcnn_res2net152": "faster_rcnn_res2net50"}
STAND_IN = Path(__file__).resolve().parent / "lite_stand_in"
BCCD = ROOT.parent / "shared" / "data" / "bccd_voc" / "BCCD"
CONFIG = ROOT / "config" / "ssd" / "ssd300_mobilenet_v2_small.yaml"


def command_line(name: str, flags: dict) -> list:
    if name == "train":     # an evaluation compiles a second network
        flags = {"run_eval": False, **flags}
    return [sys.executable, str(ROOT / f"{name}.py"), *(f"--{key}={value}" for key, value in flags.items())]


def start(name: str, cwd: Path, **flags) -> subprocess.Popen:
    """`python <name>.py --key=value ...` in the folder cwd, started; `output` holds where it prints to."""
    output = cwd / f"output-{os.urandom(4).hex()}.txt"
    with output.open("w") as file:
        process = subprocess.Popen(command_line(name, flags), cwd=cwd, stdout=file, stderr=subprocess.STDOUT)
    process.output = output
    return process


FORKS = Forks()


def call(name: str, cwd: Path, **flags) -> subprocess.CompletedProcess:
    """`python <name>.py --key=value ...` in the folder cwd, run to its end."""
    return FORKS.run(command_line(name, flags)[1:], cwd)


@contextmanager
def compiled_once(folder: Path):
    """The trainings that are started within read the compiled step from `folder`, where the first one leaves it.

    For trainings with equal settings only: MindSpore does not compare them. Not for eval.py: from the second start on
    its detections were others.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
        patch.setenv("MS_COMPILER_CACHE_PATH", str(folder / "compiled"))
        yield


EPOCHS = 40  # of two steps: enough for scores that tell good boxes from bad ones
LEARN_BY_HEART = {"min_scale": 0.35, "batch_size": 4, "epoch_size": EPOCHS, "opt_type": "adam", "lr": 0.003,
                  "weight_decay": 0, "ema_decay": 0, "color_jitter": "0,0,0", "crop_tries": 0, "zoom_out": 1,
                  "flip_prob": 0}


def made_once(tmp_path_factory, name: str, make) -> Path:
    """A folder that make(folder) has filled: in one of the processes of pytest-xdist, for all of them."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, made = root / name, root / f"{name}.made"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def cli():
    yield SimpleNamespace(start=start, call=call, compiled_once=compiled_once)
    FORKS.close()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> SimpleNamespace:
    """Eight pictures to train on, four to evaluate on, as MindRecord too.

    `flags`: what makes a training of seconds of them; `prepared`: the call of train.py that wrote the MindRecord files;
    `cwd`: the folder it was called in.
    """
    folder = tmp_path_factory.mktemp("drawn")
    draw_shapes(folder / "shapes", train=8, val=4)
    flags = {"config_path": CONFIG, "coco_root": folder / "shapes", "mindrecord_dir": folder / "mindrecord",
             "mindrecord_shards": 1, "img_shape": "96,96", "batch_size": 2, "python_multiprocessing": False,
             "num_parallel_workers": 2}
    cwd = folder / "cwd"
    cwd.mkdir()
    prepared = call("train", cwd, **flags, output_path=cwd / "run", only_create_dataset=True)
    return SimpleNamespace(folder=folder, flags=flags, prepared=prepared, cwd=cwd)


@pytest.fixture
def eight_cells(tmp_path) -> Path:
    """Pascal VOC folder with eight pictures of BCCD, the same ones for training and for evaluation."""
    if not BCCD.is_dir():
        pytest.skip("needs ../shared/data/bccd_voc")
    root, names = tmp_path / "cells", (BCCD / "ImageSets" / "Main" / "train.txt").read_text().split()[:8]
    for folder, ending in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        (root / folder).mkdir(parents=True)
        for name in names:
            shutil.copy(BCCD / folder / f"{name}.{ending}", root / folder)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    return root


def random_value(key: str, shape: tuple, model: str) -> np.ndarray:
    """The recipe's, but for the two-stage detectors' scores and the deepest body."""
    value = recipe.value(key, shape, SCALED_AS.get(model, MEASURED_AS.get(model, model)))
    if "cls_scores." in key:  # made for 80 classes: of three, the background would win always
        return value - value.mean(0) if value.ndim == 2 else np.zeros_like(value)
    if "rpn_cls." in key:  # the best proposals of the deepest body would all have a score near 1
        return 0.2 * value
    if model == "faster_rcnn_res2net152" and key.endswith("bn3.gamma"):  # its 50 blocks add up to too much
        return 0.2 * value
    return value


@pytest.fixture(scope="session")
def exported_recipe(tmp_path_factory):
    """exported_recipe(model, "onnx" | "mindir", *flags) -> path of the exported model, which knows the drawn classes.

    Its weights are the recipe's, so that its detections are many and no two scores agree.
    """
    def export(folder: Path, model: str, ending: str, *flags: str) -> None:
        import mindspore as ms

        detector = build_detector(load_config(["--model_name", model, *flags], "export"),
                                  ("circle", "rectangle", "triangle"))
        parameters = detector.network().parameters_dict()
        of_zoo = {detector.from_zoo(key): key for key, _, _ in Golden(MEASURED_AS.get(model, model)).parameters()}
        for name, parameter in parameters.items():
            parameter.set_data(ms.Tensor(random_value(of_zoo.get(name, name), parameter.shape, model)))
        checkpoint = folder / "random.ckpt"
        save_weights(checkpoint, parameters, model, detector.classes)
        done = FORKS.run([*command_line("export", {"model_name": model, "model_path": checkpoint, "result_path": folder,
                                                   "file_format": ending.upper()})[1:], *flags], folder)
        assert done.returncode == 0, done.stderr

    def exported(model: str, ending: str, *flags: str) -> Path:
        name = re.sub(r"\W+", "-", "-".join((model, ending, *flags)))  # MindSpore writes no file below other names
        folder = made_once(tmp_path_factory, name, lambda folder: export(folder, model, ending, *flags))
        (path,) = folder.glob(f"*.{ending}")
        return path

    return exported


@pytest.fixture(scope="session")
def trained(cli, drawn, tmp_path_factory) -> SimpleNamespace:
    """A run that is evaluated on the pictures it was trained on; `run`: its folder, `checkpoint`: its last."""
    flags = {**drawn.flags, **LEARN_BY_HEART, "val_data_type": "train2017", "eval_start_epoch": EPOCHS}

    def train(folder: Path) -> None:
        (folder / "cwd").mkdir()
        done = cli.call("train", folder / "cwd", **flags, output_path=folder / "cwd" / "run", run_eval=True,
                        save_checkpoint_epochs=EPOCHS)
        (folder / "done.json").write_text(json.dumps(vars(done), default=str))

    folder = made_once(tmp_path_factory, "trained", train)
    done = SimpleNamespace(**json.loads((folder / "done.json").read_text()))
    cwd, run = folder / "cwd", folder / "cwd" / "run"
    latest = run / "ckpt_0" / "latest.json"
    checkpoint = run / "ckpt_0" / json.loads(latest.read_text())["checkpoint"] if latest.exists() else None
    return SimpleNamespace(cwd=cwd, run=run, done=done, checkpoint=checkpoint, flags=flags, epochs=EPOCHS)


class Application:
    """ascend310_infer, built for the tests. engines: those built in."""

    def __init__(self, path: Path, engines: tuple):
        self.path = path
        self.engines = engines

    def __call__(self, cwd: Path, *arguments, **flags) -> subprocess.CompletedProcess:
        words = [*map(str, arguments), *(f"--{key}={value}" for key, value in flags.items())]
        return subprocess.run([self.path, *words], cwd=cwd, capture_output=True, text=True, timeout=500)


UNITY = "-DCMAKE_UNITY_BUILD=ON"    # all sources in one or two: reading the headers takes most of the time


def _build_application(folder: Path, engines: tuple, cmake_flags: str = "") -> Application:
    """Built in `folder`; skips the test where a compiler, CMake or a library's headers are missing."""
    if shutil.which("g++") is None:
        pytest.skip("the C++ application is not tested: no g++; `make cpp-deps` installs it")
    lite = folder / "lite" / "runtime"
    shutil.copytree(STAND_IN / "include", lite / "include")
    (lite / "lib").mkdir()
    subprocess.run(["g++", "-std=c++17", "-shared", "-fPIC", *_abi(engines), "-I", lite, STAND_IN / "stand_in.cc", "-o",
                    lite / "lib" / "libmindspore-lite.so"], check=True)
    shutil.copy(lite / "lib" / "libmindspore-lite.so", lite / "lib" / "libminddata-lite.so")
    environment = {**os.environ, "BUILD_DIR": str(folder / "out"), "LITE_HOME": str(folder / "lite"),
                   "PYTHON": sys.executable, "CMAKE_FLAGS": f"-DWITH_DVPP=ON {cmake_flags}"}
    done = subprocess.run(["bash", ROOT / "ascend310_infer" / "build.sh", *engines], env=environment,
                          capture_output=True, text=True)
    if "make cpp-deps" in done.stderr:
        pytest.skip(f"the C++ application is not tested: {' '.join(done.stderr.split())}")
    assert done.returncode == 0, done.stdout + done.stderr
    return Application(folder / "out" / "main", engines)


def _abi(engines: tuple) -> list:
    """Flags for the C++ ABI that OpenVINO makes the application have: the old one with its packages for Python 3.9.
    MindSpore Lite serves both, the stand-in one."""
    if "openvino" not in engines:
        return []
    folder = os.environ.get("OpenVINO_DIR")  # noqa: SIM112, CMake's spelling
    folder = folder or Path(importlib.util.find_spec("openvino").origin).parent / "cmake"
    config = (Path(folder) / "OpenVINOConfig.cmake").read_text(encoding="utf-8")
    found = re.search(r'set\(OpenVINO_GLIBCXX_USE_CXX11_ABI "(\d)"\)', config)
    return [f"-D_GLIBCXX_USE_CXX11_ABI={found[1]}"] if found else []


@pytest.fixture(scope="session")
def build_application():
    return _build_application


@pytest.fixture(scope="session")
def application(tmp_path_factory) -> Application:
    """With all engines that can be built here; mslite against a library of our own in the place of MindSpore Lite."""
    engines = ("mslite", "mindspore")
    if os.environ.get("OpenVINO_DIR") or importlib.util.find_spec("openvino"):  # noqa: SIM112
        engines += ("openvino",)
    folder = made_once(tmp_path_factory, "application", lambda folder: _build_application(folder, engines, UNITY))
    return Application(folder / "out" / "main", engines)
