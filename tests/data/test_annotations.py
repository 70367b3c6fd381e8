"""load_split, the checks around it, and how records go back into COCO's form."""
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from src.data.annotations import check_num_classes, load_split
from src.data.coco_json import to_coco
from src.data.records import AnnotationSet, LabelledBox, image_ids, inside, make_record
from src.errors import ConfigError, UsageError
from src.settings.data_formats import DATA_FORMATS, SPLITS
from src.settings.schema import DataSection


def data_section(**settings):
    return DataSection(**{"coco_root": "", "voc_root": "", **settings})


def test_every_split_of_a_pascal_voc_devkit(tmp_path):
    splits = {"train": ["1", "2", "3"], "val": ["4", "5"], "test": ["6"]}
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for split, stems in splits.items():
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems))
        for stem in stems:
            (tmp_path / "JPEGImages" / f"{stem}.jpg").write_bytes(b"")
            (tmp_path / "Annotations" / f"{stem}.xml").write_text(
                f"<annotation><filename>{stem}.jpg</filename><size><width>50</width><height>40</height></size>"
                f"<object><name>in {split}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>31</xmax><ymax>22</ymax>"
                "</bndbox></object></annotation>")
    data = data_section(dataset="voc", voc_root=str(tmp_path), num_classes=4)

    for split, stems in splits.items():
        annotations = load_split(data, split)

        assert [record.image_path.name for record in annotations.records] == [f"{stem}.jpg" for stem in stems]
        assert annotations.classes == ("in test", "in train", "in val") and annotations.findings == ()


def test_the_form_of_the_official_coco_files(tmp_path):
    """Polygons, crowds as uncompressed run lengths, category ids with gaps, keys that nobody needs here."""
    content = {
        "info": {"year": 2017}, "licenses": [{"id": 4, "name": "CC BY"}],
        "images": [{"id": 391895, "file_name": "000000391895.jpg", "height": 40, "width": 60, "license": 4,
                    "flickr_url": "", "coco_url": "", "date_captured": "2013-11-14 11:18:45"}],
        "annotations": [{"id": 151091, "image_id": 391895, "category_id": 90, "iscrowd": 0, "area": 50.0,
                         "bbox": [1.5, 1, 10, 10], "segmentation": [[1.5, 1, 11.5, 1, 1.5, 11]]},
                        {"id": 900100391895, "image_id": 391895, "category_id": 1, "iscrowd": 1, "area": 200,
                         "bbox": [0, 0, 5, 40], "segmentation": {"size": [40, 60], "counts": [0, 200, 2200]}}],
        "categories": [{"supercategory": "person", "id": 1, "name": "person"},
                       {"supercategory": "indoor", "id": 90, "name": "toothbrush"}]}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "000000391895.jpg").write_bytes(b"")

    annotations = load_split(data_section(coco_root=str(tmp_path), num_classes=3), "train")

    record, = annotations.records
    assert annotations.classes == ("person", "toothbrush") and annotations.category_ids == (1, 90)
    assert sorted(zip(record.labels.tolist(), record.crowd.tolist())) == [(0, True), (1, False)]
    assert annotations.findings == () and annotations.unselected == {}


@pytest.mark.parametrize("settings, key", [
    (dict(dataset="coco"), "coco_root"),
    (dict(dataset="coco", coco_root="{folder}"), "instances_set"),
    (dict(dataset="voc", voc_root="{folder}/nowhere"), "voc_root"),
    (dict(dataset="voc", voc_root="{folder}"), "voc_root"),
    (dict(dataset="other"), "anno_path"),
    (dict(dataset="other", anno_path="{folder}/rows.txt"), "image_dir"),
])
def test_a_missing_path_is_named_with_the_key_to_set(tmp_path, settings, key):
    (tmp_path / "rows.txt").write_text("")
    settings = {name: value.format(folder=tmp_path) for name, value in settings.items()}

    with pytest.raises(UsageError, match=key):
        load_split(data_section(**settings), "train")


@pytest.mark.parametrize("pictures", ["eval", "eval/Images", "JPEGImages"])
def test_the_ground_truth_of_voc_may_be_a_json(tmp_path, pictures):
    # given a json as the zoo makes it, and not one xml file for the evaluation
    (tmp_path / pictures).mkdir(parents=True)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "val.json").write_text(json.dumps({
        "images": [{"id": 7, "file_name": "7.jpg", "height": 20, "width": 30}], "type": "instances",
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 4], "area": 40, "iscrowd": 0,
                         "ignore": 0, "segmentation": []}],
        "categories": [{"supercategory": "none", "id": 0, "name": "background"},
                       {"supercategory": "none", "id": 1, "name": "helmet"}]}))
    data = data_section(dataset="voc", voc_root=str(tmp_path), voc_json="annotations/val.json", num_classes=2)

    # when
    annotations = load_split(data, "val")

    # then
    record, = annotations.records
    assert (annotations.format, annotations.classes, annotations.source.name) == ("voc", ("helmet",), "val.json")
    assert record.image_path == tmp_path.resolve() / pictures / "7.jpg"
    assert (record.image_id, record.boxes.tolist(), record.labels.tolist()) == (7, [[1, 2, 11, 6]], [0])


@pytest.mark.parametrize("split, voc_json, found", [
    ("val", "val.json", "from the json"), ("val", None, "from xml"), ("val", "missing.json", "from xml"),
    ("train", "val.json", "from xml"), ("test", "val.json", "from xml")])
def test_the_json_counts_for_the_split_val_where_it_exists(tmp_path, split, voc_json, found):
    for folder in ("train", "eval"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.xml").write_text(
            "<annotation><filename>1.jpg</filename><object><name>from xml</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
            "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>")
    (tmp_path / "val.json").write_text(json.dumps({"images": [], "annotations": [],
                                                   "categories": [{"id": 1, "name": "from the json"}]}))

    annotations = load_split(data_section(dataset="voc", voc_root=str(tmp_path), voc_json=voc_json), split)

    assert annotations.classes == (found,)


def test_the_json_needs_a_folder_of_pictures(tmp_path):
    (tmp_path / "val.json").write_text("{}")

    with pytest.raises(UsageError, match="no images of the split 'val'; looked for JPEGImages, images, val, .*eval"):
        load_split(data_section(dataset="voc", voc_root=str(tmp_path), voc_json="val.json"), "val")


def test_rows_for_evaluation_have_their_own_key_and_fall_back(tmp_path):
    (tmp_path / "train.txt").write_text("a1.jpg\n")
    (tmp_path / "val.txt").write_text("b1.jpg\nb2.jpg\n")
    data = data_section(dataset="other", image_dir=str(tmp_path), anno_path=str(tmp_path / "train.txt"),
                        classes=["cell"])

    assert len(load_split(data, "val").records) == 1
    data = data.model_copy(update={"val_anno_path": str(tmp_path / "val.txt")})
    assert len(load_split(data, "val").records) == 2
    assert len(load_split(data, "train").records) == 1


def test_an_unknown_split_is_refused():
    with pytest.raises(UsageError, match="split 'trainval': choose train, val, test"):
        load_split(data_section(), "trainval")


@pytest.mark.parametrize("name, found", [("txt", "txt"), ("other", "txt"), ("Other", "txt"), ("VOC", "voc")])
def test_text_rows_go_by_their_name_and_by_the_zoo_s(name, found):
    assert data_section(dataset=name).dataset == found


def test_every_format_of_the_table_has_a_reader_and_paths_that_are_settings():
    for row in DATA_FORMATS.values():
        assert callable(importlib.import_module(f"src.data.{row.reader}").read_split)
        assert {*row.paths, *row.validation} <= set(DataSection.model_fields)
        assert set(row.splits) <= set(SPLITS) and row.metric in ("coco", "voc")


def test_num_classes_may_count_the_background_and_nothing_else():
    for right in (None, 2, 3):
        check_num_classes(right, ("cat", "dog"))
    with pytest.raises(ConfigError, match="num_classes is 81, which does not fit 2 classes"):
        check_num_classes(81, ("cat", "dog"))


def test_inside_follows_dots_and_links(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "secret.jpg"
    root.mkdir()
    outside.write_bytes(b"")
    (root / "link.jpg").symlink_to(outside)

    assert inside(root, root / "sub" / "a.jpg")
    assert inside(root, root / "sub" / ".." / "a.jpg")
    assert not inside(root, root / ".." / "secret.jpg")
    assert not inside(root, outside)
    assert not inside(root, root / "link.jpg")
    assert not inside(root, root)


@pytest.mark.parametrize("stems, ids", [
    (["img_003", "img_010"], [3, 10]),
    (["2007_000027", "2008_000027"], [1, 2]),  # the endings agree
    (["7", "seven"], [1, 2]),
])
def test_image_ids_are_the_ending_digits_or_running_numbers(stems, ids):
    assert image_ids(stems) == ids


def test_records_return_to_coco_form():
    # given one difficult box and one with a polygon, annotation id 0, and a category id that is not contiguous
    root = Path("/pictures")
    polygon = [[1.0, 1.0, 5.0, 1.0, 5.0, 4.0]]
    record = make_record(root / "sub" / "a.jpg", 7, (20, 30), [
        LabelledBox((1, 2, 11, 6), label=0, object_id=0, difficult=True),
        LabelledBox((1, 1, 5, 4), label=1, object_id=1, area=6, segment=polygon)], "a.xml")
    annotations = AnnotationSet(("cat", "dog"), (3, 90), (record,), root, "voc", root)

    # when / then
    assert to_coco(annotations) == {
        "images": [{"id": 7, "height": 20, "width": 30, "file_name": "sub/a.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 4], "area": 40, "iscrowd": 1},
            {"id": 2, "image_id": 7, "category_id": 90, "bbox": [1, 1, 4, 3], "area": 6, "iscrowd": 0,
             "segmentation": polygon}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]}


def test_a_record_without_objects_has_empty_arrays_of_the_same_types():
    record = make_record(Path("/a.jpg"), 1, (0, 0), [], "rows.txt:1")

    assert record.boxes.shape == (0, 4) and record.boxes.dtype == np.float32
    assert record.labels.dtype == np.int32 and record.crowd.dtype == bool and record.areas.dtype == np.float32
    assert record.segments is None and record.object_ids == ()
