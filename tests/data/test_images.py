"""The decoder: sizes, orientation, limits and broken files."""
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.images import decode_image, encode_jpeg, exif_orientation, image_size, is_complete, read_image
from src.errors import ImageError


def quarters(height=24, width=40):
    """Four plain quarters: red, green / blue, white."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:height // 2, :width // 2, 0] = 255
    picture[:height // 2, width // 2:, 1] = 255
    picture[height // 2:, :width // 2, 2] = 255
    picture[height // 2:, width // 2:] = 255
    return picture


def encoded(ending, picture=None):
    bgr = cv2.cvtColor(quarters() if picture is None else picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(ending, bgr)[1].tobytes()


def with_exif(jpeg, orientation, order="<"):
    head = b"II*\0" if order == "<" else b"MM\0*"
    tiff = head + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + jpeg[2:]


@pytest.mark.parametrize("ending", [".png", ".bmp"])
def test_lossless_formats_come_back_as_rgb(ending):
    data = encoded(ending)

    assert image_size(data) == (24, 40)
    np.testing.assert_array_equal(decode_image(data, "picture"), quarters())


def test_jpeg_comes_back_as_rgb_up_to_its_loss():
    data = encode_jpeg(quarters(), quality=100)

    assert image_size(data) == (24, 40)
    # Colour is stored at half the resolution and blurs along the seams only.
    assert np.median(np.abs(decode_image(data, "picture").astype(int) - quarters())) <= 1


def test_progressive_grey_and_bytes_after_the_end_are_fine():
    progressive = cv2.imencode(".jpg", quarters(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    grey = cv2.imencode(".jpg", quarters()[..., 0])[1].tobytes()

    for data in (progressive, grey, grey + b"\0" * 7, grey + b"maker's trailer"):
        assert decode_image(data, "picture").shape == (24, 40, 3)


# Where the red quarter lies in the upright picture, by EXIF orientation.
RED_CORNER = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
              5: "top left", 6: "top right", 7: "bottom right", 8: "bottom left"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_when_no_size_is_declared(orientation, order):
    data = with_exif(encode_jpeg(quarters()), orientation, order)

    upright = decode_image(data, "picture")

    assert exif_orientation(data) == orientation
    assert upright.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    row = 2 if "top" in RED_CORNER[orientation] else -3
    column = 2 if "left" in RED_CORNER[orientation] else -3
    assert upright[row, column, 0] > 200 and upright[row, column, 1:].max() < 60
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(upright, opencv[..., ::-1])


def test_the_orientation_that_is_given_wins_over_the_file():
    data = with_exif(encode_jpeg(quarters()), 6)

    assert decode_image(data, "image").shape[:2] == (40, 24)
    assert decode_image(data, "image", orientation=1).shape[:2] == (24, 40)
    np.testing.assert_array_equal(decode_image(data, "image", orientation=3),
                                  decode_image(data, "image", orientation=1)[::-1, ::-1])


@pytest.mark.parametrize("bits", range(8, 17))
def test_the_bits_in_use_of_a_16_bit_image_become_8(bits):
    """Cameras store 10, 12 or 14 bits in 16 as they are: object and background would both be black."""
    stored = np.zeros((24, 40), np.uint16)
    stored[:12] = 2 ** bits - 1
    stored[12:, :20] = 2 ** (bits - 1)

    image = decode_image(cv2.imencode(".png", stored)[1].tobytes(), "x-ray.png")

    assert (image[:12] == 255).all() and (image[12:, :20] == 128).all() and (image[12:, 20:] == 0).all()


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_means_as_stored(orientation):
    assert exif_orientation(with_exif(encode_jpeg(quarters()), orientation)) == 1


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp"])
def test_a_picture_that_breaks_off_is_refused_wherever_it_does(ending, monkeypatch):
    data = encoded(ending, np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    monkeypatch.setattr(cv2, "imdecode", None)  # some versions refuse it, others fill the rest with grey

    for length in range(len(data)):
        with pytest.raises(ImageError, match="half.img"):
            decode_image(data[:length], "half.img")


def test_the_pixel_limit_is_checked_before_decoding(monkeypatch):
    claimed = bytearray(encoded(".png"))
    claimed[16:24] = struct.pack(">II", 60000, 60000)
    monkeypatch.setattr(cv2, "imdecode", None)

    with pytest.raises(ImageError, match="bomb.png: 60000 x 60000 is more than"):
        decode_image(bytes(claimed), "bomb.png")
    with pytest.raises(ImageError, match="40 x 24 is more than 959 pixels.*max_image_pixels"):
        decode_image(encoded(".jpg"), "a.jpg", max_pixels=959)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + b"\0" * 50, b"\xff\xd8\xff\xd9", b"BM" + b"\0" * 60])
def test_other_formats_and_empty_headers_are_refused(data):
    with pytest.raises(ImageError, match="a.gif"):
        decode_image(data, "a.gif")


def test_reading_names_the_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(".png"))

    assert read_image(path).shape == (24, 40, 3)
    for missing in (tmp_path / "none.png", tmp_path, tmp_path / "nul\0"):
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(missing)


def test_a_small_jpeg_that_says_it_is_huge_is_not_decoded(monkeypatch):
    """It would become 300 MB of grey."""
    data = bytearray(encoded(".jpg"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5:frame + 9] = struct.pack(">HH", 9999, 10000)
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(ImageError, match="a.jpg: the file breaks off"):
        decode_image(bytes(data), "a.jpg")


def test_the_emptiest_jpeg_is_larger_than_the_least_that_is_believed():
    grey = np.full((1600, 1600), 128, np.uint8)
    flags = [cv2.IMWRITE_JPEG_QUALITY, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    data = cv2.imencode(".jpg", grey, flags)[1].tobytes()
    assert decode_image(data, "grey").shape == (1600, 1600, 3)


def test_a_jpeg_that_was_cut_and_closed_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    data = encoded(".jpg", noise)
    assert decode_image(data, "a.jpg").shape == (96, 128, 3)
    with pytest.raises(ImageError, match="a.jpg: the file has an end, but pixels are missing before it"):
        decode_image(data[:len(data) // 2] + b"\xff\xd9", "a.jpg")


def test_a_png_chunk_longer_than_the_file_is_not_believed(monkeypatch):
    data = bytearray(encoded(".png"))
    data[33:37] = struct.pack(">I", 2 ** 31 - 1)  # the length of the chunk after the header
    monkeypatch.setattr(cv2, "imdecode", None)

    with pytest.raises(ImageError, match="a.png: the file breaks off"):
        decode_image(bytes(data), "a.png")


SAMPLES = [with_exif(encode_jpeg(quarters()), 6), encoded(".png"), encoded(".bmp")]


@given(data=st.sampled_from(SAMPLES), noise=st.binary(min_size=1, max_size=8), position=st.integers(0, 10 ** 6),
       removed=st.integers(0, 8))
@settings(max_examples=500, deadline=None)
def test_mutated_bytes_give_a_picture_or_an_image_error(data, noise, position, removed):
    position %= 2 * len(data)  # beyond half of them: more often in the headers
    position = position if position < len(data) else position % 120
    mutated = data[:position] + noise + data[position + removed:]
    assert 1 <= exif_orientation(mutated) <= 8
    try:
        picture = decode_image(mutated, "mutated", max_pixels=10 ** 6)
    except ImageError as error:
        assert str(error).startswith("mutated: ")
    else:
        assert picture.dtype == np.uint8 and picture.ndim == 3


def test_a_jpeg_of_many_scans_is_not_decoded():
    """Each of its scans would be decoded for the whole image: 600 of them took 39 s on 10,000 x 10,000 pixels."""
    jpeg = cv2.imencode(".jpg", quarters(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last, scans = jpeg.rindex(b"\xff\xda"), jpeg.count(b"\xff\xda")

    def repeated(times):
        return jpeg[:-2] + jpeg[last:-2] * times + jpeg[-2:]

    assert decode_image(repeated(32 - scans), "a").shape == (24, 40, 3)
    with pytest.raises(ImageError, match="a: has more than 32 scans, each of which is decoded for the whole image"):
        decode_image(repeated(33 - scans), "a")


def test_the_last_png_chunk_has_to_lie_in_the_file_too():
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    assert is_complete(bytes(data))
    data[data.rindex(b"IEND") - 1] = 1
    assert not is_complete(bytes(data))
