"""The page as programs see it, over real connections."""

from __future__ import annotations

import http.client
import json
import resource
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
import pytest

from .folder import collect, open_session, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from metfa.runtime.labelling.session import Session

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    collect(folder, 12)
    (tmp_path / "secret.png").write_bytes((folder / next(folder.iterdir()).name).read_bytes())
    (folder / "notes.txt").write_text("mine")
    (folder / "broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def session(folder: Path) -> Iterator[Session]:
    session, frames = open_session(folder, wanted=1)
    yield session
    frames.close()


@pytest.fixture
def url(session: Session) -> Iterator[str]:
    with served(session) as url:
        yield url


def request(url: str, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, bytes]:
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        return response.status, response.read()


def state(url: str) -> dict[str, Any]:
    status, body = request(url, "/state")
    assert status == 200, body
    read: dict[str, Any] = json.loads(body)
    return read


def answer(url: str, name: str, answer: str | None, before: str | None = None) -> int:
    return request(url, "/answer", "POST", {"name": name, "answer": answer, "before": before}, **JSON)[0]


def test_answers_are_counted_and_taken_back(url: str, folder: Path) -> None:
    before = state(url)
    assert (before["open"], before["skipped"], before["counts"], before["unreadable"]) == (12, 0, [0] * 6, 1)
    assert len(set(before["queue"])) == 4
    first, second = before["queue"][:2]
    assert answer(url, first, "Femur") == 200
    assert answer(url, second, "") == 200
    after = state(url)
    assert (after["open"], after["skipped"], sum(after["counts"])) == (10, 1, 1)
    assert not {first, second} & set(after["queue"])
    labels, skipped = (folder.with_name(name) for name in ("labels.csv", "labels-skipped.csv"))
    assert labels.read_text() == f"path,label\nframes/{first},Femur\n"
    assert skipped.read_text() == f"path,skipped\nframes/{second},yes\n"
    assert answer(url, first, None, "Femur") == 200
    assert answer(url, second, None, "") == 200
    assert {**state(url), "queue": []} == {**before, "queue": []}


def test_a_picture_is_served_as_png_whatever_it_is(url: str, session: Session, folder: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    cv2.imwrite(str(folder / "ü & co.bmp"), image)
    while "ü & co.bmp" not in {file.name for file in session._frames.files()}:
        time.sleep(0.01)
    status, body = request(url, f"/image?name={quote('ü & co.bmp')}")
    assert status == 200
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR), image)


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/page.html", "/session.py", "/../secret.png", "/image", "/image?name=", "/image?name=notes.txt",
     "/image?name=broken.png", "/image?name=..%2Fsecret.png", "/image?name=%2Fetc%2Fpasswd", "/image?name=.",
     "/image?name=%00", "/answer"],
)  # fmt: skip
def test_nothing_but_images_of_the_folder_is_served(url: str, path: str) -> None:
    assert request(url, path)[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, 200),
        ({**JSON, "Origin": "OWN"}, 200),
        ({**JSON, "Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}, 200),
        ({**JSON, "Origin": "http://attacker.example"}, 403),
        ({**JSON, "Origin": "null"}, 403),
        ({**JSON, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**JSON, "Sec-Fetch-Site": "same-site", "Origin": "OWN"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({}, 415),
        ({**JSON, "Host": "attacker.example"}, 421),
    ],
)
def test_no_other_site_can_answer(url: str, folder: Path, headers: dict[str, str], status: int) -> None:
    given = {"name": state(url)["queue"][0], "answer": "Femur", "before": None}
    own = f"http://{urlsplit(url).netloc}"
    sent = {name: own if value == "OWN" else value for name, value in headers.items()}
    assert request(url, "/answer", "POST", given, **sent)[0] == status
    assert folder.with_name("labels.csv").exists() == (status == 200)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"[" * 5000, b"\xff", {"name": "FIRST"}, {"name": "FIRST", "answer": "Kidney", "before": None},
     {"name": 1, "answer": "Femur", "before": None}, {"name": "FIRST", "answer": ["Femur"], "before": None},
     {"name": "FIRST", "answer": None, "before": None}, {"name": "FIRST", "answer": "Femur", "before": "Lips"},
     {"name": "FIRST", "answer": "Femur", "before": None, "more": 1}],
)  # fmt: skip
def test_what_is_no_answer(url: str, folder: Path, body: Any) -> None:
    if isinstance(body, dict) and body["name"] == "FIRST":
        body = {**body, "name": state(url)["queue"][0]}
    assert request(url, "/answer", "POST", body, **JSON)[0] == 400
    assert not folder.with_name("labels.csv").exists()


def test_a_body_is_bounded(url: str) -> None:
    assert request(url, "/answer", "POST", b" " * 20_000, **JSON)[0] == 413
    assert request(url, "/state", "POST", {}, **JSON)[0] == 404
    assert request(url, "/answer", "PUT", {}, **JSON)[0] == 405


def test_of_two_answers_the_first_counts(url: str, folder: Path) -> None:
    name = state(url)["queue"][0]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda label=label: statuses.append(answer(url, name, label)))
        for label in ("Femur", "Lips", "", "LVOT")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(state(url)["counts"]) + state(url)["skipped"] >= 1
    assert statuses.count(200) <= 2  # a label and a skip may cross; then the label counts
    assert answer(url, name, "RVOT") == 409
    assert answer(url, name, None, "RVOT") == 409


def test_frames_come_and_go_meanwhile(url: str, session: Session, folder: Path) -> None:
    gone, *_ = state(url)["queue"]
    (folder / gone).unlink()
    assert request(url, f"/image?name={gone}")[0] == 404
    assert answer(url, gone, "Femur") == 410
    assert gone not in state(url)["queue"]
    kept = state(url)["queue"][0]
    assert answer(url, kept, "Femur") == 200
    (folder / kept).rename(folder / "new.png")
    while (now := state(url))["open"] != 11 or sum(now["counts"]):  # what training would not find does not count
        time.sleep(0.01)
    assert answer(url, "new.png", "Lips") == 200
    assert f"frames/{kept},Femur" in folder.with_name("labels.csv").read_text()


def test_labels_of_other_classes_are_left_alone(url: str, folder: Path) -> None:
    name = state(url)["queue"][0]
    folder.with_name("labels.csv").write_text(f"path,label\nframes/{name},Kidney\n")
    assert name not in state(url)["queue"]
    assert answer(url, name, "Femur") == 409


def test_a_full_disk_is_told_and_nothing_is_lost(url: str) -> None:
    first, second, *_ = state(url)["queue"]
    assert answer(url, first, "Femur") == 200
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        status, body = request(url, "/answer", "POST", {"name": second, "answer": "Lips", "before": None}, **JSON)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 507
    assert "to be able to write" in json.loads(body)["problem"]
    assert sum(state(url)["counts"]) == 1
    assert answer(url, second, "Lips") == 200


def test_a_table_that_was_damaged_is_told(url: str, folder: Path) -> None:
    folder.with_name("labels.csv").write_text("nothing\n")
    status, body = request(url, "/state")
    assert status == 507
    assert "one column 'path'" in json.loads(body)["problem"]


def test_other_machines_need_the_token(session: Session) -> None:
    with served(session, token="correct-horse_battery") as url:
        assert request(url, "/state")[0] == 401
        assert request(url, "/answer", "POST", {}, **JSON)[0] == 401
        assert request(url, "/image?name=x&token=correct-horse_battery")[0] == 404
        assert request(url, "/?token=correct-horse_battery")[0] == 303
