"""Who may look: everyone on this machine, or whoever knows the token."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING

from ..address import Address as NetworkAddress
from ..address import listen_on
from ..errors import OutputError
from .http import TEXT, RefusalError, Response

if TYPE_CHECKING:
    from .http import Request

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")  # what needs no quoting in URLs and cookies
_SEND_BUFFER = 1 << 16  # bytes


class Address(NetworkAddress):
    """Where a page is served; see :class:`~metfa.runtime.address.Address`."""

    __slots__ = ()

    def listen(self) -> socket.socket:
        """Return a socket that browsers can connect to from now on.

        Raises:
            OutputError: the address is none of this machine's, or in use.
        """
        listening = listen_on(
            self,
            purpose=f"serve a page on {self}",
            remedy="give an address of this machine and a port that is free, such as 127.0.0.1:8080",
        )
        # Inherited by every connection: little waits for a slow viewer in the system, as it would be old.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        return listening


def token_of_user() -> str | None:
    """Take the user's own token out of the environment; no program that this one starts is to know it."""
    return os.environ.pop("METFA_TOKEN", None) or None


def listen(address: Address, token: str | None) -> tuple[socket.socket, Access]:
    """Return a socket that browsers can connect to from now on, and who may.

    Raises:
        OutputError: the page cannot be served there, or the token does not fit.
    """
    listening = address.listen()
    try:
        return listening, Access(listening, token)
    except OutputError:
        listening.close()
        raise


class WrongTokenError(RefusalError):
    """A request whose token is not the one that is asked for: a mistake, or a guess."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, "this is not the token")


class Access:
    """Decides about each request.

    Without a token only this machine's own programs can connect. Web pages of others must not read along through its
    browser, by a name of theirs that leads here (DNS rebinding), so the request must name an IP address or localhost.
    With a token it is the token that counts: as parameter ``token`` of the URL, which the browser then keeps as a
    cookie, or as ``Authorization: Bearer …``. Only the first of these that a request holds counts: it is one guess.

    Pages of other sites may send nothing, whatever cookie the browser would add (CSRF): a request with a body must be
    JSON, and if it comes from a browser, from this page.

    Args:
        listening: the socket that is served.
        token: what to ask for; None asks for nothing on a loopback address and makes one up on any other.

    Raises:
        OutputError: the token is too short, or would need quoting.

    Attributes:
        token: what is asked for, or None.
        url: what to open in a browser; with a token that was made up, but not with one that is a secret of the user's.
        invitation: the same for people, who are told where such a secret goes.
    """

    def __init__(self, listening: socket.socket, token: str | None) -> None:
        host, port = listening.getsockname()[:2]
        address = ipaddress.ip_address(host.partition("%")[0])
        if token is not None and not _TOKEN.fullmatch(token):
            raise OutputError(
                expected="a token of 16 to 128 letters, digits, - or _",
                received=f"one of {len(token)} characters",
                remedy="choose another, or leave it out to have one made up",
            )
        self.token = token if token is not None or address.is_loopback else secrets.token_urlsafe(16)
        shown = Address(socket.gethostname() if address.is_unspecified else host, port)
        self.url = f"http://{shown}/" + (f"?token={self.token}" if self.token != token else "")
        self.invitation = self.url if token is None else f"{self.url}?token=… of your METFA_TOKEN"
        self._cookie = f"metfa-{port}"  # a browser sends the cookies of all ports of a host

    def check(self, request: Request) -> None:
        """Let ``request`` pass.

        Raises:
            WrongTokenError: it offers another token.
            RefusalError: it must not.
        """
        if request.body is not None:
            _refuse_other_sites(request)
        if self.token is None:
            if not _is_own_name(request.headers.get("host", "localhost")):
                raise RefusalError(
                    HTTPStatus.MISDIRECTED_REQUEST, "open the page by its IP address, or set METFA_TOKEN"
                )
            return
        offered = self._offered(request)
        if offered is None:
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "open the printed address, with the token as ?token=…")
        # In constant time, so that the answer's delay tells nothing of the token.
        if not hmac.compare_digest(offered.encode(), self.token.encode()):
            raise WrongTokenError

    def cookie(self) -> str:
        """Return the value of the header that makes a browser keep the token."""
        return f"{self._cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax"

    def keep_token(self, request: Request) -> Response | None:
        """Return what moves a token from the URL, which ends up in histories and screenshots, into a cookie."""
        if request.path != "/" or "token" not in request.query or not self.token:
            return None
        return Response(b"", TEXT, HTTPStatus.SEE_OTHER, {"Location": "./", "Set-Cookie": self.cookie()})

    def _offered(self, request: Request) -> str | None:
        if "token" in request.query:
            return request.query["token"]
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return credentials.strip()
        cookie = re.search(rf"(?:^|; ?){self._cookie}=([^;]*)", request.headers.get("cookie", ""))
        return cookie[1] if cookie else None


def _refuse_other_sites(request: Request) -> None:
    """Refuse what a page of another site has a browser send.

    Browsers say where a request comes from: in ``Sec-Fetch-Site``, or on pages without TLS in ``Origin`` alone. No page
    can change either. Programs send neither.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = site == "same-origin" if site else origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not own:
        raise RefusalError(HTTPStatus.FORBIDDEN, "another site may send nothing here")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusalError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")


def _is_own_name(host: str) -> bool:
    """Whether a ``Host`` header names this machine in a way that no foreign name server can."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+))(?::\d*)?", host)
    if match is None:
        return False
    name = match[1] or match[2]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
