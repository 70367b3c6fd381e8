"""The Pascal VOC reader: both layouts, the coordinates, and hostile xml."""
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data import pascal_voc
from src.data.annotation_files import read_bytes
from src.data.annotations import load_split
from src.data.pascal_voc import load_voc
from src.data.records import ReaderFinding
from src.errors import AnnotationError, ProjectError, UsageError
from src.settings.schema import DataSection


def xml(*objects, filename="x.jpg", size="<size><width>50</width><height>40</height><depth>3</depth></size>"):
    return (f"<annotation><filename>{filename}</filename>{size}" + "".join(objects) + "</annotation>")


def an_object(name, box=(1, 2, 31, 22), difficult=0):
    corners = "".join(f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"


def devkit(root, documents, **lists):
    """The VOC devkit's layout: {stem: xml}, and the stems of each split."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem, document in documents.items():
        (root / "Annotations" / f"{stem}.xml").write_text(document)
        (root / "JPEGImages" / f"{stem}.jpg").write_bytes(b"")
    for split, stems in lists.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return root


def test_devkit_layout_with_coordinates_less_one_as_in_the_zoo(tmp_path):
    devkit(tmp_path, {"img_10": xml(an_object("cat"), an_object("dog", (5, 5, 5.5, 9), 1)),
                      "img_2": xml(an_object("eel"))}, train=["img_10"], val=["img_2"])

    annotations = load_voc(tmp_path, "train")

    assert annotations.classes == ("cat", "dog", "eel")  # the names of all splits
    assert annotations.category_ids == (1, 2, 3)
    record, = annotations.records
    assert record.image_path == tmp_path.resolve() / "JPEGImages" / "img_10.jpg"
    assert (record.image_id, record.height, record.width, record.source) == (10, 40, 50, "img_10.xml")
    assert record.boxes.tolist() == [[0, 1, 30, 21], [4, 4, 4.5, 8]]
    assert record.areas.tolist() == [600, 2]
    assert record.labels.tolist() == [0, 1] and record.difficult.tolist() == [False, True]
    assert record.object_ids == (1, 2) and not record.crowd.any() and record.segments is None


@pytest.mark.parametrize("images, annotations", [("", ""), ("Images", "Annotations")])
def test_zoo_layout_side_by_side_or_in_two_folders(tmp_path, images, annotations):
    for split, stem in (("train", "7"), ("eval", "8")):
        for folder in (images, annotations):
            (tmp_path / split / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / split / annotations / f"{stem}.xml").write_text(xml(an_object(f"in {split}")))
        (tmp_path / split / images / f"{stem}.PNG").write_bytes(b"")

    for split, folder, image_id in (("train", "train", 7), ("val", "eval", 8), ("test", "eval", 8)):
        loaded = load_voc(tmp_path, split)
        record, = loaded.records
        assert record.image_path == tmp_path.resolve() / folder / images / f"{image_id}.PNG"
        assert record.image_id == image_id and loaded.classes == ("in eval", "in train")


LAYOUTS = {  # program that exports it: folder of the xml files, folder of the images, list of the training split
    "Roboflow": ("train", "train", None),
    "CVAT": ("Annotations", "JPEGImages", "default"),
    "VOC 2007": ("Annotations", "JPEGImages", "trainval"),
    "Label Studio": ("Annotations", "images", None),
    "Kaggle": ("annotations", "images", None),
    "LabelImg": ("", "", None),
}


@pytest.mark.parametrize("program", LAYOUTS)
def test_the_layouts_that_labelling_programs_export(tmp_path, program):
    xml_folder, image_folder, list_name = LAYOUTS[program]
    for folder in (xml_folder, image_folder, "ImageSets/Main" if list_name else ""):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / xml_folder / "5.xml").write_text(xml(an_object("cat")))
    (tmp_path / image_folder / "5.jpg").write_bytes(b"")
    if list_name:
        (tmp_path / "ImageSets" / "Main" / f"{list_name}.txt").write_text("5\n")

    record, = load_voc(tmp_path, "train").records

    assert record.image_path == tmp_path.resolve() / image_folder / "5.jpg" and len(record.boxes) == 1
    with pytest.raises(UsageError, match="no split 'val'"):
        load_voc(tmp_path, "val")


def test_roboflow_calls_its_validation_split_valid(tmp_path):
    for split, name in (("train", "cat"), ("valid", "dog")):
        (tmp_path / split).mkdir()
        (tmp_path / split / "5.xml").write_text(xml(an_object(name)))
        (tmp_path / split / "5.jpg").write_bytes(b"")

    validation = load_voc(tmp_path, "val")

    assert validation.classes == ("cat", "dog") and validation.records[0].labels.tolist() == [1]
    assert validation.records[0].image_path == tmp_path.resolve() / "valid" / "5.jpg"


@pytest.mark.parametrize("lists", [{"trainval": ["1", "2"], "val": ["2"]}, {"test": ["1"]}])
def test_what_other_splits_hold_is_not_taken_for_training(tmp_path, lists):
    devkit(tmp_path, {"1": xml(an_object("cat")), "2": xml(an_object("cat"))}, **lists)

    with pytest.raises(UsageError, match="no split 'train'"):
        load_voc(tmp_path, "train")


def test_a_class_that_is_not_asked_for_is_counted_and_left_out(tmp_path):
    devkit(tmp_path, {"1": xml(an_object("dog"), an_object("cat"), an_object("dog"))}, train=["1"])

    annotations = load_voc(tmp_path, "train", ["cat"])

    assert annotations.records[0].labels.tolist() == [0] and annotations.records[0].object_ids == (2,)
    assert annotations.findings == () and annotations.unselected == {"dog": 2}


def test_a_class_named_background_gives_the_same_classes_for_training_and_evaluation(tmp_path):
    devkit(tmp_path, {"1": xml(an_object("cat"), an_object("background")), "2": xml(an_object("dog"))},
           train=["1"], val=["2"])

    training = load_voc(tmp_path, "train")
    evaluation = load_voc(tmp_path, "val", training.classes)

    assert training.classes == evaluation.classes == ("cat", "dog")
    assert training.unselected == {"background": 1}


def test_a_checkpoint_s_class_named_background_stays_a_class(tmp_path):
    devkit(tmp_path, {"1": xml(an_object("dog"), an_object("background"))}, val=["1"])

    annotations = load_voc(tmp_path, "val", ("background", "dog"))

    assert annotations.classes == ("background", "dog") and annotations.records[0].labels.tolist() == [1, 0]


def test_without_an_image_of_its_name_the_xml_says_which(tmp_path):
    devkit(tmp_path, {"1": xml(filename="../../elsewhere.jpg", size="")}, train=["1"])
    (tmp_path / "JPEGImages" / "1.jpg").unlink()

    record = load_voc(tmp_path, "train", ["cat"]).records[0]

    assert record.image_path == tmp_path.resolve() / "JPEGImages" / "../../elsewhere.jpg"
    assert (record.height, record.width) == (0, 0)


def test_a_stem_that_is_listed_twice_is_kept_once_and_reported(tmp_path):
    devkit(tmp_path, {"1": xml(an_object("cat"))}, train=["1", "", "1"])

    annotations = load_voc(tmp_path, "train")

    assert len(annotations.records) == 1
    assert annotations.findings == (ReaderFinding("duplicate_image_id", "train.txt:3", "1", images=1),)


@pytest.mark.parametrize("stem", ["../../secret", "missing", "a" * 5000, "nul\0"])
def test_a_listed_stem_needs_its_xml_inside_the_root(tmp_path, stem):
    (tmp_path / "secret.xml").write_text(xml())
    root = devkit(tmp_path / "set" / "voc", {}, train=["", stem])

    with pytest.raises(AnnotationError, match="train.txt:2: "):
        load_voc(root, "train", ["cat"])


def test_a_missing_split_says_where_it_was_looked_for(tmp_path):
    devkit(tmp_path, {}, train=[])

    with pytest.raises(UsageError, match="no split 'val'.*val.txt.*eval.*voc_root"):
        load_voc(tmp_path, "val")


BOMB = ("<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\">"
        + "".join(f"<!ENTITY {chr(98 + level)} \"{f'&{chr(97 + level)};' * 10}\">" for level in range(9))
        + "]><annotation><filename>&j;</filename></annotation>")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("document", [
    BOMB, "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><annotation/>",
    "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><annotation><filename>&x;</filename></annotation>"])
def test_documents_with_a_doctype_are_refused_at_once(tmp_path, document, encoding):
    devkit(tmp_path, {"1": ""}, train=["1"])
    (tmp_path / "Annotations" / "1.xml").write_text(f"<?xml version=\"1.0\" encoding=\"{encoding}\"?>{document}",
                                                    encoding=encoding)
    start = time.process_time()

    with pytest.raises(AnnotationError, match="1.xml.*DOCTYPE"):
        load_voc(tmp_path, "train", ["cat"])
    assert time.process_time() - start < 2


@pytest.mark.parametrize("document, message", [
    ("", "is not valid xml"),
    ("<annotation>", "is not valid xml: .* line 1"),
    ("<?xml version=\"1.0\" encoding=\"klingon\"?><annotation/>", "is not valid xml: unknown encoding"),
    (xml(an_object("")), "object 1: expected a name"),
    (xml(an_object("cat"), an_object("cat", (1, 2, "x", 4))), "object 2: bndbox/xmax: expected a number, found 'x'"),
    (xml(an_object("cat", (1, 2, "nan", 4))), "object 1: bndbox/xmax: expected a finite number, found nan"),
    (xml("<object><name>cat</name></object>"), "object 1: bndbox/xmin: expected a number, found None"),
    (xml(an_object("cat", difficult=3)), "object 1: expected 0 or 1, found 3"),
    (xml(an_object("cat"), size="<size><width>-5</width></size>"), "size/width: expected a whole number"),
])
def test_what_no_record_can_hold_is_refused_with_file_and_object(tmp_path, document, message):
    devkit(tmp_path, {"1": document}, train=["1"])

    for classes in (None, ["cat"]):
        with pytest.raises(AnnotationError, match=f"1.xml: {message}"):
            load_voc(tmp_path, "train", classes)


def test_no_object_anywhere_means_no_classes(tmp_path):
    devkit(tmp_path, {"1": xml()}, train=["1"])

    with pytest.raises(AnnotationError, match="no xml file has an object"):
        load_voc(tmp_path, "train")


@pytest.fixture(scope="module")
def one_image(tmp_path_factory):
    return devkit(tmp_path_factory.mktemp("voc"), {"1": ""}, train=["1"])


@given(noise=st.binary(max_size=12) | st.sampled_from([b"<", b"&lt;", b"&x;", b"</object>", b"1e400", b"\xff\xfe"]),
       position=st.integers(0, 10 ** 6), removed=st.integers(0, 40))
@settings(max_examples=400, deadline=None)
def test_mutated_xml_gives_records_or_the_projects_own_error(one_image, noise, position, removed):
    document = ("<?xml version=\"1.0\" encoding=\"utf-8\"?>" + xml(an_object("cat"), an_object("dog"))).encode()
    position %= len(document)
    mutated = document[:position] + noise + document[position + removed:]
    (one_image / "Annotations" / "1.xml").write_bytes(mutated)
    try:
        load_voc(one_image, "train")
    except ProjectError as error:
        assert str(one_image) in str(error)


def test_of_two_images_with_the_stem_of_the_xml_the_one_that_filename_names_is_taken(tmp_path):
    devkit(tmp_path, {"1": xml(an_object("cat"), filename="1.png"), "2": xml(an_object("cat"), filename="2.jpg")},
           train=["1", "2"])
    (tmp_path / "JPEGImages" / "1.png").write_bytes(b"")

    annotations = load_voc(tmp_path, "train")

    assert [record.image_path.name for record in annotations.records] == ["1.png", "2.jpg"]
    assert annotations.findings == (
        ReaderFinding("ambiguous_image", "1.xml", "1.jpg, 1.png have the name of the xml file; 1.png is taken"),)


def test_hidden_files_are_passed_over(tmp_path):
    """macOS leaves a file ._1.xml beside each 1.xml that it copies to a foreign disk."""
    devkit(tmp_path, {"1": xml(an_object("cat"))}, train=["1"])
    (tmp_path / "Annotations" / "._1.xml").write_bytes(b"\0\5\x16\7")
    (tmp_path / "JPEGImages" / "._1.jpg").write_bytes(b"\0\5\x16\7")

    assert load_voc(tmp_path, "train").classes == ("cat",)


def test_a_field_that_is_no_number_is_named(tmp_path):
    devkit(tmp_path, {"1": xml(an_object("cat", difficult="Unspecified"))}, train=["1"])

    with pytest.raises(AnnotationError, match="1.xml: object 1: difficult: expected a number, found 'Unspecified'"):
        load_voc(tmp_path, "train")


def test_a_linked_xml_file_is_named_with_its_target_and_read_when_told_so(tmp_path):
    devkit(tmp_path / "set", {"1": xml(an_object("cat"))}, train=["1"])
    (tmp_path / "set" / "Annotations" / "1.xml").rename(tmp_path / "elsewhere.xml")
    (tmp_path / "set" / "Annotations" / "1.xml").symlink_to(tmp_path / "elsewhere.xml")

    with pytest.raises(AnnotationError, match="1.xml leads to .*elsewhere.xml, which is not below .*set; "
                                              "add --audit_policy outside_root=keep to read it from where it is"):
        load_voc(tmp_path / "set", "train")
    assert load_voc(tmp_path / "set", "train", read_outside=True).classes == ("cat",)


def test_a_linked_folder_of_xml_files_is_named_with_its_target_and_read_when_told_so(tmp_path):
    devkit(tmp_path / "set", {"1": xml(an_object("cat"))}, train=["1"])
    (tmp_path / "set" / "Annotations").rename(tmp_path / "elsewhere")
    (tmp_path / "set" / "Annotations").symlink_to(tmp_path / "elsewhere")
    data = DataSection(dataset="voc", voc_root=str(tmp_path / "set"))

    with pytest.raises(AnnotationError, match="set/Annotations leads to .*elsewhere, which is not below .*set; add"):
        load_split(data, "train")
    kept = data.model_copy(update={"audit_policy": {"outside_root": "keep"}})
    assert load_split(kept, "train").classes == ("cat",)


def test_every_xml_is_read_once(tmp_path, monkeypatch):
    devkit(tmp_path, {str(number): xml(an_object("cat")) for number in range(4)}, train=["0", "1"], val=["2"])
    read = []
    monkeypatch.setattr(pascal_voc, "read_bytes", lambda path, limit: read.append(path.name) or read_bytes(path, limit))

    load_voc(tmp_path, "train")

    assert sorted(read) == ["0.xml", "1.xml", "2.xml", "3.xml"]


def test_all_files_that_cannot_be_read_are_counted_in_one_message(tmp_path):
    devkit(tmp_path, {str(number): xml(an_object("cat", difficult="Unspecified")) for number in range(7)},
           train=[str(number) for number in range(7)])

    with pytest.raises(AnnotationError, match=r"(?s)^7 entries cannot be read:.*0.xml: object 1.*4.xml.*and 2 more$"):
        load_voc(tmp_path, "train")


def test_names_that_macos_has_decomposed_find_their_image_and_xml(tmp_path):
    devkit(tmp_path, {unicodedata.normalize("NFD", "größe"): xml(an_object("cat"))},
           train=[unicodedata.normalize("NFC", "größe")])

    record, = load_voc(tmp_path, "train").records

    assert record.image_path.exists()


def test_an_xml_file_over_the_size_limit_is_not_read(tmp_path, monkeypatch):
    devkit(tmp_path, {"1": xml(an_object("cat"))}, train=["1"])
    monkeypatch.setattr("src.data.pascal_voc.MAX_XML_BYTES", 10)
    with pytest.raises(AnnotationError, match="1.xml.*more than the 10 that are accepted"):
        load_voc(tmp_path, "train", ["cat"])
