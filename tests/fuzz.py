"""`python -m tests.fuzz`: mutated requests to gateway, labeller and a service over loopback, bounded by count and by time.

Prints for each app the requests by status, hangs, the slowest answer of health, and the memory before and after. The tests have a
small form of it (tests/integration/test_hard_requests.py).
"""

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from distillery.generators.service import create_app
from distillery.generators.settings import ServiceSettings
from distillery.http.server import configure_server
from distillery.runtime.limits import BODY_SECONDS
from distillery.structures.arrow import ARROW_TYPE, to_arrow
from gateway.app import create_gateway
from gateway.settings import GatewaySettings
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.labelling import mixed, record
from tests.serving import free_port, wait_for_answer

HANG_SECONDS = BODY_SECONDS + 10
RECIPE = b"""\
name: small
seed: 1
teacher: fake
sources:
  one: {service: fake, system: cluster, count: 20, atoms: [4, 20], options: {a: [1, 2.5, "x"]}}
gates: {duplicates: 0.2}
"""
ODD = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\xf0\x9f\x92\xa9",
        b"\xe2\x80\xa8",
        b"\\u0000",
        b"\\ud800",
        b"[" * 5000,
        b"{" * 300,
        b'{"a":' * 2000,
        b"- " * 3000,
    ),
    *(
        b"NaN",
        b"1e999",
        b"-1",
        b"9" * 5000,
        b"0x",
        b"!!set {}",
        b'!!int ""',
        b"&a [*a]",
        b"<<: *b",
        b"? ",
        b"---\n",
        b"null",
        b'""',
        b"\t",
        b"'",
    ),
    *(b"/../", b"%00", b"%2e%2e%2f", b"\r\n", b",[0]" * 4000),
)
"""What parsers have stumbled over."""
HEADERS = (
    *("Range: bytes=0-", "Range: bytes=\xff", "If-None-Match: \x01", "Accept: application/json", "Accept: \xe9\x00", "Last-Event-ID: -1"),
    *(
        "Last-Event-ID: 99999999999999999999",
        "Origin: http://[",
        "Host: [::1",
        "Host: a\x7fb",
        "Authorization: Bearer \xff",
        "Expect: 100-continue",
    ),
    *(
        "Transfer-Encoding: gzip",
        "Content-Length: -1",
        "Content-Type: multipart/form-data",
        "Accept-Encoding: gzip;q=x",
        "Upgrade: websocket",
    ),
)


def build_app(name: str, data: Path) -> FastAPI:
    """The gateway (which finds nobody to ask), the labeller with a teacher that computes next to nothing, or a service like that."""
    if name == "gateway":
        gone = "http://127.0.0.1:9"
        settings = GatewaySettings(data=data, labeller=gone, services={"fake": gone}, tries=1, patience=0.01, busy_seconds=0.1, page=False)
        return create_gateway(settings)
    if name == "labeller":
        return create_labeller(FakeTeacher(), LabellerSettings(data=data, body_limit_mib=256))
    return create_app(FakeGenerator(), ServiceSettings())


@dataclass(frozen=True)
class Seed:
    """A sound request."""

    method: str
    target: str
    body: bytes = b""
    content_type: str = "application/json"


_ARROW = to_arrow(mixed("full-one-00000", 6), record())
_FINALISE = {"dataset": "d", "recipe": "a", "recipe_sha256": "a" * 64, "seed": 1, "parts": [{"part": "full-one-00000", "leave_out": ["x"]}]}
_GENERATE = {"n": 3, "seed": 5, "system": "cluster", "elements": ["H", "C"], "min_atoms": 4, "perturb": {"rattle": 0.1}, "options": {}}
COMMON = tuple(
    Seed("GET", f"/{path}") for path in ("v1/health/ready", "v1/metadata", "metrics", "docs", "openapi.json", "docs-assets/favicon.png")
)
SEEDS: dict[str, tuple[Seed, ...]] = {
    "gateway": (
        *COMMON,
        *[Seed("POST", "/v1/datasets/plan?until=full", RECIPE, "application/yaml")] * 4,
        *[Seed("POST", "/v1/datasets?until=full", RECIPE, "application/yaml")] * 4,
        *(
            Seed("GET", f"/v1/datasets{rest}")
            for rest in ("?limit=5&cursor=a", "/small", "/small/plan", "/small/files", "/small/report.html")
        ),
        *(Seed("GET", f"/v1/datasets/small/{rest}") for rest in ("files/recipe.yaml", "files/report.json", "events?last=1")),
        *(Seed("POST", f"/v1/datasets/small/{verb}") for verb in ("pause", "cancel", "resume")),
        Seed("GET", "/v1/services/fake"),
    ),
    "labeller": (
        *COMMON,
        *[Seed("POST", "/label?dataset=d&part=full-one-00000", _ARROW, ARROW_TYPE)] * 8,
        *[Seed("POST", "/finalise", json.dumps(_FINALISE).encode())] * 3,
    ),
    "service": (*COMMON, *[Seed("POST", "/generate", json.dumps(_GENERATE).encode())] * 8),
}


def mutate(text: bytes, rng: random.Random) -> bytes:
    """One to four changes: bits, cuts, doublings, and what parsers have stumbled over."""
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(text) + 1), rng.choice((1, 4, 16, 200))
        change = rng.randrange(5)
        if change == 0 and text:
            at = rng.randrange(len(text))
            text = text[:at] + bytes([text[at] ^ (1 << rng.randrange(8))]) + text[at + 1 :]
        elif change == 1:
            text = text[:at] + text[at + length :]
        elif change == 2:
            text = text[: at + length] + text[at:]
        else:
            text = text[:at] + rng.choice(ODD) + text[at + rng.choice((0, length)) :]
    return text


def quote(target: bytes) -> bytes:
    """A mutated target as a client may send it: what would end the line is escaped, mostly."""
    return b"".join(bytes([c]) if 33 <= c < 127 else f"%{c:02x}".encode() for c in target)[:8000]


def make_request(seed: Seed, rng: random.Random) -> bytes:
    """A mutated request."""
    target, body, extra = seed.target.encode(), seed.body, b""
    if body and rng.random() < 0.8:
        body = mutate(body, rng)
    if not body or rng.random() < 0.2:
        target = b"/" + quote(mutate(target[1:], rng))
    if rng.random() < 0.2:
        extra = rng.choice(HEADERS).encode("latin-1") + b"\r\n"
    method = seed.method if rng.random() < 0.95 else rng.choice(("HEAD", "PUT", "DELETE", "OPTIONS", "FOO", "CONNECT"))
    head = f"Host: localhost\r\nContent-Type: {seed.content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n".encode()
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + head + extra + b"\r\n" + body


def send(port: int, request: bytes) -> int | None:
    """The status of the answer; 0 if the connection was closed without one, None if nothing came in time."""
    try:
        with socket.create_connection(("127.0.0.1", port), HANG_SECONDS) as connection:
            with suppress(ConnectionError):  # it may have been answered before all was sent
                connection.sendall(request)
            head = connection.recv(64)
    except TimeoutError:
        return None
    except ConnectionResetError:
        return 0
    words = head.split()
    return int(words[1]) if len(words) > 1 else 0


@dataclass
class Findings:
    """What came of the requests to one app."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[tuple[int | None, bytes]] = field(default_factory=list)
    slowest_health: float = 0.0

    def add(self, status: int | None, request: bytes) -> None:
        self.statuses[-1 if status is None else status] += 1
        if status is None or (status >= 500 and status not in (503, 507)):
            self.faults.append((status, request))


def attack(name: str, port: int, n: int, seconds: float, seed: int) -> Findings:
    """Send up to `n` requests, as long as there is time."""
    rng, found, end = random.Random(seed), Findings(), time.monotonic() + seconds
    for k in range(n):
        if time.monotonic() > end:
            break
        request = make_request(rng.choice(SEEDS[name]), rng)
        found.add(send(port, request), request)
        if k % 20 == 0:
            start = time.monotonic()
            assert send(port, b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == 200
            found.slowest_health = max(found.slowest_health, time.monotonic() - start)
    return found


def _run(name: str, n: int, seconds: float, seed: int, report: Callable[[str], None]) -> int:
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        server = subprocess.Popen([sys.executable, "-m", "tests.fuzz", "--serve", name, str(port), data], stderr=subprocess.DEVNULL)
        try:
            wait_for_answer(f"http://127.0.0.1:{port}/v1/health/ready")
            attack(name, port, 50, seconds, seed - 1)  # what is imported and compiled at the first request of a kind is not counted
            before = _read_memory(server.pid)
            found = attack(name, port, n, seconds, seed)
            after = _read_memory(server.pid)
        finally:
            server.terminate()
            server.wait(60)
    answers = ", ".join(f"{status} {count}" for status, count in sorted(found.statuses.items()))
    report(f"{name}: {found.statuses.total()} requests ({answers}; -1 is none in time, 0 a closed connection), {len(found.faults)} faults")
    report(f"  health at most {1000 * found.slowest_health:.0f} ms; memory {before:.0f} MB before, {after:.0f} MB after")
    for status, request in found.faults[:10]:
        report(f"  {status}: {request[:600]!r}")
    return len(found.faults)


def _read_memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=3000, help="to each app, at most")
    parser.add_argument("--seconds", type=float, default=120, help="for each app, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        name, port, data = given.serve
        uvicorn.run(build_app(name, Path(data)), port=int(port), log_level="error", **configure_server())
        return
    sys.exit(1 if sum(_run(name, given.requests, given.seconds, given.seed, print) for name in SEEDS) else 0)


if __name__ == "__main__":
    main()
