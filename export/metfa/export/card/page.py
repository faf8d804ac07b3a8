"""The card as one page that needs nothing but a browser."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

import markdown

if TYPE_CHECKING:
    from collections.abc import Mapping

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --accent: #0b7285; }}
@media (prefers-color-scheme: dark) {{ :root {{ --accent: #66d9e8; }} }}
body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }}
h1 {{ font-size: 1.9rem; line-height: 1.2; margin-bottom: .4rem; }}
h2 {{ font-size: 1.2rem; margin-top: 2.4rem; padding-bottom: .3rem; border-bottom: 2px solid var(--accent); }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
td {{ font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .6rem; font-size: .93em; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th {{ font-weight: 600; }}
img {{ max-width: 100%; background: #fff; border-radius: .4rem; }}
code {{ font: .85em ui-monospace, monospace; }}
blockquote {{ margin: 1rem 0; padding: .1rem 1rem; border-left: 4px solid var(--accent); }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def to_page(title: str, text: str, pictures: Mapping[str, bytes]) -> str:
    """Return the Markdown ``text`` as HTML.

    Args:
        title: of the page.
        text: in which pictures are named by their file.
        pictures: the PNG files that it shows, by name; they become part of the page.
    """
    body = markdown.markdown(text, extensions=["tables", "sane_lists"])
    for name, content in pictures.items():
        body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{base64.b64encode(content).decode()}"')
    return _PAGE.format(title=html.escape(title), body=body)
