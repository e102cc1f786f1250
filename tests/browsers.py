"""Browsers that look at live pages: `python tests/browsers.py URL NAME N`; the standard library alone, so that they start at once.

They say that they are ready, look until a line comes on standard input, and print how many events they were sent.
"""

import asyncio
import sys

_FIRST_PAGE, _PAGE = "/live/events", "/live/datasets/{name}/events"
"""What the pages follow; every other browser looks at the first one, with all datasets."""


async def watch_all(url: str, name: str, n: int) -> list[int]:
    """The events that each of n browsers is sent."""
    host, _, port = url.removeprefix("http://").partition(":")
    counts = [0] * n
    print("ready", flush=True)
    watching = [asyncio.create_task(_watch(host, int(port), (_FIRST_PAGE, _PAGE.format(name=name))[k % 2], counts, k)) for k in range(n)]
    await asyncio.to_thread(sys.stdin.readline)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    return counts


async def _watch(host: str, port: int, path: str, counts: list[int], k: int) -> None:
    """Follow one page, and open it again where the stream ends, as a browser does."""
    while True:
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 22)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
        while line := await reader.readline():
            counts[k] += line.startswith(b"event: ")
        writer.close()
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    found = asyncio.run(watch_all(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    print(sum(found) if all(found) else found)
    sys.exit(not all(found))
