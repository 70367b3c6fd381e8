"""Checkpoints: weights, and the state for an exact resume.

A folder holds <prefix>-<epoch>_<step>.ckpt, the same name with .state.npz, and latest.json. Every file is written under
a new name, flushed, read back, compared and renamed. latest.json is replaced last, so it always names a complete pair.
`load_weights` is used instead of MindSpore's `load_param_into_net`, which ignores missing parameters and guesses
prefixes.
"""
from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import re
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional

import numpy as np

from src.abort_notice import named_if_aborted
from src.errors import CheckpointError, TrainingError, UsageError
from src.files import open_input, parse_json, read_file, write_file
from src.printable import counted
from src.protobuf import BYTES, fields

POINTER = "latest.json"
CHECKSUM, CHECKSUM_BYTES = b"crc_num", 17
RESUME = "the checkpoint before it is complete: make room and continue with --resume"
BEGIN_AGAIN = "there is no checkpoint before it: make room and start the run again"
COPY_AGAIN = "copy the file again"
BEST = "best_map.ckpt"  # of the evaluations while training
FIT_ADVICE = "Give the checkpoint's own model and classes, or for transfer training --filter_weight True"
# Exceptions from reading a damaged checkpoint, npz or json file.
DAMAGED = (OSError, AttributeError, SystemError, ValueError, KeyError, EOFError, TypeError, OverflowError, MemoryError,
           RuntimeError, SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error)
# Entries of the old zoo's files that are not weights: optimizer, loss scale, step counters.
_OPTIMIZER_STATE = re.compile(r"(^|\.)(moments|moment1|moment2|accum|stat|accumulation)\.|"
                              r"(^|\.)(global_step|learning_rate|momentum|scale_sense|loss_scale|beta1_power|"
                              r"beta2_power|current_iterator_step|last_overflow_iterator_step)$")


@dataclass(frozen=True)
class Weights:
    """The content of a checkpoint: arrays by parameter name, and the file's description of itself.

    conditions: {setting: value} that the weights were trained with, and are wrong without; see Detector.conditions.
    note: what was chosen in a file that holds more than weights, or names them otherwise.
    """

    arrays: dict
    path: Path
    model_name: Optional[str] = None
    classes: Optional[tuple] = None
    conditions: dict = field(default_factory=dict)
    note: str = ""


def read_weights(path) -> Weights:
    """Read a .ckpt; raises UsageError if it does not exist, CheckpointError if it is damaged."""
    import mindspore as ms

    path = Path(path)
    if not os.path.isfile(path):
        raise UsageError(f"checkpoint {path} does not exist; give the path of a .ckpt file")
    try:
        with named_if_aborted(f"MindSpore read {path}", COPY_AGAIN):
            content = ms.load_checkpoint(str(path), crc_check=True)
        about = {name: value for name, value in content.items() if isinstance(value, str)}
        arrays = {name: value.asnumpy() for name, value in content.items() if hasattr(value, "asnumpy")}
        if "parameter_count" in about and about["parameter_count"] != str(len(arrays)):
            raise ValueError(f"{len(arrays)} of {about['parameter_count']} parameters are there.")
        if "parameter_count" in about and not _ends_in_check_sum(path):
            raise ValueError("its check sum is missing.")
        return Weights(arrays, path, *parse_statements(about))
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or ["unknown format"])[0]
        raise CheckpointError(f"{path} cannot be read as a MindSpore checkpoint ({path.stat().st_size} bytes): "
                              f"{reason} It may be damaged or of another format; {COPY_AGAIN}") from None


def _ends_in_check_sum(path: Path) -> bool:
    """Raises if the check sum is missing: MindSpore compares it, but only warns if it was cut off."""
    with open_input(path) as file:
        file.seek(-min(CHECKSUM_BYTES, path.stat().st_size), os.SEEK_END)
        return file.read(len(CHECKSUM)) == CHECKSUM


class Statements(NamedTuple):
    """What a model file says about itself; see Weights."""

    model_name: Optional[str] = None
    classes: Optional[tuple[str, ...]] = None
    conditions: dict = {}


def parse_statements(texts: dict) -> Statements:
    """The Statements in the texts that `save_weights` writes; raises ValueError where they are something else."""
    classes = parse_json(texts["classes"]) if "classes" in texts else None
    if classes is not None and not is_list_of_names(classes):
        raise ValueError("its class names are not a list of texts.")
    conditions = parse_json(texts.get("conditions", "{}"))
    if not isinstance(conditions, dict):
        raise ValueError("its conditions are not a dictionary.")
    return Statements(texts.get("model_name"), None if classes is None else tuple(classes), conditions)


def read_statements(path: Path) -> Statements:
    """What a .ckpt says about itself, without its weights and without MindSpore, whose import takes seconds.

    Nothing of a file that is damaged; `read_weights` says how.
    Format: Checkpoint in mindspore/ccsrc/utils/checkpoint.proto: 1 value {1 tag, 2 tensor {2 type, 3 content}},
    where a text has four bytes a letter.
    """
    try:
        return parse_statements({name: str(content, "utf-32-le") for name, kind, content in _entries(path)
                                 if kind == b"str"})
    except DAMAGED:
        return Statements()


def read_names(path: Path) -> list[str]:
    """The names of the weights in a .ckpt, without those of the optimizer's state and without MindSpore.

    Empty for a file that is damaged, or none.
    """
    try:
        return [name for name, kind, _ in _entries(path) if kind != b"str" and not is_optimizer_state(name)]
    except DAMAGED:
        return []


def _entries(path: Path) -> Iterator[tuple[str, memoryview, memoryview]]:
    """(name, type, content) of everything in a .ckpt; raises one of DAMAGED."""
    with open_input(path) as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    for entry in fields(whole[:_end_of_message(whole)]):
        value = {field.number: field.content for field in fields(entry.content) if field.kind == BYTES}
        tensor = {field.number: field.content for field in fields(value[2]) if field.kind == BYTES}
        yield str(value[1], "utf-8"), tensor[2], tensor[3]


def _end_of_message(content: memoryview) -> int:
    """Where the check sum begins that MindSpore writes behind the message."""
    return len(content) - CHECKSUM_BYTES if content[-CHECKSUM_BYTES:].tobytes().startswith(CHECKSUM) else len(content)


def checkpoint_of_run(folder: Path) -> Optional[Path]:
    """The best checkpoint of a run folder (or of its ckpt_0), else the latest; None if there is none."""
    for place in (folder, folder / "ckpt_0"):
        if (place / BEST).is_file():
            return place / BEST
        if (place / POINTER).is_file():
            return place / read_pointer(place)["checkpoint"]
    return None


def read_pointer(folder: Path) -> dict:
    """The file names of the latest pair: "checkpoint" and "state". Raises CheckpointError where they cannot be read."""
    try:
        content = parse_json(read_file(folder / POINTER))
        names = {name: content[name] for name in ("checkpoint", "state")}
        if not is_list_of_names(list(names.values())):
            raise ValueError(f"{names} are not file names")
        return names
    except FileNotFoundError as error:
        raise _nothing_to_resume(error) from None
    except DAMAGED as error:
        raise _unreadable_state(folder, error) from None


def _nothing_to_resume(error: FileNotFoundError) -> CheckpointError:
    return CheckpointError(f"nothing to resume: {error.filename} does not exist; start without --resume")


def _unreadable_state(folder: Path, error: Exception, name: str = "") -> CheckpointError:
    return CheckpointError(f"the state {name and name + ' '}that {folder / POINTER} names cannot be read: {error}; "
                           "start without --resume, or with --pre_trained from one of the checkpoints beside it")


def is_list_of_names(value) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def load_weights(network, weights: Weights, from_zoo: Callable[[str], Optional[str]],
                 may_be_missing: Iterable[str] = (), only: Iterable[str] = ("",), advice: str = FIT_ADVICE) -> list:
    """Load the arrays into the parameters of `network`, by exact name and shape.

    from_zoo: names of the old zoo -> ours, used when the file has none of our names. may_be_missing: beginnings of
    names that keep their initial value and are skipped in the file (a replaced head). only: beginnings of the names
    that are loaded at all. Returns the names left at their initial value.
    Raises CheckpointError with both lists, and the advice, when a parameter is missing, unknown or of another shape.
    """
    from mindspore import Tensor

    arrays = _renamed(weights.arrays, {parameter.name for parameter in network.get_parameters()}, from_zoo)
    skipped = tuple(may_be_missing)
    missing, wrong, kept, found = [], [], [], []
    for parameter in network.get_parameters():
        name = parameter.name
        if name.startswith(skipped) or not name.startswith(tuple(only)):
            kept.append(name)
        elif name not in arrays:
            missing.append(name)
        elif arrays[name].shape != tuple(parameter.shape):
            wrong.append(f"{name}: file {arrays[name].shape}, network {tuple(parameter.shape)}")
        else:
            found.append(parameter)
    known = {parameter.name for parameter in network.get_parameters()}
    unknown = [name for name in arrays if name not in known and not name.startswith(skipped)]
    if missing or wrong or unknown:
        raise CheckpointError(mismatch(weights, missing, wrong, unknown, advice))
    require_finite(weights.path, {parameter.name: arrays[parameter.name] for parameter in found})
    for parameter in found:
        parameter.set_data(Tensor(arrays[parameter.name].astype(parameter.asnumpy().dtype)))
    return kept


def _renamed(arrays: dict, known: set, from_zoo: Callable) -> dict:
    if any(name in known for name in arrays):
        return {name: array for name, array in arrays.items() if not is_optimizer_state(name)}
    return {from_zoo(name) or name: array for name, array in arrays.items() if not is_optimizer_state(name)}


def require_finite(path, arrays: dict) -> None:
    """Raises CheckpointError that names the first of the arrays {name: array} with NaN or infinity."""
    for name, array in arrays.items():
        count = np.count_nonzero(~np.isfinite(array))
        if count:
            raise CheckpointError(f"{path}: {count} of the {array.size} numbers of {name} are not finite (NaN or "
                                  "infinity), so the network would find nothing; give an earlier checkpoint")


def is_optimizer_state(name: str) -> bool:
    """Whether an array in a zoo checkpoint, by its name, is not a weight."""
    return _OPTIMIZER_STATE.search(name) is not None


def mismatch(weights: Weights, missing: list, wrong: list, unknown: list, advice: str) -> str:
    """The message for a file whose names or shapes differ from the network's."""
    def listed(title, names):
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"\n  {title}: {'; '.join(names[:5])}{more}" if names else ""

    origin = f" (written for model {weights.model_name} with {counted(len(weights.classes or ()), 'class')})" \
        if weights.model_name else ""
    return (f"{weights.path}{origin} does not fit the network:" + listed("missing in the file", missing)
            + listed("of another shape", wrong) + listed("unknown to the network", unknown)
            + f"\n  {advice}")


def save_weights(path: Path, parameters: dict, model_name: str, classes: Iterable[str],
                 conditions: Optional[dict] = None, way_out: str = "make room or write it elsewhere") -> None:
    """Write parameters by name as a checkpoint: under a new name, flushed, compared, renamed to `path`.

    conditions: see Weights. way_out: what the message says when this fails.
    Raises TrainingError when the file cannot be written.
    """
    import mindspore as ms

    about = {"parameter_count": str(len(parameters)), "model_name": model_name, "classes": json.dumps(list(classes)),
             "conditions": json.dumps(conditions or {})}
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.ckpt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        # In this order, and not as the object to save, which comes first: a file that is cut off between two entries
        # is a whole one to MindSpore, and has to say how many parameters there were.
        ms.save_checkpoint([], str(unfinished), crc_check=True, append_dict={**about, **parameters})
        _flush(unfinished)
        written = ms.load_checkpoint(str(unfinished), crc_check=True)
        for name, parameter in parameters.items():
            if not np.array_equal(written[name].asnumpy(), parameter.asnumpy(), equal_nan=True):
                raise OSError(f"{name} reads back differently")
        os.replace(unfinished, path)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise TrainingError(_not_saved(path, error, way_out)) from error
    finally:
        for leftover in (unfinished, unfinished.with_suffix(".tmp")):  # the second is what MindSpore writes to
            with contextlib.suppress(OSError):  # a disk that can only be read has the error above
                leftover.unlink()


class CheckpointFolder:
    """The checkpoints of one rank."""

    def __init__(self, folder: Path, prefix: str, keep: int):
        self.folder = folder
        self.prefix = prefix
        self.keep = keep

    def save(self, parameters: dict, state: dict, position: dict, model_name: str, classes,
             conditions: Optional[dict] = None) -> Path:
        """Save weights and state (arrays by name) at `position` ({"epoch", "step", ...}) and make them the latest.

        conditions: see Weights.
        """
        stem = f"{self.prefix}-{position['epoch']}_{position['step']}"
        path = self.folder / f"{stem}.ckpt"
        save_weights(path, parameters, model_name, classes, conditions, way_out=self._way_out())
        state_path = self.folder / f"{stem}.state.npz"
        packed = io.BytesIO()  # in memory first: on a full disk, closing the archive would fail a second time
        np.savez(packed, __position__=np.array(json.dumps(position)), **state)
        self._write(state_path, packed.getvalue())
        pointer = json.dumps({"checkpoint": path.name, "state": state_path.name, **position}, indent=1)
        self._write(self.folder / POINTER, pointer)
        self._prune(stem)
        return path

    def latest(self) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]]:
        """(path of the weights, state arrays, position) of the latest complete pair.

        Raises CheckpointError when there is none or it is damaged.
        """
        names = read_pointer(self.folder)
        try:
            with open_input(self.folder / names["state"]) as stored, np.load(stored, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
            position = parse_json(str(state.pop("__position__")))
        except FileNotFoundError as error:
            raise _nothing_to_resume(error) from None
        except DAMAGED as error:
            raise _unreadable_state(self.folder, error, names["state"]) from None
        return self.folder / names["checkpoint"], state, position

    def _write(self, path: Path, content) -> None:
        try:
            write_file(path, content)
        except OSError as error:
            raise TrainingError(_not_saved(path, error, self._way_out())) from error

    def _way_out(self) -> str:
        return RESUME if (self.folder / POINTER).exists() else BEGIN_AGAIN

    def _prune(self, newest: str) -> None:
        paths = sorted(self.folder.glob(f"{self.prefix}-*_*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
        others = [path for path in paths if path.stem != newest]
        for path in others[:max(0, len(others) - self.keep + 1)]:
            path.unlink(missing_ok=True)
        for unfinished in self.folder.glob(f".{self.prefix}-*"):  # of a process that was killed while it wrote
            unfinished.unlink(missing_ok=True)
        for state in self.folder.glob(f"{self.prefix}-*_*.state.npz"):
            if state.name != f"{newest}.state.npz":  # a state serves to resume, and only the latest is resumed
                state.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    path.chmod(0o644)  # MindSpore leaves the file readable for its owner only
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _not_saved(path: Path, error: Exception, way_out: str) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{path} could not be saved: {reason}; {way_out}"
