"""Targets, transforms and the start of a training, with numbers by hand."""
from __future__ import annotations

import numpy as np
import pytest
from centernet_family import as_sample, detector_of
from mindspore import Tensor

from src.centernet.legacy import zoo_cells
from src.centernet.loss import heatmap_loss
from src.centernet.network import UpSampling
from src.centernet.targets import TargetEncoder
from src.centernet.transforms import Window, padded_window, random_window, shifted_window
from src.checkpoint import read_weights, save_weights
from src.errors import CheckpointError
from src.evaluation.model_file import load_network


def test_a_target_by_hand():
    targets = TargetEncoder((8, 8), num_classes=2, max_objects=3)(np.array([[1, 2, 4, 3.5]]), np.array([1]))
    # centre (2.5, 2.75) in the cell of column 2 and row 2
    assert targets.cells.tolist() == [2 * 8 + 2, 0, 0] and targets.valid.tolist() == [1, 0, 0]
    np.testing.assert_allclose(targets.sizes[0], [3, 1.5])
    np.testing.assert_allclose(targets.offsets[0], [0.5, 0.75])
    assert not targets.heatmap[0].any() and targets.heatmap[1, 2, 2] == 1
    # 3 x 2 cells have a radius of 1: half a cell as deviation
    assert targets.heatmap[1, 2, 3] == pytest.approx(np.exp(-2)) and targets.heatmap[1, 2, 4] == 0


def test_of_too_many_objects_the_largest_are_regressed_and_all_are_on_the_heat_map():
    boxes = np.array([[0, 0, 2, 2], [0, 0, 6, 6], [4, 4, 7, 7]])
    targets = TargetEncoder((8, 8), num_classes=3, max_objects=2)(boxes, np.arange(3))
    assert targets.sizes.tolist() == [[6, 6], [3, 3]]
    assert targets.heatmap.max(axis=(1, 2)).tolist() == [1, 1, 1]


def test_boxes_outside_of_the_crop_are_nobody_s_target():
    boxes = np.array([[-5, 0, -1, 4], [0, 9, 4, 12], [3, 3, 3, 6]])
    targets = TargetEncoder((8, 8), num_classes=1, max_objects=3)(boxes, np.zeros(3, int))
    assert not targets.heatmap.any() and not targets.valid.any()


def test_crowds_are_nobody_s_target():
    sample = as_sample(np.array([[10, 10, 60, 60], [70, 70, 100, 100]], np.float32), np.array([0, 1]))
    sample["crowd"][1] = True
    transform = detector_of("centernet_resnet50", "--input_res_train", "64,64", classes=2).train_transform()
    for seed in range(20):
        targets = transform(np.zeros((128, 128, 3), np.uint8), sample, np.random.default_rng(seed))
        assert not targets["heatmap"][1].any() and targets["valid"].sum() <= 1


def test_a_sample_is_repeated_by_its_generator_and_differs_with_another():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    sample = as_sample(np.array([[10, 10, 60, 60]], np.float32), np.array([0]))
    transform = detector_of("centernet_resnet50", "--input_res_train", "64,96", classes=1).train_transform()
    first, again, other = (transform(image, sample, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first["image"].shape == (64, 96, 3) and first["heatmap"].shape == (1, 16, 24)
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["image"] != other["image"]).any()


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (256, 257), (1000, 40)])
def test_random_windows_lie_around_the_picture_whatever_its_size(size):
    for seed in range(50):
        window = random_window(*size, np.random.default_rng(seed))
        assert 0 <= window.center[0] < max(size[1], 1) and 0 <= window.center[1] < max(size[0], 1)
        assert 0.59 * max(size) < window.side < 1.31 * max(size)


def test_shifted_windows_keep_to_twice_their_spread():
    for seed in range(50):
        window = shifted_window(100, 200, 0.1, 0.4, np.random.default_rng(seed))
        assert 120 <= window.side <= 280
        assert abs(window.center[0] - 100) <= 40 and abs(window.center[1] - 50) <= 40


def test_a_window_keeps_its_centre_in_the_centre():
    matrix = Window(np.array([30.0, 20.0]), 40.0).matrix((50, 80))
    np.testing.assert_allclose(matrix @ [30, 20, 1], [40, 25])
    np.testing.assert_allclose(matrix @ [50, 20, 1], [80, 25])


@pytest.mark.parametrize("side, padded", [(1, 128), (127, 128), (128, 256), (333, 384), (640, 768)])
def test_sides_that_keep_their_resolution_grow_to_multiples_of_128(side, padded):
    assert padded_window(side, 10)[1][0] == padded


def test_a_new_deformable_stage_interpolates():
    stage = UpSampling(6, 4, deformable=True)
    ramp = np.broadcast_to(np.arange(5, dtype=np.float32), (1, 4, 5, 5)).copy()
    doubled = stage.up(Tensor(ramp)).asnumpy()[0, :, 2:-2]
    np.testing.assert_allclose(doubled[:, :, 2:-2], np.broadcast_to(np.arange(2, 8) / 2 - 0.25, (4, 6, 6)), atol=1e-6)


def test_every_class_starts_with_a_low_score():
    network = detector_of("centernet_resnet50", classes=3).network()
    np.testing.assert_allclose(1 / (1 + np.exp(-network.heatmap.output.bias.asnumpy())), 0.1, rtol=1e-5)


def test_objects_beyond_max_objs_are_told_to_the_trainer():
    assert detector_of("centernet_resnet50", "--max_objs", "20").max_objects == 20


def test_an_old_checkpoint_in_a_deformable_network_is_refused_with_the_way_out(tmp_path):
    plain, deformable = (detector_of("centernet_resnet50", "--up_sampling", kind, classes=1)
                         for kind in ("plain", "deformable"))
    zoo = {ours: theirs for theirs, ours in zoo_cells(plain.config.model).items()}
    parameters = {f"{zoo[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": parameter
                  for name, parameter in plain.network().parameters_dict().items()}
    save_weights(tmp_path / "old.ckpt", parameters, "centernet_resnet50", plain.classes)
    weights = read_weights(tmp_path / "old.ckpt")
    load_network(plain.config, weights)
    with pytest.raises(CheckpointError, match="plain up-sampling need --up_sampling plain"):
        load_network(deformable.config, weights)


def test_a_network_in_half_precision_has_a_finite_loss():
    targets = np.zeros((1, 1, 2, 2), np.float32)
    loss = heatmap_loss(Tensor(np.full(targets.shape, 20, np.float16)), Tensor(targets))
    assert float(loss) == pytest.approx(4 * -np.log(1e-4), rel=1e-2)
