"""Says by its exit code whether the dashboard of this container answers; Docker asks so."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

ADDRESS = "http://127.0.0.1:8080/metrics"


def main(address: str = ADDRESS) -> None:
    """End with 1 where nothing answers, or refuses the token.

    Args:
        address: of a page that costs little.
    """
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {os.environ.get('METFA_TOKEN', '')}"})
    try:
        urllib.request.urlopen(request, timeout=4).close()
    except (OSError, urllib.error.URLError) as cause:
        sys.exit(f"no answer of the dashboard: {cause}")


if __name__ == "__main__":
    main(*sys.argv[1:])
