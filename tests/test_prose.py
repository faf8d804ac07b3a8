"""README and docs are plain: short sentences, short lines. Links lead somewhere."""

from __future__ import annotations

import importlib
import importlib.util
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
MAX_MEAN_WORDS, MAX_WORDS, MAX_CHARACTERS = 17, 35, 120

_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|et al|vs|cf|Eqs?|Fig|Sec|No)\.(?=\s)")
_ITEM = re.compile(r"\s*([-*+]|\d+\.)\s+")
_NO_PROSE = ("|", "#", "<", "![", "[![")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, but for code, tables, headings and pictures, which are empty."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        opening = re.match(r"```+|~~~+", bare)
        if fence is not None:
            fence = None if bare.startswith(fence) else fence
        elif opening:
            fence = opening[0]
        elif not bare.startswith(_NO_PROSE):
            yield number, line
            continue
        yield number, ""


def sentences(text: str) -> Iterator[str]:
    """Yield what ends with a full stop, a question or an exclamation mark, or with its paragraph; code is one word."""
    blocks: list[list[str]] = [[]]
    for _, line in prose(text):
        item = _ITEM.match(line)
        if item or not line.strip():
            blocks.append([])
        blocks[-1].append(line[item.end() :] if item else line.strip())
    for block in blocks:
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(block).strip())
        plain = re.sub(r"``.+?``|`[^`]+`", "code", plain)
        plain = _ABBREVIATION.sub(lambda match: match[1].replace(".", ""), plain)
        yield from re.split(r"(?<=[.!?])[\"')\]*]*\s+(?=\S)", plain)


def words(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them, and those that it names itself."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r'<a id="([^"]+)"', text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        named.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return named


def test_sentences_are_counted_as_one_reads_them() -> None:
    text = "# No. prose\n\nOne two. Three\nfour [five](a.md)!\n\n- Six `a b. c` eight, cf. nine\n\n| no. | prose. |\n"
    assert [(each, words(each)) for each in sentences(text) if words(each)] == [
        ("One two.", 2),
        ("Three four five!", 3),
        ("Six code eight, cf nine", 5),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_and_no_line_is_long(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [each for each in sentences(text) if words(each) > MAX_WORDS] == []
    assert [(number, line) for number, line in prose(text) if len(line) > MAX_CHARACTERS] == []


def test_sentences_are_short_on_average() -> None:
    lengths = [words(each) for page in PAGES for each in sentences(page.read_text(encoding="utf-8")) if words(each)]
    assert len(lengths) > 1000
    assert statistics.mean(lengths) <= MAX_MEAN_WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_metfa_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for module, names in re.findall(r"^from (metfa[\w.]+) import ([\w, ]+)$", text, re.MULTILINE):
        found = importlib.import_module(module)
        assert [name for name in names.split(", ") if not hasattr(found, name)] == [], module
    for dotted in set(re.findall(r"\bmetfa\.(?:runtime|training|export)(?:\.\w+)*", text)):
        parts = dotted.split(".")
        rest: list[str] = []
        while importlib.util.find_spec(".".join(parts)) is None:
            rest.insert(0, parts.pop())
        found = importlib.import_module(".".join(parts))
        for name in rest:
            assert hasattr(found, name), dotted
            found = getattr(found, name)
