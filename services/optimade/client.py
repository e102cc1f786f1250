"""Asking an OPTIMADE provider: pages of structures, followed to the last (specification 1.2, https://www.optimade.org)."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from distillery.errors import Unavailable
from distillery.runtime.stopping import Stop, Stopped
from services.optimade.settings import OptimadeSettings

FIELDS = (
    "chemical_formula_reduced", "elements", "nsites", "dimension_types", "lattice_vectors", "cartesian_site_positions", "species",
    "species_at_sites", "structure_features", "last_modified",
)  # fmt: skip
_TIMEOUT = httpx.Timeout(60, connect=10)
_TRIES = 4
_LONGEST_PAUSE = 60.0
_BUSY = frozenset({429, 500, 502, 503, 504})


def write_filter(settings: OptimadeSettings) -> str:
    """The filter that is sent."""
    elements = ", ".join(f'"{element}"' for element in settings.elements)
    return f"elements HAS ONLY {elements}" + (f" AND ({settings.filter})" if settings.filter else "")


class Provider:
    """One provider. Unavailable, with its URL and what it said, where it can't be reached or refuses."""

    def __init__(self, settings: OptimadeSettings, stop: Stop) -> None:
        assert settings.url is not None
        self._url = settings.url.rstrip("/")
        self._settings, self._stop = settings, stop
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers={"Accept": "application/json"})

    def __enter__(self) -> "Provider":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read_licence(self) -> str:
        """As `license` of /info says, a link or an object with one; else that it is unknown."""
        attributes = self._get(f"{self._url}/v1/info").get("data", {}).get("attributes", {})
        said = attributes.get("license")
        link = said.get("href") if isinstance(said, dict) else said
        return str(link) if link else "not stated; see the provider's terms"

    def read_entries(self) -> Iterator[dict[str, Any]]:
        """The entries that pass the filter, page by page, at most `max_entries`."""
        query = {"filter": write_filter(self._settings), "response_fields": ",".join(FIELDS)}
        if self._settings.page_limit is not None:
            query["page_limit"] = str(self._settings.page_limit)
        next_page: str | None = f"{self._url}/v1/structures?{httpx.QueryParams(query)}"
        n_left, visited = self._settings.max_entries, set[str]()
        while next_page and n_left > 0 and next_page not in visited:
            visited.add(next_page)
            page = self._get(next_page)
            entries = page.get("data")
            if not isinstance(entries, list):
                raise Unavailable(f"{next_page} has no list of entries under `data`; is {self._url} the base URL of an OPTIMADE provider?")
            yield from entries[:n_left]
            n_left -= len(entries)
            next_page = self._find_next(page, next_page)

    def _find_next(self, page: dict[str, Any], here: str) -> str | None:
        """The link to the next page; it must lead to the same host, or the data would be another's."""
        link = (page.get("links") or {}).get("next")
        target = link.get("href") if isinstance(link, dict) else link
        if not target:
            return None
        url = urljoin(here, str(target))
        if urlsplit(url).hostname != urlsplit(self._url).hostname:
            raise Unavailable(f"{self._url} sends to another host for its next page: {url}; set DISTILLERY_OPTIMADE_URL to that one")
        return url

    def _get(self, url: str) -> dict[str, Any]:
        problem = ""
        for attempt in range(_TRIES):
            if self._stop.is_set():
                raise Stopped
            try:
                response = self._client.get(url)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code not in _BUSY:
                    return _parse(response)
                problem = f"{response.status_code} {response.reason_phrase}"
            if attempt < _TRIES - 1:
                self._pause(2.0**attempt)
        raise Unavailable(f"the OPTIMADE provider {self._url} can't be asked: {problem}, {_TRIES} times")

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + min(seconds, _LONGEST_PAUSE)
        while time.monotonic() < end and not self._stop.is_set():
            time.sleep(0.05)


def _parse(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise Unavailable(f"{response.url} answered {response.status_code}: {_read_errors(response)}")
    try:
        answer = response.json()
    except ValueError as error:
        raise Unavailable(f"{response.url} answered what is no JSON: {response.text[:200]!r}") from error
    if not isinstance(answer, dict):
        raise Unavailable(f"{response.url} answered a JSON {type(answer).__name__}, an object was expected")
    return answer


def _read_errors(response: httpx.Response) -> str:
    """What the provider says of its errors, in the specification's form or any other."""
    try:
        errors = response.json()["errors"]
        return "; ".join(str(error.get("detail") or error.get("title")) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.text[:500]
