"""README and docs: links lead somewhere, and the Chinese pages keep step with the English ones."""
from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from src.models import MODELS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Chinese page -> the English page it follows
CHINESE = {"README_CN.md": "README.md",
           **{page: page.replace("docs/zh/", "docs/") for page in PAGES if page.startswith("docs/zh/")}}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def headings(text: str) -> list:
    """(level, title) of the headings, without those that are comments in code."""
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", FENCE.sub("", text), re.MULTILINE)]


def anchors(text: str) -> set:
    """The anchors that GitHub gives to headings."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for _, title in headings(text)}


def code(text: str) -> list:
    """The code blocks as (language, lines without comments); prose in comments may be translated."""
    return [(language, [re.sub(r"(^|\s+)# .*$", "", line).strip() for line in block.splitlines()
                        if not line.strip().startswith("# ")]) for language, block in FENCE.findall(text)]


def table_rows(text: str) -> list:
    """The number of cells of every table row, in order."""
    return [line.count("|") - 1 for line in FENCE.sub("", text).splitlines() if line.startswith("|")]


def broken_links(page: str) -> list:
    """The links of a page to files or headings that do not exist; addresses on the internet are not tried."""
    text = FENCE.sub("", text_of(page))
    broken = []
    for target in sorted({target for target in LINK.findall(text) if "://" not in target}):
        place, _, anchor = target.partition("#")
        path = (ROOT / page).parent / unquote(place) if place else ROOT / page
        if not path.exists() or anchor and unquote(anchor) not in anchors(path.read_text(encoding="utf-8")):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", sorted(CHINESE))
def test_a_chinese_page_has_the_headings_and_commands_of_the_english_one(page):
    chinese, english = text_of(page), text_of(CHINESE[page])
    assert [level for level, _ in headings(chinese)] == [level for level, _ in headings(english)]
    assert code(chinese) == code(english)
    assert table_rows(chinese) == table_rows(english)


@pytest.mark.parametrize("page", sorted(CHINESE))
def test_a_chinese_page_is_written_in_chinese(page):
    text = FENCE.sub("", text_of(page))
    assert len(re.findall(r"[\u4e00-\u9fff]", text)) > 0.15 * len(text)


@pytest.mark.parametrize("page", ["README.md", "README_CN.md", "docs/choosing_a_model.md"])
def test_every_model_is_named(page):
    assert [name for name in MODELS if f"`{name}`" not in text_of(page)] == []


def test_readme_fits_on_a_few_screens():
    assert len(text_of("README.md").splitlines()) <= 180
