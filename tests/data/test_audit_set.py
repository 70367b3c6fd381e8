"""Faults of a whole data set: each is one usual mistake of an export, made on purpose in a set that is right."""
from __future__ import annotations

import json
import shutil
import unicodedata
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from src.data.audit import audit, examine
from src.data.coco_json import load_coco
from src.data.images import read_image
from src.data.pascal_voc import load_voc
from src.data.txt_rows import load_txt
from src.errors import DatasetError

SIZE = (90, 120)    # height, width
# x, y, width, height: on the right and below, so that every other reading of the numbers leaves the image.
BOXES = [[70, 50, 40, 30], [60, 40, 50, 45], [80, 30, 30, 50], [75, 55, 40, 30]]


@pytest.fixture
def folder(tmp_path):
    """Four grey images of 120 x 90."""
    for name in range(1, 5):
        image = np.full((*SIZE, 3), 40 * name, np.uint8)
        (tmp_path / f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return tmp_path


def coco(folder, change=lambda _: None):
    """Three objects in each image, alternately of the classes 1 to 3, after `change` has spoilt the content."""
    content = {
        "images": [{"id": name, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]}
                   for name in range(1, 5)],
        "annotations": [{"id": 3 * image + number, "image_id": image, "category_id": number + 1, "bbox": box,
                         "iscrowd": 0, "area": box[2] * box[3], "segmentation": [outline(box)]}
                        for image in range(1, 5) for number, box in enumerate(BOXES[:3])],
        "categories": [{"id": number, "name": name} for number, name in ((1, "cat"), (2, "dog"), (3, "cow"))]}
    content = json.loads(json.dumps(content))   # no list is shared
    change(content)
    (folder / "a.json").write_text(json.dumps(content))
    return load_coco(folder / "a.json", folder)


def outline(box):
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def each_box(change):
    def spoil(content):
        for entry in content["annotations"]:
            entry["bbox"] = [float(number) for number in change(*entry["bbox"])]
    return spoil


def found(annotations, policy=None, with_masks=False):
    return examine(annotations, policy, progress=False, with_masks=with_masks)


def kinds(report):
    return dict(Counter(finding.kind for finding in report.findings))


def only(report, kind):
    finding, = (finding for finding in report.findings if finding.kind == kind)
    return finding


def rows(folder, change):
    """The same boxes as text rows; `change` gives the four numbers that are written."""
    texts = [" ".join([f"{name}.png", *(",".join(map(str, (*change(*box), number % 3 + 1)))
                                        for number, box in enumerate(BOXES))]) for name in range(1, 5)]
    (folder / "rows.txt").write_text("\n".join(texts))
    return load_txt(folder / "rows.txt", folder, ["cat", "dog", "cow"])


def voc(folder, change):
    """The same boxes as Pascal VOC; `change` gives xmin, ymin, xmax, ymax, counted from 0."""
    (folder / "train").mkdir()
    for name in range(1, 5):
        (folder / f"{name}.png").rename(folder / "train" / f"{name}.png")
        objects = "".join("<object><name>cat</name><bndbox>" + "".join(
            f"<{key}>{number + 1}</{key}>" for key, number in zip(("xmin", "ymin", "xmax", "ymax"), change(*box)))
            + "</bndbox></object>" for box in BOXES)
        (folder / "train" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.png</filename><size><width>120</width><height>90</height></size>{objects}"
            "</annotation>")
    return load_voc(folder, "train")


def test_a_set_that_is_right_has_no_findings(folder):
    assert kinds(found(coco(folder), with_masks=True)) == {}
    assert kinds(found(rows(folder, lambda x, y, w, h: (x, y, x + w, y + h)))) == {"unknown_size": 4}
    assert kinds(found(voc(folder, lambda x, y, w, h: (x, y, x + w, y + h)))) == {}


# --- boxes in another form

FORMS = {"corners": lambda x, y, w, h: (x, y, x + w, y + h), "size": lambda x, y, w, h: (x, y, w, h),
         "centre": lambda x, y, w, h: (x + w / 2, y + h / 2, w, h),
         "relative": lambda x, y, w, h: (x / 120, y / 90, w / 120, h / 90),
         "relative corners": lambda x, y, w, h: (x / 120, y / 90, (x + w) / 120, (y + h) / 90)}


@pytest.mark.parametrize("read, form, words", [
    (coco, "corners", "12 of 12 boxes .* seem to be x1, y1, x2, y2, where x, y, width, height is expected"),
    (coco, "centre", "seem to be the centre, width and height, where x, y, width, height is expected"),
    (rows, "size", "16 of 16 boxes .* seem to be x, y, width, height, where x1, y1, x2, y2 is expected"),
    (rows, "centre", "seem to be the centre, width and height, where x1, y1, x2, y2 is expected"),
    (voc, "size", "seem to be x, y, width, height, where x1, y1, x2, y2 is expected")])
def test_boxes_in_another_form_are_refused_and_the_form_is_named(folder, read, form, words):
    change = each_box(FORMS[form]) if read is coco else FORMS[form]
    annotations = read(folder, change)

    with pytest.raises(DatasetError, match=f"many_bad_boxes.*{words}") as refusal:
        audit(annotations, progress=False)
    assert "drop" not in str(refusal.value)


@pytest.mark.parametrize("read, form", [(coco, "relative"), (coco, "relative corners"), (rows, "relative corners"),
                                        (rows, "relative"), (voc, "relative corners")])
def test_boxes_between_0_and_1_are_refused(folder, read, form):
    report = found(read(folder, each_box(FORMS[form]) if read is coco else FORMS[form]))

    assert only(report, "relative_boxes").action == "error"
    assert "fractions of the image; multiply them by its width and height" in report.error_message()


def test_corners_drawn_from_below_are_put_in_order(folder):
    report = found(voc(folder, lambda x, y, w, h: (x + w, y + h, x, y)))

    assert kinds(report) == {"swapped_corners": 16}
    assert report.annotations.records[0].boxes[0].tolist() == [70, 50, 110, 80]


def test_a_few_boxes_outside_are_clipped_and_many_are_refused(folder):
    def move(count):
        def spoil(content):
            for entry in content["annotations"][:count]:
                entry["bbox"][0] += 40
        return spoil

    assert kinds(found(coco(folder, move(4)))) == {"outside_box": 4}
    report = found(coco(folder, move(5)))
    assert only(report, "many_bad_boxes").value.startswith("5 of 12 boxes have no area or lie at least partly outside")
    kept = found(coco(folder, move(5)), {"many_bad_boxes": "keep"})
    assert not kept.errors and (kept.before.boxes, kept.after.boxes) == (12, 11)  # one lies outside entirely


def test_boxes_that_end_a_pixel_outside_are_not_many_bad_boxes(folder):
    assert kinds(found(coco(folder, each_box(lambda x, y, _, h: (x, y, 120 - x + 1, h))))) == {"outside_box": 12}


# --- sizes

@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_boxes_of_images_that_were_all_scaled_are_scaled_with_them(folder, factor):
    def spoil(content):
        for entry in content["images"]:
            entry["height"], entry["width"] = round(SIZE[0] * factor), round(SIZE[1] * factor)
        for entry in content["annotations"]:
            entry["bbox"] = [number * factor for number in entry["bbox"]]
            entry["area"] *= factor ** 2
            entry["segmentation"] = [[number * factor for number in entry["segmentation"][0]]]

    report = found(coco(folder, spoil), with_masks=True)

    assert kinds(report) == {"resized_image": 4} and not report.errors
    record = report.annotations.records[0]
    np.testing.assert_allclose(record.boxes[0], [70, 50, 110, 80])
    np.testing.assert_allclose(record.areas[0], 1200)
    np.testing.assert_allclose(record.segments[0][0], outline(BOXES[0]))


def test_sizes_without_a_common_ratio_are_refused(folder):
    def spoil(content):
        for number, entry in enumerate(content["images"]):
            entry["height"], entry["width"] = 100 + 17 * number, 200 - 29 * number

    assert only_kinds_with_errors(found(coco(folder, spoil))) == {"wrong_size": 4}


def only_kinds_with_errors(report):
    return dict(Counter(finding.kind for finding in report.errors))


def test_a_wrong_size_of_a_single_image_and_swapped_sides_change_no_box(folder):
    def swap(content):
        for entry in content["images"]:
            entry["height"], entry["width"] = entry["width"], entry["height"]

    def one(content):
        content["images"][0]["height"] = 91

    for spoil, count in ((swap, 4), (one, 1)):
        report = found(coco(folder, spoil))
        assert kinds(report) == {"size_disagreement": count}
        assert report.annotations.records[0].boxes[0].tolist() == [70, 50, 110, 80]


# --- areas and outlines

@pytest.mark.parametrize("area, repaired", [(-1200, 1200), (0, 1200), (1.0, 1200), (0.1, 1200), (1e11, 1200),
                                            (1200, 1200), (300, 300)])
def test_an_area_that_cannot_be_is_that_of_the_outline(folder, area, repaired):
    def spoil(content):
        content["annotations"][0]["area"] = area

    report = found(coco(folder, spoil))

    assert kinds(report) == ({} if area == repaired else {"area_disagreement": 1})
    assert report.annotations.records[0].areas[0] == repaired


@pytest.mark.parametrize("segment", [[[0.5, 0.5, 0.9, 0.5, 0.9, 0.8]], [[70, 50, 110, 80, 70, 50]],
                                     [[50, 70, 80, 110, 50, 110]], {"size": [90, 120], "counts": [10800]}])
def test_an_outline_that_does_not_cover_its_box_is_refused_where_masks_are_trained(folder, segment):
    def spoil(content):
        content["annotations"][0]["segmentation"] = segment
    annotations = coco(folder, spoil)

    assert "outline_off_box" in only_kinds_with_errors(found(annotations, with_masks=True))
    assert kinds(found(annotations)) == {}
    repaired = found(annotations, {"outline_off_box": "repair"}, with_masks=True)
    assert repaired.annotations.records[0].segments[0] == [outline(BOXES[0])]


@pytest.mark.parametrize("segment", [
    [[]], [10, 10, 20, 10], [[10, 10, 20, 20]], "none", [[1, 2, 3, 4, 5, None]]])
def test_outlines_that_are_none_only_matter_where_masks_are_trained(folder, segment):
    def spoil(content):
        content["annotations"][0]["segmentation"] = segment
    annotations = coco(folder, spoil)

    assert kinds(found(annotations)) == {}
    report = found(annotations, with_masks=True)
    assert only_kinds_with_errors(report) == {"bad_outline": 1}
    assert "--audit_policy bad_outline=repair (bad_outline: take the box as the outline)" in report.error_message()
    repaired = found(annotations, {"bad_outline": "repair"}, with_masks=True)
    assert repaired.annotations.records[0].segments[0] == [outline(BOXES[0])] and repaired.after.boxes == 12


# --- ids, classes, crowds

def test_one_file_under_two_ids_is_refused_or_put_together(folder):
    def spoil(content):
        content["images"].append({**content["images"][0], "id": 9})
        content["annotations"][0]["image_id"] = 9
    annotations = coco(folder, spoil)

    report = found(annotations)
    assert only_kinds_with_errors(report) == {"duplicate_file": 1}
    assert "duplicate_file=repair (duplicate_file: put the objects of both entries together)" in report.error_message()
    merged = found(annotations, {"duplicate_file": "repair"})
    assert (merged.before.images, merged.after.images, merged.after.boxes) == (5, 4, 12)
    assert len(merged.annotations.records[0].labels) == 3


def test_one_id_of_two_files_is_refused_without_a_way_round(folder):
    def spoil(content):
        content["images"][1]["id"] = 1

    report = found(coco(folder, spoil))

    assert only_kinds_with_errors(report) == {"conflicting_image_id": 1, "unknown_image": 3}
    assert "1 is also the id of '1.png', so its objects cannot be told apart" in report.error_message()
    assert "conflicting_image_id=" not in report.error_message()


def test_copies_of_an_image_are_named_and_those_with_other_objects_apart(folder):
    for copy in ("2", "4"):
        shutil.copy(folder / "1.png", folder / f"{copy}.png")
    annotations = coco(folder, lambda content: content["annotations"].pop())     # the last object of image 4

    report = examine(annotations)
    dropped = examine(annotations, {"equal_images": "drop", "contradictory_copies": "drop"})

    assert only(report, "equal_images").value == "has the content of 1.png and the same objects"
    assert only(report, "equal_images").where.endswith("2.png")
    assert only(report, "contradictory_copies").value.startswith(
        "has the content of 1.png, but other objects (3 there, 2 here)")
    assert len(report.annotations.records) == 4
    assert [record.image_id for record in dropped.annotations.records] == [1, 3]


def test_equal_ids_of_different_objects_keep_both(folder):
    def spoil(content):
        for entry in content["annotations"]:
            entry["id"] %= 6

    report = found(coco(folder, spoil))

    assert kinds(report) == {"duplicate_annotation_id": 6} and not report.errors and report.after.boxes == 12


def test_class_numbers_that_are_off_by_one_are_not_to_be_dropped(folder):
    def spoil(content):
        for entry in content["annotations"]:
            entry["category_id"] -= 1
    (folder / "rows.txt").write_text("1.png 1,1,9,9,0\n2.png 1,1,9,9,1\n3.png 1,1,9,9,2\n")

    for read in (coco(folder, spoil), load_txt(folder / "rows.txt", folder, ["cat", "dog", "cow"])):
        report = found(read)
        assert set(only_kinds_with_errors(report)) == {"class_offset"}
        assert "classes count from 1 to 3, but 0 occurs" in report.error_message()
        assert "audit_policy" not in report.error_message()


def test_a_misspelt_class_is_named_with_the_one_that_was_meant(folder):
    (folder / "train").mkdir()
    (folder / "1.png").rename(folder / "train" / "1.png")
    (folder / "train" / "1.xml").write_text(
        "<annotation><filename>1.png</filename><object><name>cats</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>")

    report = found(load_voc(folder, "train", ["cat", "dog"]))

    assert only(report, "absent_class").value == (
        "'cat' has no object; the annotations have 'cats' (1 object), which the settings leave out")
    assert [finding.kind for finding in report.errors] == ["absent_class"]


def test_a_class_that_some_objects_have_in_other_letters_is_named(folder):
    report = found(replace(coco(folder), unselected={"Cat": 14, "star": 2}))

    assert only(report, "absent_class").value == (
        "14 objects of 'Cat' left out, because the class is 'cat'; write both alike")
    assert [finding.kind for finding in report.errors] == ["absent_class"]


@pytest.mark.parametrize("first, offset", [(0, 1), (2, 1), (3, 2), (101, 100)])
def test_class_numbers_that_are_off_by_a_constant_are_recognised(folder, first, offset):
    def spoil(content):
        for entry in content["annotations"]:
            entry["category_id"] += first - 1

    report = found(coco(folder, spoil))

    assert set(only_kinds_with_errors(report)) == {"class_offset"}
    assert f"the numbers seem to be off by {offset}, and every object" in report.error_message()


def test_a_single_wrong_class_number_is_no_offset(folder):
    def spoil(content):
        content["annotations"][0]["category_id"] = 9

    assert only_kinds_with_errors(found(coco(folder, spoil))) == {"unknown_class": 1}


def test_a_class_called_background_is_named_whether_it_is_learned_or_left_out(folder):
    for position, words in ((0, "4 objects of 'background' left out"),
                            (1, "'background' is learned as a class")):
        def spoil(content, position=position):
            content["categories"][position]["name"] = "background"

        assert words in only(found(coco(folder, spoil)), "background_class").value


def test_categories_above_the_classes_are_no_classes(folder):
    """Roboflow lists the name of the project, labelme2coco lists _background_; neither has an object."""
    def spoil(content):
        for entry in content["categories"]:
            entry["supercategory"] = "animals"
        content["categories"] += [{"id": 0, "name": "animals", "supercategory": "none"},
                                  {"id": 7, "name": "_background_"}, {"id": 8, "name": "eel"}]

    assert coco(folder, spoil).classes == ("cat", "dog", "cow", "eel")
    assert load_coco(folder / "a.json", folder, ["animals", "cat"]).classes == ("animals", "cat")


def test_a_class_without_objects_is_named_where_others_are_left_out(folder):
    report = found(load_txt_of(folder, "1.png 1,1,9,9,1\n", ["cat"]))
    assert kinds(report) == {"unknown_size": 1}
    (folder / "train").mkdir()
    (folder / "1.png").rename(folder / "train" / "1.png")
    (folder / "train" / "1.xml").write_text(
        "<annotation><filename>1.png</filename><object><name>mug</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>")

    assert only(found(load_voc(folder, "train", ["cup"])), "empty_class").value == (
        "'cup' has no object; the annotations have 'mug' (1 object), which the settings leave out")


def load_txt_of(folder, text, classes):
    (folder / "rows.txt").write_text(text)
    return load_txt(folder / "rows.txt", folder, classes)


def test_a_set_of_crowds_only_has_nothing_to_learn(folder):
    def spoil(content):
        for entry in content["annotations"]:
            entry["iscrowd"] = 1
    annotations = coco(folder, spoil)

    assert "all objects (12) are marked iscrowd=1, so there is nothing to learn" in found(annotations).error_message()
    repaired = found(annotations, {"all_crowd": "repair"})
    assert not repaired.errors and not any(record.crowd.any() for record in repaired.annotations.records)


# --- bit depth

@pytest.mark.parametrize("largest, bits", [(1023, 10), (4095, 12), (3000, 12), (65535, None), (40000, None)])
def test_images_of_few_bits_in_16_are_named_with_their_largest_value(folder, largest, bits):
    for name in range(1, 5):
        image = np.full(SIZE, largest, np.uint16)
        image[0, 0] = name  # no image is equal to another
        (folder / f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())

    report = found(coco(folder))

    assert kinds(report) == ({"bit_depth": 4} if bits else {}) and not report.errors
    if bits:
        assert report.findings[0].value == f"the largest value is {largest}, {bits} of the 16 bits are in use"


# --- names of files

def test_a_name_in_another_unicode_form_finds_its_file(folder):
    name = "größe.png"
    (folder / "1.png").rename(folder / unicodedata.normalize("NFD", name))

    def spoil(content):
        content["images"][0]["file_name"] = unicodedata.normalize("NFC", name)

    report = found(coco(folder, spoil))

    assert kinds(report) == {"unicode_name": 1} and not report.errors
    assert only(report, "unicode_name").value == r"the file is 'gro\u0308\xdfe.png'"
    assert report.annotations.records[0].image_path.is_file()


@pytest.mark.parametrize("given", ["one%20two.png", "One Two.PNG", r"..\..\media\one two.png"])
def test_a_missing_image_is_named_with_the_file_that_is_like_it(folder, given):
    (folder / "1.png").rename(folder / "one two.png")

    def spoil(content):
        content["images"][0]["file_name"] = given

    message = found(coco(folder, spoil)).error_message()

    assert f"{given} does not exist; 'one two.png' is there" in message


# --- pixels

@pytest.mark.parametrize("flags", [[], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]])
def test_a_jpeg_that_was_cut_and_ended_again_is_truncated(folder, flags):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    whole = cv2.imencode(".jpg", noise, flags)[1].tobytes()
    grey = cv2.imencode(".jpg", np.full((*SIZE, 3), 128, np.uint8))[1].tobytes()

    for data, expected in ((whole, {}), (grey, {}), (whole[:len(whole) // 2] + b"\xff\xd9", {"truncated_image": 1})):
        (folder / "1.png").write_bytes(data)
        assert kinds(found(coco(folder))) == expected


# --- EXIF

def exif_jpeg(height, width, orientation):
    """A red box in the top left of the upright image, stored so that EXIF has to turn it."""
    upright = np.zeros((height, width, 3), np.uint8)
    upright[:8, :8] = (0, 0, 255)
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
              5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1), 7: np.rot90(upright, 2).transpose(1, 0, 2),
              8: np.rot90(upright, -1)}[orientation]
    data = cv2.imencode(".jpg", np.ascontiguousarray(stored), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    tag = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0\0\0\0\0\0\0"
    return data[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + data[2:]


@pytest.mark.parametrize("shape", [(40, 60), (48, 48)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_without_a_declared_size_is_turned_as_exif_asks_every_time_it_is_read(tmp_path, shape, orientation):
    (tmp_path / "1.jpg").write_bytes(exif_jpeg(*shape, orientation))
    (tmp_path / "rows.txt").write_text("1.jpg 0,0,8,8,1\n")

    audited, _ = audit(load_txt(tmp_path / "rows.txt", tmp_path, ["red"]), progress=False)

    record, = audited.records
    assert (record.height, record.width, record.orientation) == (*shape, orientation)
    red = read_image(record.image_path, record.orientation)[:8, :8, 0].mean()
    assert red > 200


@pytest.mark.parametrize("applied, expected", [(True, 3), (False, 1)])
def test_a_turn_that_changes_no_size_follows_the_other_images_of_the_set(tmp_path, applied, expected):
    """Declared sizes tell of turns by 90 degrees only; they show what the annotation program did."""
    (tmp_path / "1.jpg").write_bytes(exif_jpeg(40, 60, 3))
    (tmp_path / "2.jpg").write_bytes(exif_jpeg(40, 60, 6))
    sizes = [(40, 60), (40, 60) if applied else (60, 40)]
    content = {"images": [{"id": number, "file_name": f"{number}.jpg", "height": height, "width": width}
                          for number, (height, width) in enumerate(sizes, 1)],
               "annotations": [], "categories": [{"id": 1, "name": "red"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))

    report = found(load_coco(tmp_path / "a.json", tmp_path))

    assert report.annotations.records[0].orientation == expected
    assert kinds(report) == ({} if applied else {"exif_rotation": 2})
    report.write(tmp_path / "audit")
    for_the_application = tmp_path / "audit" / "orientations.json"
    assert for_the_application.exists() != applied
    assert applied or json.loads(for_the_application.read_text()) == {"1": 1, "2": 1}
