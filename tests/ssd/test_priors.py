import pytest

from src.detectors import load_config
from src.errors import ConfigError
from src.ssd.config import SSDModel
from src.ssd.detector import SSDDetector
from src.ssd.priors import default_steps, feature_sizes, prior_boxes


def model(**settings):
    return SSDModel(model_name="ssd300", **settings)


def test_maps_of_the_zoo():
    sizes = feature_sizes((300, 300), 6)
    assert [rows for rows, _ in sizes] == [19, 10, 5, 3, 2, 1]
    assert default_steps((300, 300), sizes) == [(16, 16), (32, 32), (64, 64), (100, 100), (150, 150), (300, 300)]


def test_maps_of_a_picture_that_is_not_square():
    # 160 x 320 at strides 16, 32, 64, 128, 256, 512.
    assert feature_sizes((160, 320), 6) == [(10, 20), (5, 10), (3, 5), (2, 3), (1, 2), (1, 1)]
    # 200 x 3 + (50 + 15 + 6 + 2 + 1) x 6
    assert prior_boxes(model(img_shape=[160, 320])).shape == (1044, 4)


def test_expected_numbers_that_come_out_are_accepted():
    settings = dict(num_ssd_boxes=1917, feature_size=[19, 10, 5, 3, 2, 1], steps=[16, 32, 64, 100, 150, 300])
    assert (prior_boxes(model(**settings)) == prior_boxes(model())).all()


@pytest.mark.parametrize("settings, words", [
    (dict(num_ssd_boxes=8732), ["num_ssd_boxes is 8732", "1917"]),
    (dict(feature_size=[38, 19, 10, 5, 3, 1]), ["feature_size is [38, 19, 10, 5, 3, 1]", "[19, 10, 5, 3, 2, 1]"]),
    (dict(num_default=[4, 6, 6, 6, 6, 6]), ["num_default", "aspect_ratios", "1917"]),
])
def test_expected_numbers_that_do_not_come_out_are_refused_with_both(settings, words):
    with pytest.raises(ConfigError) as error:
        prior_boxes(model(**settings))
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("flags, key", [
    ("--steps 16,32,64", "steps"),
    ("--steps 16,32,64,100,150,300,300", "steps"),
    ("--steps 0,0,0,0,0,0", "steps"),
    ("--img_shape 0,0", "img_shape"),
    ("--img_shape -300,300", "img_shape"),
    ("--aspect_ratios [[],[0],[2,3],[2,3],[2,3],[2,3]]", "aspect_ratios"),
    ("--aspect_ratios [[],[-1],[2,3],[2,3],[2,3],[2,3]]", "aspect_ratios"),
    ("--aspect_ratios [[]] --num_default 3 --extras_in_channels 1 --extras_out_channels 1 --extras_strides 1 "
     "--extras_ratio 0.2", "num_default"),
])
def test_settings_that_describe_no_boxes_are_refused_by_name(flags, key):
    with pytest.raises(ConfigError, match=key):
        SSDDetector(load_config(["--model_name", "ssd300", *flags.split()], "train"), ["cat"])
