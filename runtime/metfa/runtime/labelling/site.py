"""What a browser gets: the page, the state of the session, pictures; and what it sends: answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..errors import MetfaError
from ..web.http import RefusalError, Response
from ..web.static import StaticFiles
from .session import SKIP, GoneError
from .table import ChangedError

if TYPE_CHECKING:
    from ..web.http import Request
    from .session import Session

MAX_BODY_BYTES = 1 << 14
"""Of an answer: a path and two labels."""

_FILES = StaticFiles(__package__, "page.css", "page.js")


class LabellingSite:
    """Answers requests about a session.

    ========================  ======================================================================
    ``/``                     the page
    ``/state``                what it shows, as JSON
    ``/image?name=NAME``      a frame as PNG
    ``/answer``               POST of ``{"name": …, "answer": …, "before": …}``; see :meth:`.session.Session.answer`
    ========================  ======================================================================

    Args:
        session: that is shown.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def answer(self, request: Request, ended: asyncio.Event) -> Response:
        """Return the response to a request of somebody who may look.

        Raises:
            RefusalError: there is nothing of that name, or the request makes no sense.
        """
        if request.body is not None:
            if request.path != "/answer":
                raise RefusalError(HTTPStatus.NOT_FOUND, "there is nothing of that name")
            return await asyncio.to_thread(self._take, _parse(request.body))
        if request.path == "/":
            return _FILES.page("page.html")
        if request.path == "/state":
            return await asyncio.to_thread(self._state)
        if request.path == "/image":
            return await asyncio.to_thread(self._picture, request.query.get("name", ""))
        return _FILES.answer(request.path)

    def _state(self) -> Response:
        session = self._session
        try:
            state = session.state()
        except MetfaError as error:
            return _problem(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
        classes = [{"name": each.name, "key": each.key} for each in session.classes]
        about = {"folder": session.folder.name, "table": session.labels.path.name, "wanted": session.wanted}
        return _json({**about, "classes": classes, **asdict(state)}, HTTPStatus.OK)

    def _picture(self, name: str) -> Response:
        try:
            return Response(self._session.picture(name), "image/png")
        except GoneError:
            return _problem(HTTPStatus.NOT_FOUND, "This frame is no longer in the folder.")

    def _take(self, answer: dict[str, Any]) -> Response:
        names = {None, SKIP, *(each.name for each in self._session.classes)}
        if answer["answer"] not in names or (answer["answer"] is None) == (answer["before"] is None):
            raise RefusalError(HTTPStatus.BAD_REQUEST, "no answer that the page gives")
        try:
            self._session.answer(answer["name"], answer["answer"], before=answer["before"])
        except ChangedError:
            return _problem(HTTPStatus.CONFLICT, "This frame was answered elsewhere in the meantime.")
        except GoneError:
            return _problem(HTTPStatus.GONE, "This frame is no longer in the folder.")
        except MetfaError as error:
            return _problem(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
        return self._state()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or answer.keys() != {"name", "answer", "before"} or not _are_texts(answer):
        raise RefusalError(HTTPStatus.BAD_REQUEST, "no answer that the page gives")
    return answer


def _are_texts(answer: dict[str, Any]) -> bool:
    return isinstance(answer["name"], str) and all(
        isinstance(answer[part], str | None) for part in ("answer", "before")
    )


def _problem(status: HTTPStatus, reason: str) -> Response:
    return _json({"problem": reason}, status)


def _json(content: dict[str, Any], status: HTTPStatus) -> Response:
    return Response(json.dumps(content).encode(), "application/json", status)
