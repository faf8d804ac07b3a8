"""Observations in web browsers.

``access.py`` says who may look, ``http.py`` reads requests, ``board.py`` holds what is shown, ``server.py`` serves it,
and ``page.html``, ``page.css`` and ``page.js`` show it.
"""

from .access import Access, Address
from .board import About
from .sink import DashboardSink

__all__ = ["About", "Access", "Address", "DashboardSink"]
