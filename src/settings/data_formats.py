"""The table of annotation formats. A new format is one row here and one module in src/data."""
from __future__ import annotations

from typing import NamedTuple


class DataFormat(NamedTuple):
    """One annotation format.

    reader: module of src/data that holds `read_split(data, split, classes) -> AnnotationSet`,
        `find_split(data, split) -> DataSources`, which only looks for folders and files, and `recognise(folder)`, which
        gives the settings that read a folder, or None where it is of another format.
    paths: settings that name files or folders; ModelArts copies these to the host.
    validation: further settings that only concern the validation split.
    splits: the splits of the format.
    metric: "coco", or "voc" to measure Pascal VOC's AP as well.
    has_ids: whether the annotations number images and objects.
    boxes: what the four numbers of a box are, one of the forms of src/data/audit_set.py.
    """

    reader: str
    paths: tuple[str, ...]
    validation: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train", "val", "test")
    metric: str = "coco"
    has_ids: bool = False
    boxes: str = "x1, y1, x2, y2"


DATA_FORMATS = {
    "coco": DataFormat("coco_json", paths=("coco_root",),
                       validation=("val_data_type", "test_data_type", "test_instances_set"), has_ids=True,
                       boxes="x, y, width, height"),
    "voc": DataFormat("pascal_voc", paths=("voc_root",), validation=("voc_json",), metric="voc"),
    "txt": DataFormat("txt_rows", paths=("image_dir", "anno_path", "val_anno_path"), splits=("train", "val")),
    "yolo": DataFormat("yolo_rows", paths=("yolo_root",), boxes="the centre, width and height"),
    "labelme": DataFormat("labelme_json", paths=("labelme_root",)),
}
OLD_NAMES = {"other": "txt"}    # the zoo's name -> ours
SPLITS = ("train", "val", "test")
