"""Quick check of a server, before a library retries for minutes."""

from __future__ import annotations

import concurrent.futures
import urllib.error
import urllib.request

NETWORK_SECONDS = 5.0


def unreachable(url: str) -> str | None:
    """Returns why a server does not answer, or None if it does, within NETWORK_SECONDS."""

    def ask() -> str | None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=NETWORK_SECONDS):
                return None
        except urllib.error.HTTPError:
            return None  # the server answers
        except (OSError, ValueError) as error:
            return str(getattr(error, "reason", error))

    # In a thread: name resolution ignores the timeout above.
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        return pool.submit(ask).result(timeout=NETWORK_SECONDS)
    except concurrent.futures.TimeoutError:
        return f"no answer in {NETWORK_SECONDS:.0f} seconds"
    finally:
        pool.shutdown(wait=False)
