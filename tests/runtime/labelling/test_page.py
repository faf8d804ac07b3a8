"""The page as people use it: with keys alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from metfa.runtime.phantom import PLANES

from ..chromium import EXECUTABLE, Page
from .folder import collect, open_session, served

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")

SHOWN = "document.querySelector('#picture img')?.src.split('name=')[1] ?? ''"


class Person:
    """Somebody before the page who sees the frame and has a keyboard."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def look(self, last: str = "") -> str:
        """Return the frame on the page, when it is another than the last."""
        self._page.wait_for(lambda: self._page.evaluate(SHOWN) not in {"", last})
        return unquote(self._page.evaluate(SHOWN))

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self._page.call("Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {}))

    def tab_to(self, name: str) -> None:
        """Move the focus to the button of that name."""
        while name not in (self._page.evaluate("document.activeElement.closest('button')?.textContent") or ""):
            self._page.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
            self._page.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)


def test_a_collection_is_labelled_with_keys_alone(tmp_path: Path) -> None:
    planes = collect(tmp_path / "frames", 24)
    keys = dict(zip(PLANES, "123456", strict=True))
    session, frames = open_session(tmp_path / "frames", wanted=1)
    with served(session) as url, Page(tmp_path / "profile") as page:
        person = Person(page)
        page.open(url)
        skipped = person.look()
        person.press(" ")
        first = person.look(skipped)
        person.press("1")
        second = person.look(first)
        assert page.text("#last") == f"The last frame: {PLANES[0]}."
        person.press("u")
        assert person.look(second) == first
        person.press("Backspace")
        assert person.look(first) == skipped
        page.wait_for(lambda: page.text("#summary") == "0 labelled, 0 skipped, 24 open")
        name = ""
        while page.evaluate("document.getElementById('done').hidden"):
            name = person.look(name)
            person.press(keys[planes[name]])
            page.wait_for(lambda name=name: page.evaluate(SHOWN) != name)  # type: ignore[misc]
        labels = tmp_path / "labels.csv"
        assert {row.split(",")[1] for row in labels.read_text().splitlines()[1:]} == set(PLANES)
        before = len(labels.read_text().splitlines())
        last = person.look()
        person.tab_to(PLANES[5])
        page.call("Input.dispatchKeyEvent", type="keyDown", key=" ", code="Space", text=" ", windowsVirtualKeyCode=32)
        page.call("Input.dispatchKeyEvent", type="keyUp", key=" ", code="Space", windowsVirtualKeyCode=32)
        person.look(last)
        assert labels.read_text().splitlines()[before:] == [f"frames/{last},{PLANES[5]}"], "Space presses the button"
        assert page.evaluate("document.activeElement.tagName") == "BUTTON", "the focus stays"
        assert page.complaints == []
    frames.close()


def test_every_button_has_a_name_and_a_key(tmp_path: Path) -> None:
    collect(tmp_path / "frames", 6)
    session, frames = open_session(tmp_path / "frames", classes=("<b>Lips</b>", "Femur", "Background"))
    with served(session) as url, Page(tmp_path / "profile") as page:
        page.open(url)
        Person(page).look()
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        names = [node["name"]["value"] for node in nodes if node["role"]["value"] == "button"]
        assert sorted(names) == [
            "0 Background 0 of 5",
            "1 <b>Lips</b> 0 of 5",
            "2 Femur 0 of 5",
            "Space Skip",
            "U Undo",
        ]
        assert page.evaluate("document.querySelectorAll('button[aria-keyshortcuts]').length") == 5
    frames.close()


def test_the_page_outlives_the_command_and_a_frame_that_goes(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    collect(folder, 8)
    session, frames = open_session(folder, wanted=1)
    with Page(tmp_path / "profile") as page:
        person = Person(page)
        with served(session) as url:
            page.open(url)
            gone = person.look()
            (folder / gone).unlink()
            person.press("1")
            page.wait_for(lambda: page.text("#problem") == "This frame is no longer in the folder.")
            shown = person.look(gone)
        person.press("2")
        page.wait_for(lambda: (page.text("#problem") or "").startswith("metfa-label does not answer."))
        assert person.look() == shown
        assert not (tmp_path / "labels.csv").exists()
    frames.close()
