"""Names of classes in any language: drawn as they are written, or as a number where no font has the characters."""
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from src.data import fonts
from src.data.drawing import contact_sheet, draw_boxes
from src.data.fonts import Text, drawable, drawable_names, font_for

GREY = np.full((120, 300, 3), 100, np.uint8)
BEAR = "\u718a"      # Chinese


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    def forget():
        fonts.font_files.cache_clear()
        fonts.font_for.cache_clear()

    forget()
    monkeypatch.setattr(fonts, "_said", [])
    yield
    monkeypatch.undo()
    forget()


@pytest.fixture
def only_dejavu(monkeypatch):
    files = fonts.font_files()[:1]
    monkeypatch.setattr(fonts, "font_files", lambda: files)


@pytest.fixture
def bear_font(tmp_path, monkeypatch):
    """A font with one Chinese character, a filled square, beside DejaVu Sans."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "bear", "space", *"01.9"])
    builder.setupCharacterMap({ord(BEAR): "bear", 32: "space", **{ord(digit): digit for digit in "01.9"}})
    builder.setupGlyf(dict.fromkeys([".notdef", "bear", "space", *"01.9"], pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", "bear", "space", *"01.9"], (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Bear", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "bear.ttf")
    files = (fonts.font_files()[0], str(tmp_path / "bear.ttf"))
    monkeypatch.setattr(fonts, "font_files", lambda: files)
    return files[1]


def ink(text, size=30):
    """The pixels of a text, black on white."""
    line = Text(text, size)
    canvas = np.full((line.height, line.width, 3), 255, np.uint8)
    line.draw(canvas, 0, 0, (0, 0, 0))
    return canvas


@pytest.mark.usefixtures("only_dejavu")
@pytest.mark.parametrize("name", ["é", "Ü", "ß", "ж", "Ё", "λ", "ő"])
def test_accents_cyrillic_and_greek_are_drawn_and_differ_from_question_mark_and_empty_square(name):
    drawn = ink(name)
    assert (drawn < 100).any()
    for other in ("?", "\uffff"):
        font = fonts._font(fonts.font_files()[0], 30)
        assert bytes(font.getmask(name)) != bytes(font.getmask(other))
    assert (ink("e") < 100).any() and bytes(ink("é")) != bytes(ink("e"))


@pytest.mark.usefixtures("only_dejavu")
def test_a_box_with_a_cyrillic_name_shows_other_pixels_than_one_with_question_marks():
    found = [draw_boxes(GREY, [[20, 40, 280, 110]], [0], [name], [0.5]) for name in ("кот", "???", "кит")]
    assert (found[0] != found[1]).any() and (found[0] != found[2]).any()


@pytest.mark.usefixtures("only_dejavu")
@pytest.mark.parametrize("name", ["浣熊", "アライグマ"])
def test_without_a_font_the_number_of_the_class_is_drawn_which_is_said_once(name, capsys):
    drawn = draw_boxes(GREY, [[20, 40, 280, 110]], [1], ["cat", name], [0.5])
    assert (drawn == draw_boxes(GREY, [[20, 40, 280, 110]], [1], ["cat", "class 2"], [0.5])).all()
    draw_boxes(GREY, [[20, 40, 280, 110]], [1], ["cat", name], [0.5])
    said = capsys.readouterr().err
    assert said.count("no font of this machine") == 1 and f"'{name}'" in said and "'class 2'" in said


def test_a_font_of_the_system_that_has_the_character_draws_it(bear_font):
    assert font_for(BEAR) == bear_font and drawable_names([BEAR]) == [BEAR]
    assert font_for("cat") != bear_font
    drawn = ink(BEAR)
    assert (drawn[10:20, 5:20] == 0).all()     # the middle of the square


@pytest.mark.usefixtures("bear_font")
def test_plots_take_the_font_that_has_the_character(recwarn):
    from src.evaluation.visualize import confusion_plot
    squares, numbers = (confusion_plot(np.eye(2, dtype=int), [name]) for name in (BEAR, "class 1"))
    assert squares != numbers
    assert not [one for one in recwarn if "missing from" in str(one.message)]


@pytest.mark.usefixtures("only_dejavu")
def test_a_caption_that_no_font_can_draw_is_escaped():
    assert drawable(f"{BEAR}.jpg") == "\\u718a.jpg"
    assert contact_sheet([GREY], 1, captions=[f"{BEAR}.jpg"]).shape[2] == 3


def test_a_font_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    files = (str(tmp_path / "broken.ttf"), fonts.font_files()[0])
    monkeypatch.setattr(fonts, "font_files", lambda: files)
    assert font_for("cat") == files[1]
