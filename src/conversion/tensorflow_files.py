"""Constants out of TensorFlow's frozen graphs (.pb) and of TensorFlow.js models (model.json and its shards).

Formats: GraphDef in tensorflow/core/framework/graph.proto and its imports; "weightsManifest" of TensorFlow.js'
model.json.
"""
from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from src.checkpoint import DAMAGED
from src.errors import CheckpointError
from src.files import MAX_WEIGHT_BYTES, parse_json, read_file
from src.protobuf import BYTES, FIXED32, VARINT, fields

GRAPH_DTYPES = {1: "<f4", 2: "<f8", 19: "<f2"}  # DT_FLOAT, DT_DOUBLE, DT_HALF; other constants are no weights
TFJS_DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "?", "uint8": "u1"}
LARGEST_SPLAT = 2 ** 26  # numbers; far more than any layer has
EPS = 1e-3  # of the batch norms in TensorFlow's detectors with MobileNet
FOLDED_WEIGHT = "/Conv2D/merged_input"
FOLDED_SCALE, FOLDED_SHIFT = "/BatchNorm/batchnorm/mul", "/BatchNorm/batchnorm/sub"


def read_graph(path: Path) -> dict:
    """Floating-point constants by name; raises CheckpointError when the file is damaged or holds no frozen graph."""
    try:
        arrays: dict = {}
        for field in fields(memoryview(read_file(path, MAX_WEIGHT_BYTES))):
            if (field.number, field.kind) == (1, VARINT):
                raise CheckpointError(f"{path} is a SavedModel, which keeps its weights in another file; give a frozen "
                                      "graph (frozen_inference_graph.pb)")
            if (field.number, field.kind) == (1, BYTES):
                _add_constant(arrays, field.content)
    except DAMAGED as error:
        raise CheckpointError(f"{path} cannot be read as a TensorFlow graph ({path.stat().st_size} bytes): {error}. It "
                              "may be damaged; copy it again") from None
    return _with_norms(arrays, path)


def read_tfjs(path: Path) -> dict:
    """Arrays by name of the model.json at `path`; raises CheckpointError when it or a shard is damaged."""
    try:
        model = parse_json(read_file(path))
        arrays: dict = {}
        shards = [name for group in model["weightsManifest"] for name in group["paths"]]
        if len(set(shards)) != len(shards):
            raise ValueError("it names a shard twice")
        for group in model["weightsManifest"]:
            content = b"".join(_shard(path, name) for name in group["paths"])
            place = 0
            for weight in group["weights"]:
                array = _tfjs_array(weight, content, place)
                place += array.nbytes
                if arrays.setdefault(weight["name"], array) is not array:
                    raise ValueError(f"{weight['name']} is there twice")
            if place != len(content):
                raise ValueError(f"its shards have {len(content)} bytes, its weights {place}")
    except DAMAGED as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{path} cannot be read as a model of TensorFlow.js: {reason}. It may be damaged; copy "
                              "it and its shards again") from None
    return _with_norms(arrays, path)


def _shard(path: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise ValueError(f"its shard {name!r} is not beside it")
    return read_file(path.with_name(name), MAX_WEIGHT_BYTES)


def _tfjs_array(weight: dict, content: bytes, place: int) -> np.ndarray:
    if "quantization" in weight:
        raise ValueError(f"{weight['name']} is quantised; convert the model without quantisation")
    dtype, shape = np.dtype(TFJS_DTYPES[weight["dtype"]]), weight["shape"]
    if not isinstance(weight["name"], str) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{str(weight['name'])[:80]} has no shape")
    count = math.prod(shape)
    if place + count * dtype.itemsize > len(content):
        raise ValueError(f"{weight['name']} {tuple(shape)} does not fit into its shards")
    return np.frombuffer(content, dtype, count, place).reshape(shape)


def _add_constant(arrays: dict, node: memoryview) -> None:
    """Put the tensor of a NodeDef (1 name, 2 op, 5 attr) into `arrays` when it is a constant of numbers."""
    name, op, tensor = "", "", None
    for number, kind, _, content in fields(node):
        if (number, kind) == (1, BYTES):
            name = bytes(content).decode()
        elif (number, kind) == (2, BYTES):
            op = bytes(content).decode()
        elif (number, kind) == (5, BYTES):
            entry = {field.number: field.content for field in fields(content)}  # 1 key, 2 value
            if bytes(entry.get(1, b"")) == b"value" and 2 in entry:
                tensor = next((field.content for field in fields(entry[2]) if field.number == 8), None)
    array = None if op != "Const" or tensor is None else _tensor(tensor, name)
    if array is not None:
        if name in arrays:
            raise ValueError(f"{name} is there twice")
        arrays[name] = array


def _tensor(message: memoryview, name: str) -> np.ndarray | None:
    """A TensorProto (1 dtype, 2 shape, 4 content, 5 floats); None when it does not hold numbers of GRAPH_DTYPES."""
    dtype, shape, numbers, floats = 0, [], memoryview(b""), bytearray()
    for number, kind, integer, content in fields(message):
        if number == 1:
            dtype = integer
        elif number == 2:
            shape = [_side(field.content) for field in fields(content) if field.number == 2]
        elif number == 4:
            numbers = content
        elif number == 5 and kind in (BYTES, FIXED32):
            floats += content
    if dtype not in GRAPH_DTYPES:
        return None
    flat = np.frombuffer(numbers, GRAPH_DTYPES[dtype]) if len(numbers) else np.frombuffer(floats, "<f4")
    if flat.size == 1:  # stands for as many equal numbers as the shape asks for
        if math.prod(shape) > LARGEST_SPLAT:
            raise ValueError(f"{name[:200]} has one number for the shape {tuple(shape)}")
        return np.broadcast_to(flat[0], shape)
    if flat.size != math.prod(shape):
        raise ValueError(f"{name[:200]} has {flat.size} numbers for the shape {tuple(shape)}")
    return flat.reshape(shape)


def _side(dimension: memoryview) -> int:
    size = next((field.integer for field in fields(dimension) if field.number == 1), 0)
    if size >= 2 ** 40:
        raise ValueError(f"a shape has the side {size}")
    return size


def _with_norms(arrays: dict, path: Path) -> dict:
    """The arrays of a graph with the batch norms written out where they were folded into a factor and a shift."""
    result = {}
    for name, array in arrays.items():
        layer = name[:name.rfind("/BatchNorm")] if name.endswith((FOLDED_SHIFT, FOLDED_SCALE)) else ""
        if name.endswith(FOLDED_WEIGHT):
            result[name[:-len(FOLDED_WEIGHT)] + "/weights"] = array
        elif not layer or f"{layer}/BatchNorm/gamma" in arrays:
            result[name] = array
        elif name.endswith(FOLDED_SHIFT):
            # A variance that is 1 together with epsilon, so that the norm multiplies by gamma and adds beta alone.
            ones = np.broadcast_to(np.float32(1), array.shape)
            result[f"{layer}/BatchNorm/gamma"] = arrays.get(layer + FOLDED_SCALE, ones)
            result[f"{layer}/BatchNorm/beta"] = array
            result[f"{layer}/BatchNorm/moving_mean"] = np.broadcast_to(np.float32(0), array.shape)
            result[f"{layer}/BatchNorm/moving_variance"] = np.broadcast_to(np.float32(1 - EPS), array.shape)
    if not result:
        raise CheckpointError(f"{path} holds no weights")
    return result
