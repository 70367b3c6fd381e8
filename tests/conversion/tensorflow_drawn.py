"""Drawn weights of TensorFlow's ssdlite_mobilenet_v2 and the files that hold them: a frozen graph, TensorFlow.js."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FEATURES = "FeatureExtractor/MobilenetV2"
# Of the paper's table 2, for each block after the first: channels in, expanded, and out.
BLOCKS = ((16, 96, 24), (24, 144, 24), (24, 144, 32), (32, 192, 32), (32, 192, 32), (32, 192, 64), (64, 384, 64),
          (64, 384, 64), (64, 384, 64), (64, 384, 96), (96, 576, 96), (96, 576, 96), (96, 576, 160), (160, 960, 160),
          (160, 960, 160), (160, 960, 320))
EXTRAS = ((1280, 512), (512, 256), (256, 256), (256, 128))
MAPS, BOXES = (576, 1280, 512, 256, 256, 128), (3, 6, 6, 6, 6, 6)
EPS = 1e-3


def drawn_layers() -> dict:
    """{layer: shape of its weights, height, width, channels in, channels out}; depthwise ones have 1 at the end."""
    layers = {f"{FEATURES}/Conv": (3, 3, 3, 32), f"{FEATURES}/expanded_conv/depthwise": (3, 3, 32, 1),
              f"{FEATURES}/expanded_conv/project": (1, 1, 32, 16)}
    for number, (before, hidden, after) in enumerate(BLOCKS, start=1):
        block = f"{FEATURES}/expanded_conv_{number}"
        layers.update({f"{block}/expand": (1, 1, before, hidden), f"{block}/depthwise": (3, 3, hidden, 1),
                       f"{block}/project": (1, 1, hidden, after)})
    layers[f"{FEATURES}/Conv_1"] = (1, 1, 320, 1280)
    for number, (before, after) in enumerate(EXTRAS, start=2):
        last = f"{FEATURES}/layer_19_2_Conv2d_{number}_3x3_s2_{after}"
        layers.update({f"{FEATURES}/layer_19_1_Conv2d_{number}_1x1_{after // 2}": (1, 1, before, after // 2),
                       f"{last}_depthwise": (3, 3, after // 2, 1), last: (1, 1, after // 2, after)})
    for level, channels in enumerate(MAPS):
        for kind in ("BoxEncoding", "Class"):
            layers[f"BoxPredictor_{level}/{kind}Predictor_depthwise"] = (3, 3, channels, 1)
    return layers


def drawn_weights(outputs: int = 91) -> dict:
    """Arrays by TensorFlow's names, as an unfolded graph has them."""
    rng, arrays = np.random.default_rng(0), {"Preprocessor/mul/x": np.float32(2 / 255).reshape(())}
    for layer, shape in drawn_layers().items():
        channels, word = (shape[2], "depthwise_weights") if shape[3] == 1 else (shape[3], "weights")
        arrays[f"{layer}/{word}"] = rng.standard_normal(shape, np.float32)
        arrays[f"{layer}/BatchNorm/gamma"] = rng.random(channels, np.float32) + 0.5
        arrays[f"{layer}/BatchNorm/beta"] = rng.standard_normal(channels, np.float32)
        arrays[f"{layer}/BatchNorm/moving_mean"] = rng.standard_normal(channels, np.float32)
        arrays[f"{layer}/BatchNorm/moving_variance"] = rng.random(channels, np.float32) + 0.5
    for level, (channels, boxes) in enumerate(zip(MAPS, BOXES)):
        for kind, count in (("BoxEncoding", 4), ("Class", outputs)):
            predictor = f"BoxPredictor_{level}/{kind}Predictor"
            arrays[f"{predictor}/weights"] = rng.standard_normal((1, 1, channels, boxes * count), np.float32)
            arrays[f"{predictor}/biases"] = rng.standard_normal(boxes * count, np.float32)
    return arrays


def folded(arrays: dict) -> dict:
    """The same with the norms of FEATURES folded as TensorFlow.js does: into the weights and a shift; depthwise
    layers keep a factor."""
    result = dict(arrays)
    for layer, shape in drawn_layers().items():
        if layer.startswith(FEATURES):
            norm = f"{layer}/BatchNorm"
            gamma, beta, mean, variance = (result.pop(f"{norm}/{word}") for word in
                                           ("gamma", "beta", "moving_mean", "moving_variance"))
            factor = gamma / np.sqrt(variance + EPS)
            result[f"{norm}/batchnorm/sub"] = beta - mean * factor
            if shape[3] == 1:
                result[f"{norm}/batchnorm/mul"] = factor
            else:
                result[f"{layer}/Conv2D/merged_input"] = result.pop(f"{layer}/weights") * factor
    return result


def graph_file(path: Path, arrays: dict) -> Path:
    """A frozen graph with these constants and a node that is none."""
    path.write_bytes(field(1, field(1, b"image_tensor") + field(2, b"Placeholder")) + b"".join(
        constant(name, array) for name, array in arrays.items()) + field(4, b"\x08\x01"))
    return path


def constant(name: str, array: np.ndarray, shape=None) -> bytes:
    """A node of a GraphDef."""
    sides = b"".join(field(2, b"\x08" + varint(side)) for side in (array.shape if shape is None else shape))
    tensor = b"\x08\x01" + field(2, sides) + field(4, array.astype("<f4").tobytes())
    value = field(1, b"value") + field(2, field(8, tensor))
    return field(1, field(1, name.encode()) + field(2, b"Const") + field(5, value))


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def tfjs_folder(folder: Path, arrays: dict, **changes) -> Path:
    """model.json and two shards; changes: of the one group of weights."""
    content = b"".join(array.astype("<f4").tobytes() for array in arrays.values())
    half = len(content) // 8 * 4
    group = {"paths": ["group1-shard1of2", "group1-shard2of2"],
             "weights": [{"name": name, "shape": list(array.shape), "dtype": "float32"}
                         for name, array in arrays.items()], **changes}
    folder.mkdir(exist_ok=True)
    (folder / "group1-shard1of2").write_bytes(content[:half])
    (folder / "group1-shard2of2").write_bytes(content[half:])
    (folder / "model.json").write_text(json.dumps({"modelTopology": {}, "weightsManifest": [group]}))
    return folder / "model.json"
