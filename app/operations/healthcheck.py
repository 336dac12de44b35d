"""Health check for images without curl: ``python -m app.operations.healthcheck [URL]`` exits with 0 on a good answer.

Of the standard library only, because it runs every few seconds: the command line takes twenty times as long to import.
"""

import sys
import urllib.request

TIMEOUT_SECONDS = 2.0


def main(url: str = "http://127.0.0.1:8000/_livez") -> None:
    # The service itself is asked, whatever proxy the environment names for the way out.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=TIMEOUT_SECONDS).close()
    except (OSError, ValueError) as error:
        sys.exit(f"{url}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
