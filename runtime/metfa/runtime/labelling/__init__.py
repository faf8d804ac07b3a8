"""Labelling images in a browser, those first that help most: ``metfa-label``.

``frames.py`` looks at the images of a folder, ``order.py`` sorts them, ``table.py`` keeps the answers on disk,
``session.py`` brings these together, and ``site.py`` shows them on ``page.html``. Needs the extra ``web``.
"""
