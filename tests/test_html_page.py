"""Report and live page with hostile names: nothing is run, nothing is loaded; a browser confirms it where one is."""
from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.coco_json import to_coco
from src.data.records import AnnotationSet, Record
from src.engine.live_page import live_page
from src.evaluation.coco import evaluate_coco
from src.evaluation.matching import group_by_image
from src.evaluation.report import write_report
from src.evaluation.thresholds import ScoreThreshold
from src.html_page import render

RUN = "document.documentElement.dataset.ran = 1"    # what the scripts of hostile names do
HOSTILE = (f"<script>{RUN}</script>", f"\"><img src=x onerror='{RUN}'>", f"' onload='{RUN}",
           "</style><style>*{color:red}", "{{ 7 * 7 }}", "</title><base href=//evil>",
           f"<a href=\"javascript:{RUN}\">a</a>", "<!--", "\x1b[2J\u202e",
           "<meta http-equiv=refresh content=0;url=//evil>")
RUNS = {"script", "iframe", "object", "embed", "base", "form", "link", "svg", "a", "template"}


class Elements(HTMLParser):
    """What a page is made of: elements, their attributes, and the text of <style>."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.styles = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "style":
            self.styles.append("")

    def handle_data(self, data):
        if self.cdata_elem == "style":
            self.styles[-1] += data


def hostile_report(folder: Path) -> str:
    """A report whose classes, files, title, facts and diagnosis have hostile names."""
    records = []
    for image_id, name in enumerate(HOSTILE, 1):
        path = folder / f"{name.replace('/', '_')}.png"
        cv2.imwrite(str(folder / "image.png"), np.full((60, 80, 3), 200, np.uint8))
        if image_id % 2:    # of the others it is said that they are missing
            shutil.move(folder / "image.png", path)
        records.append(Record(path, image_id, 60, 80, np.array([[5, 5, 40, 40]], np.float32),
                              np.array([image_id - 1], np.int32), np.zeros(1, bool), np.zeros(1, bool),
                              np.array([1225.0]), None, (image_id,), name))
    annotations = AnnotationSet(HOSTILE, tuple(range(1, len(HOSTILE) + 1)), tuple(records), folder, "coco", folder)
    rows = [{"image_id": number, "category_id": 1, "bbox": [5, 5, 35, 35], "score": 0.9}
            for number in range(1, len(HOSTILE) + 1)]
    ground_truth = to_coco(annotations)
    write_report(folder / "report.html", title=HOSTILE[0], annotations=annotations, rows=rows,
                 images=group_by_image(ground_truth, rows), results=[evaluate_coco(ground_truth, rows)],
                 threshold=ScoreThreshold(0.5, HOSTILE[1]), facts={name: f"{name}\n{name}" for name in HOSTILE},
                 headline={HOSTILE[1]: HOSTILE[2]}, diagnosis=HOSTILE)
    return (folder / "report.html").read_text(encoding="utf-8")


def hostile_live_page() -> str:
    line = {"step": 1, "epoch": 1, "lr": 0.1, **{f"loss{name}": 1.0 for name in HOSTILE}}
    return live_page("".join(HOSTILE), [line, {"AP": 0.1, "AP50": 0.2, "step": 1, "epoch": HOSTILE[0], "plain": False}],
                     b"png", 9, running=True)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    pytest.importorskip("pycocotools")
    return {"report": hostile_report(tmp_path_factory.mktemp("report")), "live": hostile_live_page()}


@pytest.mark.parametrize("name", ["report", "live"])
def test_a_page_with_hostile_names_has_no_element_that_runs_or_loads(pages, name):
    page = pages[name]
    elements = Elements(page)
    kinds = [tag for tag, _ in elements.found]
    assert not RUNS & set(kinds) and kinds.count("html") == kinds.count("title") == kinds.count("style") == 1
    attributes = [pair for _, found in elements.found for pair in found.items()]
    assert not [key for key, _ in attributes if key.startswith("on") or key == "style"]
    assert all(value.startswith("data:image/") for key, value in attributes if key in ("src", "href"))
    refreshes = [found["content"] for tag, found in elements.found if found.get("http-equiv") == "refresh"]
    assert refreshes == (["30"] if name == "live" else [])
    assert "\x1b" not in page and "\u202e" not in page and "{{ 7 * 7 }}" in page
    assert page.count("&lt;script&gt;") >= 1


@pytest.mark.parametrize("name", ["report", "live"])
def test_the_policy_of_a_page_allows_its_own_style_and_embedded_images_alone(pages, name):
    elements = Elements(pages[name])
    assert elements.found[2][0] == "meta", "the policy comes first, since it holds for what follows it"
    policy = elements.found[2][1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    (style,) = elements.styles
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["content"] == (f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
                                 "form-action 'none'")


def seen_by_chromium(page: Path) -> str:
    """The page as Chromium has it after loading."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed; Debian: apt install chromium")
    done = subprocess.run([program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                           f"--user-data-dir={page.parent / 'browser'}", "--virtual-time-budget=2000", "--dump-dom",
                           page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "<html" in done.stdout, done.stderr
    return done.stdout


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["report", "live"])
def test_chromium_runs_no_script_of_a_hostile_name(pages, name, tmp_path):
    (tmp_path / "page.html").write_text(pages[name], encoding="utf-8")
    assert "data-ran" not in seen_by_chromium(tmp_path / "page.html")


@pytest.mark.nightly
@pytest.mark.parametrize("policy, ran", [(True, False), (False, True)])
def test_chromium_keeps_to_the_policy_where_a_name_was_not_escaped(tmp_path, policy, ran):
    """Also shows that the test above would notice a script."""
    template = ("{% set style %}p { color: red }{% endset %}<!doctype html><html><head>"
                + "<meta http-equiv='Content-Security-Policy' content=\"{{ style | policy }}\">" * policy
                + "<style>{{ style }}</style></head><body>{{ name | safe }}</body></html>")
    (tmp_path / "page.j2").write_text(template)
    page = render(tmp_path / "page.j2", name="".join(HOSTILE[:3]))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    assert bool(re.search("data-ran", seen_by_chromium(tmp_path / "page.html"))) is ran
