"""Images -> detections, for every kind of model file: checkpoint, MindIR, ONNX or OpenVINO's IR."""
from __future__ import annotations

import contextlib
import io
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Hashable, Iterable, Iterator, NamedTuple, Optional, Protocol, Sequence, Union

import numpy as np

from src.abort_notice import named_if_aborted
from src.errors import CheckpointError, ImageError, UsageError
from src.ops.detections import Detections
from src.ops.nms import suppress_across_classes

IMAGES_AHEAD = 16
ONNX_PROVIDERS = {"CPU": "CPUExecutionProvider", "GPU": "CUDAExecutionProvider", "Ascend": "CANNExecutionProvider"}
# numpy's names of types: the engines' names
TYPE_NAMES = {"float32": ("float", "f32"), "uint8": ("uint8", "u8")}
ANOTHER_COPY = "copy it again, or export it again"
Runner = Callable[..., list]  # the input arrays, first images (B, 3, H, W) float32 -> the output arrays


class DetectionStream(Protocol):
    """The interface for `predict_dataset`: a Predictor, or stored results of a network."""

    def stream(self, items: Iterable[tuple[Hashable, Any]], read: Callable[[Any], np.ndarray],
               workers: int) -> Iterator[tuple[Any, Detections]]:
        """See `Predictor.stream`."""


@dataclass
class Timing:
    """Seconds, summed over images. Images are read while the network runs; only waiting for them counts as reading."""

    images: int = 0
    waited: float = 0.0
    network: float = 0.0
    postprocess: float = 0.0

    @property
    def ms_per_image(self) -> float:
        return 1000 * (self.waited + self.network + self.postprocess) / max(self.images, 1)


@dataclass
class _Pending:
    """An image in progress: the geometry of each view, and the outputs of the finished views."""

    key: Hashable
    geometries: list
    outputs: list = field(default_factory=list)


class NotFinite(NamedTuple):
    """What a network gave for an image instead of numbers: how many of an output's are NaN or infinity."""

    output: int
    wrong: int
    size: int

    def __str__(self) -> str:
        return (f"{self.wrong} of the {self.size} numbers of the network's output {self.output} are not finite (NaN or "
                "infinity); the model file is damaged, or its training diverged: give another one")


class Predictor:
    """Runs a detector image by image or in batches.

    detector: the family's detector; `views`, `further_inputs` and `postprocess_views` are used.
    run: arrays of the detector's input_names, the first (B, 3, H, W) float32 -> arrays of output_names.
    batch_size: images per `run`, which is compiled for each shape; a smaller batch is padded.
    one_shape: `run` takes only the detector's input_size (exported files).
    agnostic_nms: IoU above which boxes suppress those of other classes, too; None = they do not.
    images_ahead: images that are prepared while the network runs.
    """

    def __init__(self, detector: Any, run: Runner, batch_size: int = 1, one_shape: bool = False,
                 agnostic_nms: Optional[float] = None, images_ahead: int = IMAGES_AHEAD):
        self.detector = detector
        self.run = run
        self.batch_size = batch_size
        self.one_shape = one_shape
        self.agnostic_nms = agnostic_nms
        self.images_ahead = images_ahead
        self.timing = Timing()

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Decoded images (h, w, 3) uint8 RGB -> their Detections."""
        return [detections for _, detections in self.stream(list(enumerate(images)), lambda image: image, workers=1)]

    def stream(self, items: Iterable[tuple[Hashable, Any]], read: Callable[[Any], np.ndarray], workers: int,
               unreadable: Optional[Callable[[Any, ImageError], None]] = None,
               called: Callable[[Any], str] = "image {}".format) -> Iterator[tuple[Any, Detections]]:
        """Yield (key, Detections) for (key, source) items in order; `read(source)` returns the decoded image.

        Images are read and prepared by `workers` threads while the network runs.
        unreadable: called with the key and the ImageError of an image that cannot be read, or for which the network
        returns NaN or infinity; None = raise the error. called: key -> what messages call the image.
        """
        def answers(batch: list) -> Iterator[tuple[Any, Detections]]:
            for key, found in self._detect(batch):
                if not isinstance(found, NotFinite):
                    yield key, found
                elif unreadable is None:
                    raise ImageError(f"{called(key)}: {found}")
                else:
                    unreadable(key, ImageError(f"{called(key)}: {found}"))

        def prepare(source: Any) -> list:
            return self.detector.views(read(source), one_shape=self.one_shape)

        with ThreadPoolExecutor(workers) as pool:
            waiting: deque = deque()
            batch: list = []
            items = iter(items)
            while True:
                for key, source in items:
                    waiting.append((key, pool.submit(prepare, source)))
                    if len(waiting) >= self.images_ahead:
                        break
                if not waiting:
                    break
                key, future = waiting.popleft()
                started = time.perf_counter()
                try:
                    views = future.result()
                except ImageError as error:
                    if unreadable is None:
                        raise
                    unreadable(key, error)
                    continue
                self.timing.waited += time.perf_counter() - started
                pending = _Pending(key, [geometry for _, geometry in views])
                for array, geometry in views:
                    if batch and array.shape != batch[0][1][0].shape:
                        yield from answers(batch)
                        batch = []
                    batch.append((pending, (array, *self.detector.further_inputs(geometry))))
                    if len(batch) == self.batch_size:
                        yield from answers(batch)
                        batch = []
            if batch:
                yield from answers(batch)

    def _detect(self, batch: list) -> list:
        """Run (_Pending, its input arrays) pairs; yields (key, Detections or NotFinite) of the images that are now
        complete."""
        started = time.perf_counter()
        rows = [arrays for _, arrays in batch]
        rows += rows[-1:] * (self.batch_size - len(batch))
        outputs = self.run(*map(np.stack, zip(*rows)))
        finished = time.perf_counter()
        found = []
        for index, (pending, _) in enumerate(batch):
            pending.outputs.append([output[index] for output in outputs])
            if len(pending.outputs) == len(pending.geometries):
                found.append((pending.key, self._decode(pending)))
        self.timing.images += len(found)
        self.timing.network += finished - started
        self.timing.postprocess += time.perf_counter() - finished
        return found

    def _decode(self, pending: _Pending) -> Union[Detections, NotFinite]:
        """Decoding would silently make fewer detections of NaN: nothing compares with it."""
        for view in pending.outputs:
            for number, output in enumerate(view):
                wrong = np.count_nonzero(~np.isfinite(output))
                if wrong:
                    return NotFinite(number, wrong, output.size)
        detections = self.detector.postprocess_views(pending.outputs, pending.geometries)
        return detections if self.agnostic_nms is None else suppress_across_classes(detections, self.agnostic_nms)


def network_runner(inference: Any) -> Runner:
    """Make a Runner of a Cell that is compiled on its first call."""
    compiled = _compiled(inference)

    def run(*inputs: np.ndarray) -> list:
        inference.set_train(False)  # a training in between may have set the other mode
        return compiled(*inputs)

    return run


def mindir_runner(path: Path) -> Runner:
    """Make a Runner of an exported .mindir file. It is compiled on its first call."""
    import mindspore as ms
    from mindspore import nn

    with _opening(path, "MindSpore", "loaded as MindIR"):
        call = _compiled(nn.GraphCell(ms.load(str(path))))
    return _named(call, path, "MindSpore")


def _named(call: Runner, path: Path, library: str) -> Runner:
    """`call`, whose errors name the model file."""
    def run(*inputs: np.ndarray) -> list:
        with _opening(path, library, f"run by {library}"):
            return call(*inputs)

    return run


@contextlib.contextmanager
def _opening(path: Path, library: str, done: str) -> Iterator[None]:
    """Whatever the library raises, or does to the process, names the model file. done: as in "cannot be loaded"."""
    try:
        with named_if_aborted(f"{library} read {path}", ANOTHER_COPY):
            yield
    except Exception as error:  # onnxruntime's exceptions share no base class; MindSpore raises those of Python
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[-1] if library == "OpenVINO" else lines[0]) if lines else type(error).__name__
        raise CheckpointError(f"{path} cannot be {done}: {reason}. If the file is damaged: {ANOTHER_COPY}") from error


def _compiled(network: Any) -> Runner:
    """Run a Cell on arrays.

    On a CPU, MindSpore 2.8 may run a graph without a branch on the calling thread, which then spins on cores that the
    worker threads need: Mask R-CNN takes 25 % longer on two cores, and ten times as long on one. A graph with a branch,
    even an unused one, runs on a worker thread.
    """
    import mindspore as ms
    from mindspore import ops

    on_cpu = ms.get_context("device_target") == "CPU"

    @ms.jit
    def call(never, *inputs):  # type: ignore[no-untyped-def]  # the graph compiler reads this source
        outputs = network(*inputs)
        if on_cpu and never:
            never = ops.logical_not(never)
        return outputs, never

    never = ms.Tensor(False)

    def run(*inputs: np.ndarray) -> list:
        outputs, _ = call(never, *map(ms.Tensor, inputs))
        return [output.asnumpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run


class OpenedModel(NamedTuple):
    """An opened .onnx or .xml file, and the shapes of its inputs, the first (B, 3, H, W).

    A side that the file leaves open has a name or None in the place of its length.
    """

    run: Runner
    input_shapes: list[tuple[Any, ...]]


def onnx_runner(path: Path, device_target: str = "CPU", image_type: str = "float32",
                threads: Optional[int] = None) -> OpenedModel:
    """Open an .onnx file with onnxruntime; raises UsageError if onnxruntime cannot use the device.

    image_type: numpy's name of the type of the images that will be given, else CheckpointError.
    threads: of an operator; None leaves the number to onnxruntime.
    """
    import onnxruntime

    provider = ONNX_PROVIDERS[device_target]
    if provider not in onnxruntime.get_available_providers():
        raise UsageError(f"onnxruntime {onnxruntime.__version__} cannot run {path} on a {device_target} (it has no "
                         f"{provider}); install its build for this device or give --device_target CPU")
    with _opening(path, "onnxruntime", "loaded as ONNX"), contextlib.redirect_stdout(io.StringIO()):
        # What it prints is that it tries the same provider again.
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    model_inputs = session.get_inputs()
    _check_type(path, model_inputs[0].type.removeprefix("tensor").strip("()"), image_type)

    def run(*inputs: np.ndarray) -> list:
        return session.run(None, {model_input.name: array for model_input, array in zip(model_inputs, inputs)})

    return OpenedModel(_named(run, path, "onnxruntime"), [tuple(model_input.shape) for model_input in model_inputs])


def _check_type(path: Path, taken: str, given: str) -> None:
    """Raises CheckpointError unless a model takes images of the type that it will be given."""
    if taken in TYPE_NAMES[given]:
        return
    advice = (f"its description file {path.with_suffix('.json').name}, which says how it is run, is missing: copy it "
              "from where the model was exported" if taken in TYPE_NAMES["uint8"] else f"export it in {given}")
    raise CheckpointError(f"{path} takes {taken} images, and is given {given} here; {advice}")


def openvino_runner(path: Path, precision: str = "f32", image_type: str = "float32",
                    threads: Optional[int] = None) -> OpenedModel:
    """Open an .onnx or .xml file with OpenVINO, on the CPU.

    precision: f32 or bf16, in which it computes; inputs and outputs are float32.
    image_type, threads: as for `onnx_runner`.
    Raises UsageError without OpenVINO, or if the processor has no bf16, where OpenVINO would silently take float32.
    """
    try:
        import openvino
    except ModuleNotFoundError:
        raise UsageError(f"{path} needs OpenVINO to run, which is not installed: pip install openvino; an .onnx file "
                         "also runs with --engine onnxruntime") from None
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UsageError(f"this processor ({core.get_property('CPU', 'FULL_DEVICE_NAME').strip()}) does not compute in "
                         "bf16; leave --precision_mode out")
    with _opening(path, "OpenVINO", "loaded by OpenVINO"):
        compiled = core.compile_model(str(path), "CPU", {
            "INFERENCE_PRECISION_HINT": precision, **({} if threads is None else {"INFERENCE_NUM_THREADS": threads})})
    _check_type(path, compiled.inputs[0].element_type.get_type_name(), image_type)

    def run(*inputs: np.ndarray) -> list:
        return list(compiled(list(inputs)).to_tuple())

    return OpenedModel(_named(run, path, "OpenVINO"), [
        tuple(side.get_length() if side.is_static else None for side in model_input.partial_shape)
        for model_input in compiled.inputs])
