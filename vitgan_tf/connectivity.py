"""Whether a server can be reached, asked before a library tries for minutes."""

from __future__ import annotations

import concurrent.futures
import urllib.error
import urllib.request

NETWORK_SECONDS = 5.0


def unreachable(url: str) -> str | None:
    """Why a server does not answer, or None if it does. Takes NETWORK_SECONDS at most."""

    def ask() -> str | None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=NETWORK_SECONDS):
                return None
        except urllib.error.HTTPError:
            return None  # it answers
        except (OSError, ValueError) as error:
            return str(getattr(error, "reason", error))

    # In a thread: the look-up of a name has a time limit of its own.
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        return pool.submit(ask).result(timeout=NETWORK_SECONDS)
    except concurrent.futures.TimeoutError:
        return f"no answer in {NETWORK_SECONDS:.0f} seconds"
    finally:
        pool.shutdown(wait=False)
