"""Pages for browsers: who may open them, requests and responses, and the server of both.

``access.py`` says who may, ``http.py`` reads requests and writes responses, and ``server.py`` serves what a site
answers. The sites are in ``sinks/dashboard/`` and ``labelling/``. Needs the extra ``web``.
"""

from .access import Access, Address, listen, token_of_user
from .server import WebServer

__all__ = ["Access", "Address", "WebServer", "listen", "token_of_user"]
