"""Asks a backend for rows, again and again, each time over a new connection, until stdin ends.

Arguments: URL, API key. Prints {"ok": whether it was answered with 200, "said": what it was answered else}.
"""

import json
import sys
import threading
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

DEADLINE_SECONDS = 2.0
PAUSE_SECONDS = 0.1

ended = threading.Event()


def wait_for_end():
    sys.stdin.read()
    ended.set()


threading.Thread(target=wait_for_end, daemon=True).start()
parts = urlsplit(sys.argv[1])
while not ended.is_set():
    connection = HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_SECONDS)
    try:
        connection.request("GET", parts.path, headers={"apikey": sys.argv[2]})
        answer = connection.getresponse()
        body = answer.read()
        said = "200" if answer.status == 200 else f"{answer.status} {body[:200]!r}"
    except (OSError, HTTPException) as error:
        said = repr(error)
    finally:
        connection.close()
    print(json.dumps({"ok": said == "200", "said": said}))
    ended.wait(PAUSE_SECONDS)
