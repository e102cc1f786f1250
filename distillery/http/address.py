"""Addresses: of a gateway that may move, and of this machine as another one reaches it."""

import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from distillery.errors import InvalidRequest, NotFound, Unavailable
from distillery.runtime.atomic_files import write_text_whole

_SCHEMES = ("http://", "https://")
_SOMEWHERE = "192.0.2.1"
"""An address for documentation (RFC 5737): nothing is sent there, only the way to it is looked up."""


def read_address(given: str) -> str:
    """A gateway's base URL: `given` itself, or what stands in the file of that name, which a gateway wrote (`write_address`)."""
    if given.startswith(_SCHEMES):
        return _require_host(given)
    try:
        address = Path(given).read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise Unavailable(f"there is no {given}: the gateway that is to write its address there has not begun") from error
    if not address.startswith(_SCHEMES):
        raise InvalidRequest(f"{given} should hold a gateway's URL, it begins with {address[:20]!r}")
    return _require_host(address)


def _require_host(url: str) -> str:
    """The URL, if it names a host and a port that there can be."""
    try:
        host, port = urlsplit(url).hostname, urlsplit(url).port
    except ValueError as error:
        raise InvalidRequest(f"{url[:100]!r} is no gateway's URL: {error}; as in http://127.0.0.1:8000") from error
    if not host or port == 0:
        raise InvalidRequest(f"{url[:100]!r} is no gateway's URL: it names no host, or no port; as in http://127.0.0.1:8000")
    return url


def find_route(dataset: str) -> str:
    """The path of a dataset on a gateway; NotFound for a name that would lead to another one."""
    if dataset in {"", ".", ".."}:
        raise NotFound(f"there is no dataset {dataset!r}; `distillery status` lists those that there are")
    return f"/v1/datasets/{quote(dataset, safe='')}"


def write_address(path: Path, url: str) -> None:
    """Write where a gateway is, for those who share the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, f"{url}\n")


def remove_address(path: Path, url: str) -> None:
    """Remove it, unless another gateway has written its own meanwhile: its port may be a stranger's soon, who must not get the key."""
    with suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8").strip() == url:
            path.unlink()


def name_self(host: str, towards: str | None = None) -> str:
    """How others reach a process that listens on `host`: by that, or, of all addresses, by the one that leads to the URL `towards`."""
    if host not in {"0.0.0.0", "::"}:
        return f"[{host}]" if ":" in host else host
    target = (urlsplit(towards).hostname if towards else None) or _SOMEWHERE
    try:
        family, *_, place = socket.getaddrinfo(target, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as looking:
            looking.connect(place)
            address = str(looking.getsockname()[0])
    except OSError:
        return socket.gethostname()
    return f"[{address}]" if ":" in address else address
