"""One word per thing: what README, docs, settings, messages, docstrings and comments do not say."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# word or phrase that is not used -> what is
GLOSSARY = {
    r"pictures?": "image",
    r"bod(y|ies)": "backbone",
    r"side-?cars?": "description file",
    r"default box(es)?": "prior",
    r"prior box(es)?": "prior",
    r"by heart": "overfit",
    r"proved equal": "checked against",
    r"nobody's target": "ignored",
    r"anew": "again",
    r"as a part of": "as a fraction of",
    r"of more, so many": "a random subset",
    r"(no|some)body": "the subject: 'the driver needs', 'no reader sees'",
    r"in vain": "without success",
    r"nevertheless": "but",
    r"at hand": "available",
    r"afresh|from nothing": "from scratch",
    r"put right": "corrected",
    r"wants? to be": "must be",
    r"got used to": "the convention of",
    r"(as|are|is) (those|that) of": "the half sentence again, or the name of what is meant",
}
LONGEST_SENTENCE = 40   # words; the rule is about 25
PLACES = ("README.md", "docs", "config", "tools", "src", "scripts", "benchmarks", "ascend310_infer/src",
          "ascend310_infer/inc", "Makefile", "Dockerfile", *(path.name for path in ROOT.glob("*.py")))
ENDINGS = {"", ".md", ".yaml", ".py", ".sh", ".cc", ".h", ".j2"}
# Names that others have given, or that files of earlier versions carry.
KNOWN_NAMES = re.compile(r"draw_picture|[\"'`]pictures?[\"'`]|frozen_body|pictures\.txt|</?body|body \{|backbone\.body"
                         r"|body=graph")


def texts():
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and file.suffix in ENDINGS and "__pycache__" not in file.parts:
                yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def sentences(page: str) -> list:
    """The sentences of a page in Markdown; code blocks and tables are left out, a code span counts as one word."""
    text = re.sub(r"^ *```.*?^ *```$", "", page, flags=re.DOTALL | re.MULTILINE)
    text = "\n".join(line for line in text.splitlines() if not line.strip().startswith("|"))
    found = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*#]|\d+\.) )", text):
        found += re.split(r"(?<=[.:;!?])\s+", re.sub(r"`[^`]*`", "code", " ".join(paragraph.split())))
    return found


def unwanted(text: str) -> list:
    """(line number, word found, word to use) of a text."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        plain = KNOWN_NAMES.sub("", line)
        found += [(number, match.group(), better) for pattern, better in GLOSSARY.items()
                  for match in re.finditer(rf"(?<![\w/])({pattern})(?![\w])", plain, re.IGNORECASE)]
    return found


def test_texts_keep_to_the_glossary():
    found = [f"{name}:{number}: '{word}'; say '{better}'" for name, text in texts()
             for number, word, better in unwanted(text)]
    assert not found, "\n".join(found)


def test_no_sentence_of_the_docs_is_a_riddle():
    long = [f"{path.name}: {sentence[:80]}..." for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
            for sentence in sentences(path.read_text(encoding="utf-8")) if len(sentence.split()) > LONGEST_SENTENCE]
    assert not long, f"more than {LONGEST_SENTENCE} words; make two sentences:\n" + "\n".join(long)


def test_sentences_are_told_apart():
    page = "# Head\n\nOne `a b c` two. Three:\nfour\n\n```shell\npython train.py\n```\n\n| a | b |\n- five\n- six 1.5"
    assert [len(sentence.split()) for sentence in sentences(page) if sentence] == [2, 3, 1, 1, 2, 3]


@pytest.mark.parametrize("line, word", [("pad the picture", "picture"), ("# Prior boxes of a map", "Prior boxes"),
                                        ("written anew", "anew"), ("learned by heart", "by heart"),
                                        ("the classes are those of the file", "are those of")])
def test_a_word_beside_the_glossary_is_found(line, word):
    assert [match for _, match, _ in unwanted(line)] == [word]


@pytest.mark.parametrize("line", ["<body>", "frozen_body: true", 'outputs["pictures"]', "the image, the backbone"])
def test_names_that_have_to_stay_are_let_pass(line):
    assert unwanted(line) == []
