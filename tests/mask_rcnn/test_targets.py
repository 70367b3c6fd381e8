import mindspore as ms
import numpy as np
from mindspore import Tensor

from src.mask_rcnn.targets import mask_targets


def targets(bitmaps, rois, objects, size):
    """Of one picture, by hand-sized bitmaps (G, H, W) of 0 and 1."""
    rows = Tensor(np.packbits(np.asarray(bitmaps, np.uint8), axis=-1)[None])

    @ms.jit
    def compiled(rows, rois, objects):
        return mask_targets(rows, rois, objects, size)

    return compiled(rows, Tensor(np.float32([rois])), Tensor(np.int32([objects]))).asnumpy()[0]


def square(top, left, bottom, right, height=16, width=24):
    bitmap = np.zeros((height, width), np.uint8)
    bitmap[top:bottom, left:right] = 1
    return bitmap


def test_a_roi_of_as_many_pixels_as_cells_shows_them_as_they_are():
    bitmap = np.random.default_rng(0).integers(0, 2, (16, 24), np.uint8)

    (found,) = targets([bitmap], [[9, 3, 14, 8]], [0], 6)

    assert (found == bitmap[3:9, 9:15]).all()


def test_each_roi_shows_its_own_object():
    left, right = square(0, 0, 16, 12), square(0, 12, 16, 24)

    found = targets([left, right], [[8, 0, 15, 7]] * 2, [1, 0], 4)

    assert found[0].tolist() == [[0, 0, 1, 1]] * 4 and found[1].tolist() == [[1, 1, 0, 0]] * 4


def test_fractions_are_cut_off_and_the_last_pixel_belongs_to_the_roi():
    """Columns 4 to 7 are seen, of which 6 and 7 belong to the object."""
    (found,) = targets([square(0, 6, 16, 24)], [[4.9, 0, 7.9, 3]], [0], 4)

    assert found.tolist() == [[0, 0, 1, 1]] * 4


def test_a_large_roi_is_interpolated_and_rounded():
    """Cells of 4 pixels, whose middles lie between the second and the third: columns 0 to 9 are the object, so
    columns 0, 4, 8 and the one between 9 and 10, which is rounded to even, that is to 0."""
    (found,) = targets([square(0, 0, 16, 10)], [[0, 0, 15, 15]], [0], 4)

    assert found.tolist() == [[1, 1, 0, 0]] * 4


def test_a_roi_at_the_border_repeats_the_last_pixel():
    (found,) = targets([square(0, 20, 16, 24)], [[22, 14, 40, 30]], [0], 4)

    assert (found == 1).all()


def test_pictures_of_a_batch_keep_to_their_own_bitmaps():
    bitmaps = np.stack([np.packbits(square(0, 0, 16, 12)[None], axis=-1), np.packbits(square(0, 12, 16, 24)[None], -1)])
    rois = np.float32([[[0, 0, 7, 7]], [[0, 0, 7, 7]]])

    found = mask_targets(Tensor(bitmaps), Tensor(rois), Tensor(np.zeros((2, 1), np.int32)), 2).asnumpy()

    assert found[0].min() == 1 and found[1].max() == 0
