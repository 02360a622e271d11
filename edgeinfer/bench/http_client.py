"""A program of its own: streams one completion from each of several connections, and tells how long it took.

Apart from the server, so that its work is not part of the server's. Standard input: one line of JSON with
`port`, `bodies` (of /v1/completions) once, then an empty line for each round; standard output: seconds of it.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time


def main() -> None:
    """Serve rounds until standard input ends."""
    asked = json.loads(sys.stdin.readline())
    bodies = [json.dumps(body).encode() for body in asked["bodies"]]
    connections = [http.client.HTTPConnection("127.0.0.1", asked["port"]) for _ in bodies]
    for _ in sys.stdin:
        start = time.perf_counter()
        readers = [
            threading.Thread(target=_read, args=(connection, body))
            for connection, body in zip(connections, bodies, strict=True)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        print(time.perf_counter() - start, flush=True)


def _read(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/v1/completions", body)
    response = connection.getresponse()
    last = b""
    while piece := response.read1(1 << 16):
        last = (last + piece)[-32:]
    if not last.endswith(b"data: [DONE]\n\n"):
        raise SystemExit(f"the stream ended with {last!r}")


if __name__ == "__main__":
    main()
