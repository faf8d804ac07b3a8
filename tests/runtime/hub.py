"""A server on this machine that speaks as much of the Hugging Face Hub as its library asks for, and breaks on request.

What is asked was seen with huggingface_hub 0.34 to 2.4: of each file HEAD and then GET of
``/OWNER/NAME/resolve/REVISION/FILE``. A tag is a second name of the one commit that there is.
"""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY, TAG = "clinic/planes", "v1"


class Hub:
    """The server; a context manager.

    Args:
        files: what the repository holds, by name.

    Attributes:
        requests: what was asked, in order: ``HEAD /…``.
        cut: how many bytes of a file are sent before the connection ends, by its name; once, or always.
        refusal: a status that answers everything, or None.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[str] = []
        self.agents: set[str] = set()
        self.cut: dict[str, int] = {}
        self.cuts_always = False
        self.refusal: int | None = None
        hub = self

        class Handler(_Handler):
            def __init__(self, *arguments: Any) -> None:
                self.hub = hub
                super().__init__(*arguments)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(lambda content: None)

    def do_GET(self) -> None:
        self._answer(self._send)

    def _answer(self, send: Callable[[bytes], None]) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.agents.add(self.headers["User-Agent"])
        asked = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^/]+)", self.path)
        if self.hub.refusal is not None:
            self._refuse(self.hub.refusal, "")
        elif asked is None or asked[1] != REPOSITORY:
            self._refuse(401, "RepoNotFound")  # as the Hub answers whoever is not logged in
        elif asked[2] not in {COMMIT, TAG}:
            self._refuse(404, "RevisionNotFound")
        elif asked[3] not in self.hub.files:
            self._refuse(404, "EntryNotFound")
        else:
            self._name, content = asked[3], self.hub.files[asked[3]]
            begin = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            first = int(begin[1]) if begin else 0
            self.send_response(206 if begin else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')  # as git does
            self.send_header("Content-Length", str(len(content) - first))
            if begin:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            send(content[first:])

    def _send(self, content: bytes) -> None:
        limit = self.hub.cut.get(self._name) if self.hub.cuts_always else self.hub.cut.pop(self._name, None)
        if limit is None:
            self.wfile.write(content)
            return
        self.wfile.write(content[: 0 if "Range" in self.headers else limit])
        self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
