"""The page as people see it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ..chromium import EXECUTABLE, Page
from .stream import LABELS, Stream, end, observe

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.frame import Status

TOKEN = "correct-horse_battery"

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")


class Scan:
    """Feeds a dashboard from another thread."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.label = LABELS[0]
        self.status: Status = "plane"
        self.event: str | None = None

    def _run(self) -> None:
        index = 0
        while not self._ended.wait(1 / 30):
            self._stream.put(observe(index, self.label, status=self.status))
            if self.event is not None:
                self._stream.put(end(index, self.event))
                self.event = None
            index += 1

    def __enter__(self) -> Scan:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def test_the_page_follows_the_stream_without_complaints(tmp_path: Path) -> None:
    with Stream(token=TOKEN) as stream, Page(tmp_path) as page:
        with Scan(stream) as scan:
            page.open(f"{stream.url}?token={TOKEN}")  # which the user has, and the dashboard does not print
            for label in LABELS * 2:  # one of them would be markup, if it were not text
                scan.label = label
                page.wait_for(lambda label=label: page.text("#label") == label)  # type: ignore[misc]
                assert page.text("#confidence") == "75%"
                assert page.text("#bars .best span") == label
            page.wait_for(lambda: page.evaluate("picture.naturalWidth") == 64)
            page.wait_for(lambda: (page.text("#state") or "").startswith("live"))
            scan.event = "Femur"
            page.wait_for(lambda: (page.text("#snapshots b") or "") == "Femur")
            page.wait_for(lambda: page.evaluate("document.querySelector('#snapshots img').naturalWidth") == 64)
            page.wait_for(lambda: float((page.text("#rate") or "0").strip("–") or 0) > 0)
            assert page.text("#p50") == "4.0ms"
            assert page.evaluate("location.search") == ""
            scan.status = "frozen"
            page.wait_for(lambda: page.text("#label") == "frozen picture")
            assert page.text("#confidence") == ""
        time.sleep(0.2)
        page.wait_for(lambda: (page.text("#state") or "").startswith("no frame for"))
        assert page.complaints == []
        stream.put(observe(900, image=np.zeros((40, 56), np.uint8), status="frozen"))
        stream.put(end(900, "Abdominal"))
        stream.dashboard.close()  # before the page can ask for the two pictures
        page.wait_for(lambda: page.text("#state") == "ended")
        page.wait_for(lambda: page.evaluate("picture.naturalWidth") == 56)
        page.wait_for(
            lambda: page.evaluate("[...document.images].filter((one) => one.naturalWidth === 64).length") == 2
        )
        assert page.text("#snapshots b") == "Abdominal"
        assert page.text("#label") == "frozen picture"
        with Stream(port=stream.port, token="correct-horse_battery") as another, Scan(another):
            page.wait_for(lambda: page.text("#label") == LABELS[0])
            assert page.text("#snapshots") == ""
