"""RdkitPool: an rdkit service as the pool, asked over HTTP."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from distillery.errors import Problem, Unavailable, Unsupported
from distillery.generators.generator import Task, find_limits
from distillery.generators.models.model import ReportProgress
from distillery.http.access import AccessSettings
from distillery.http.client import Client, RetryPolicy
from distillery.schema.generate import Generated, Metadata
from distillery.structures.arrow import ARROW_TYPE
from distillery.structures.identity import derive_seed
from distillery.structures.structure import Structure
from services.geodiff.pool import Wanted, drop_stereo

_CARD_TIMEOUT, _TIMEOUT = httpx.Timeout(10), httpx.Timeout(300, connect=10)
_LONGEST_WAIT = 300.0
"""For a service that is busy or loading, s."""
_LONGEST_SLEEP = 0.5
"""Between two looks whether the request was given up, s."""


@dataclass(frozen=True)
class RdkitPool:
    """New molecules of an rdkit service, constitution only; see `pool.MoleculePool`.

    card  what the service said of itself when it was found
    """

    url: str
    card: Metadata

    @property
    def version(self) -> str:
        """The service's and its libraries'."""
        return _name_versions(self.card)

    def check(self, task: Task) -> None:
        """Unsupported for elements and sizes that the service's card excludes; what else it refuses it says when it is asked."""
        limits = find_limits(self.card, "molecule", task.elements)
        if not limits.spans(task.min_atoms, task.max_atoms):
            raise Unsupported(
                f"{_describe(self.url)} makes molecules of {limits.min_atoms}-{limits.max_atoms} atoms, "
                f"asked for {task.min_atoms}-{task.max_atoms}; ask for those, or give options.smiles"
            )

    def find(self, task: Task, n: int, seed: int, report: ReportProgress) -> Sequence[Wanted]:
        """The service's own problem if it refuses, Unavailable if it can't be asked or is no longer the one that was found."""
        request = {
            "n": min(n, self.card.n_max),
            "seed": derive_seed(seed, "pool", 0),
            "system": "molecule",
            "elements": list(task.elements),
            "min_atoms": task.min_atoms,
            "max_atoms": task.max_atoms,
        }
        structures, generated = asyncio.run(_generate(self.url, request, report))
        if (found := _name_versions(generated)) != self.version:
            raise Unavailable(
                f"{_describe(self.url)} is {found} now, it was {self.version} when geodiff started; start geodiff again, "
                "so that its parts name what made them"
            )
        if not structures:
            raise Unsupported(f"{_describe(self.url)} made no molecule of {task.min_atoms}-{task.max_atoms} atoms")
        return tuple(Wanted(drop_stereo(str(s.origin["smiles"])), "rdkit") for s in structures)


def find_rdkit(url: str) -> RdkitPool:
    """The rdkit service at a URL; Unavailable if it can't be asked there or something else answers."""
    try:
        card = asyncio.run(_find_card(url))
    except Problem as problem:
        raise Unavailable(problem.detail) from problem
    if "molecule" not in card.systems:
        raise Unavailable(f"{_describe(url)} should be an rdkit service; it is {card.service}, which makes no molecules")
    return RdkitPool(url, card)


async def _find_card(url: str) -> Metadata:
    async with _open(url, _CARD_TIMEOUT) as http:
        return await Client(_describe(url), http).ask(Metadata, "GET", "/v1/metadata")


async def _generate(url: str, request: dict[str, Any], report: ReportProgress) -> tuple[list[Structure], Generated]:
    """The structures; while the service is busy or loading and says when to ask again, it is asked again."""

    async def sleep(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            report(0.0)
            await asyncio.sleep(min(left, _LONGEST_SLEEP))

    async with _open(url, _TIMEOUT) as http:
        client = Client(_describe(url), http, RetryPolicy(busy_seconds=_LONGEST_WAIT, sleep=sleep))
        answer = await client.retry(lambda: client.send("POST", "/generate", json=request, headers={"Accept": ARROW_TYPE}))
        return client.parse_structures(answer)


def _open(url: str, timeout: httpx.Timeout) -> httpx.AsyncClient:
    access = AccessSettings()
    return httpx.AsyncClient(base_url=url, headers=access.headers, timeout=timeout, verify=access.trust(), trust_env=False)


def _name_versions(made_by: Metadata | Generated) -> str:
    """Service and libraries, but not the processor: replicas may run on several kinds, which make the same molecules."""
    libraries = (f"{name} {version}" for name, version in sorted(made_by.versions.items()) if name != "processor")
    return " / ".join((f"{made_by.service} {made_by.version}", *libraries))


def _describe(url: str) -> str:
    return f"the pool of geodiff, {url} (DISTILLERY_GEODIFF_POOL)"
