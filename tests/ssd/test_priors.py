import pytest

from src.command_line import load_config
from src.errors import ConfigError
from src.ssd.config import SSDModel
from src.ssd.detector import SSDDetector
from src.ssd.priors import default_steps, feature_sizes, prior_boxes


def model(**settings):
    return SSDModel(model_name="ssd300", **settings)


def shipped(name, *flags):
    """The `model` section of a shipped file."""
    return load_config(["--model_name", name, *flags], "train").model


@pytest.mark.parametrize("name, side, rows, pixels", [
    ("ssd300", 300, [19, 10, 5, 3, 2, 1], [16, 32, 64, 100, 150, 300]),
    ("ssd_vgg16", 300, [38, 19, 10, 5, 3, 1], [8, 16, 32, 64, 100, 300]),
    ("ssd_resnet50_fpn", 640, [80, 40, 20, 10, 5], [8, 16, 32, 64, 128]),
    ("ssd_mobilenet_v1_fpn", 320, [40, 20, 10, 5, 3], [8, 16, 32, 64, 128]),
])
def test_maps_and_steps_of_the_zoo(name, side, rows, pixels):
    settings = shipped(name, "--img_shape", f"{side},{side}")
    sizes = feature_sizes(settings)
    steps = default_steps(settings, sizes)
    assert sizes == [(cells, cells) for cells in rows]
    assert steps == [(step, step) for step in pixels]


def test_maps_of_a_picture_that_is_not_square():
    # 160 x 320 at strides 16, 32, 64, 128, 256, 512.
    assert feature_sizes(model(img_shape=[160, 320])) == [(10, 20), (5, 10), (3, 5), (2, 3), (1, 2), (1, 1)]
    # 200 x 3 + (50 + 15 + 6 + 2 + 1) x 6
    assert prior_boxes(model(img_shape=[160, 320])).centers.shape == (1044, 4)


def test_a_picture_too_small_for_the_last_map_is_refused():
    # 128 / 8 = 16, 8, 4, 2, and a 3x3 convolution without padding leaves nothing of 2 x 2.
    with pytest.raises(ConfigError, match=r"img_shape \[128, 128\] is too small: of 6 maps only 4"):
        prior_boxes(shipped("ssd_vgg16", "--img_shape", "128,128"))


def test_steps_of_the_zoo_s_files_give_the_priors_of_none():
    steps = [16, 32, 64, 100, 150, 300]
    assert (prior_boxes(model(steps=steps)).centers == prior_boxes(model()).centers).all()


def test_steps_place_the_priors():
    steps = [300 / 19, 30, 60, 100, 150, 300]      # of TensorFlow's SSD: cells that fill the image evenly
    centers = prior_boxes(model(steps=steps)).centers
    assert centers.shape == (1917, 4)
    assert centers[0, :2].tolist() == pytest.approx([0.5 / 19, 0.5 / 19])
    assert centers[3 * 19 * 19, :2].tolist() == pytest.approx([0.05, 0.05])     # first cell of the second level


def test_a_number_of_priors_per_cell_that_does_not_come_out_is_refused_with_both():
    with pytest.raises(ConfigError, match="num_default .* aspect_ratios .*: 2278 predictions for 1917 priors"):
        prior_boxes(model(num_default=[4, 6, 6, 6, 6, 6]))


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


# extras_strides and extras_in_channels

def test_strides_of_the_further_maps_decide_maps_and_steps():
    # 300 / 16 = 19 and 10 from the backbone, then 10 / 1, 10 / 2, 5 / 1, 5 / 3; a cell of 32, 64, 64 pixels, or, above
    # 64, of 300 / 2.
    settings = model(extras_strides=[1, 1, 1, 2, 1, 3])
    sizes = feature_sizes(settings)
    assert sizes == [(cells, cells) for cells in (19, 10, 10, 5, 5, 2)]
    assert default_steps(settings, sizes) == [(step, step) for step in (16, 32, 32, 64, 64, 150)]
    # 361 x 3 + (100 + 100 + 25 + 25 + 4) x 6
    assert len(prior_boxes(settings).centers) == 2607


@pytest.mark.parametrize("name, flags, words", [
    ("ssd300", "--extras_strides 2,1,2,2,2,2", "the first two maps come from the backbone"),
    ("ssd_vgg16", "--extras_strides 1,1,1,2,2,2", "the layers of ssd_vgg16 have 2 from the third level on"),
    ("ssd_resnet50_fpn", "--extras_strides 1,1,1,1,1", "the layers of ssd_resnet50_fpn have 2"),
    ("ssd300", "--extras_strides 1,1,2,2,2", "extras_strides 5"),
    ("ssd300", "--extras_in_channels 256,576,1280,512,128,256",
     r"from level 2 on each is the number before it in extras_out_channels, \[1280, 512, 256, 256\]"),
    ("ssd_vgg16", "--extras_in_channels 256,512,1024,512,256,512", "from level 2 on"),
    ("ssd_mobilenet_v1_fpn", "--extras_in_channels 256,512,1024,256,512", "from level 3 on"),
    ("ssd_mobilenet_v1_fpn", "--extras_out_channels 256,256,256,256,128", "share one predictor"),
])
def test_strides_and_channels_that_no_layers_have_are_refused(name, flags, words):
    with pytest.raises(ConfigError, match=words):
        load_config(["--model_name", name, *flags.split()], "train")
