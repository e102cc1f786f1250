"""A real file server on a free port that can be told to misbehave."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files` by path.

    ranges              what was asked for: the Range header of every request
    understands_ranges  answers 206 to them
    breaks_after        sends only so many bytes of a body
    etag                of all files
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []
        self.understands_ranges = True
        self.breaks_after: int | None = None
        self.etag: str | None = None

    @property
    def url(self) -> str:
        """The address of the root, without a slash."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve_files(**files: bytes) -> Iterator[FileServer]:
    """A server that runs until the block ends."""
    server = FileServer()
    server.files.update({f"/{name}": content for name, content in files.items()})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        content = self.server.files.get(self.path.partition("?")[0])
        if content is None:
            self.send_error(404)
            return
        is_current = self.headers.get("If-Range") in {None, self.server.etag}
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and is_current and self.server.understands_ranges else 0
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(content, start)

    def _send(self, content: bytes, start: int) -> None:
        body = content[start:]
        self.send_response(206 if start else 200)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.etag is not None:
            self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""
