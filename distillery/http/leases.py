"""Leases of replicas that announce themselves, in memory: who stays silent is lost."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from distillery.errors import Conflict
from distillery.schema.base import CONTRACT_VERSION
from distillery.schema.replica import Announcement, Lease, Replica

_log = logging.getLogger("distillery")


@dataclass
class LeasedReplica:
    """A replica with a lease.

    ends  when the lease does, by the monotonic clock, s; never for one that has left: it finishes what it has
    """

    id: str
    announcement: Announcement
    ends: float
    answered: int = 0

    def describe(self) -> str:
        """For the log."""
        job = f" ({self.announcement.job})" if self.announcement.job else ""
        return f"{self.announcement.name} at {self.announcement.url}{job}"


class Leases:
    """Who is there. Clocks of other machines play no part: a lease begins when its announcement comes."""

    def __init__(self, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._tenants: dict[str, LeasedReplica] = {}

    def renew(self, id: str, announcement: Announcement) -> Lease:
        """Begin a lease or go on with it; Conflict if the replica can't stand in for the others of its name."""
        self._forget_lost()
        self._refuse_different(id, announcement)
        known = self._tenants.get(id)
        if known is None:
            self._end_others_at(announcement.url)
            known = self._tenants[id] = LeasedReplica(id, announcement, 0.0)
            _log.info("joined: %s", known.describe())
        known.announcement, known.ends = announcement, self._clock() + self._seconds
        return Lease(seconds=self._seconds)

    def leave(self, id: str) -> None:
        """Send it nothing more; what it has it may finish."""
        if (tenant := self._tenants.pop(id, None)) is not None:
            tenant.ends = inf
            _log.info("left: %s, %d requests answered", tenant.describe(), tenant.answered)

    def lose(self, tenant: LeasedReplica, why: str) -> None:
        """End a lease before its time: the replica can't be reached. It comes back by announcing itself."""
        if self._tenants.get(tenant.id) is tenant:
            del self._tenants[tenant.id]
            tenant.ends = -inf
            _log.warning("lost: %s, %s; %d requests answered", tenant.describe(), why, tenant.answered)

    def remaining(self, tenant: LeasedReplica) -> float:
        """How long a lease still lasts, s."""
        return tenant.ends - self._clock()

    def find(self, name: str) -> list[LeasedReplica]:
        """Those of a name that are there, the ready ones where there are any."""
        self._forget_lost()
        found = [tenant for tenant in self._tenants.values() if tenant.announcement.name == name]
        return [tenant for tenant in found if tenant.announcement.is_ready] or found

    def list_all(self) -> list[Replica]:
        """All that are there, by name, then in the order in which they came."""
        self._forget_lost()
        tenants = sorted(self._tenants.values(), key=lambda tenant: tenant.announcement.name)
        return [
            Replica(**dict(t.announcement), id=t.id, seconds=round(max(self.remaining(t), 0.0), 1), answered=t.answered) for t in tenants
        ]

    def _forget_lost(self) -> None:
        for tenant in [tenant for tenant in self._tenants.values() if self.remaining(tenant) <= 0]:
            self.lose(tenant, f"silent for {self._seconds:g} s")

    def _end_others_at(self, url: str) -> None:
        """Whoever answered at this address before has ended: its port is another's now."""
        for tenant in [tenant for tenant in self._tenants.values() if tenant.announcement.url == url]:
            self.lose(tenant, "another process has its address")

    def _refuse_different(self, id: str, one: Announcement) -> None:
        if one.contract != CONTRACT_VERSION:
            raise Conflict(f"the messages of {one.name} are those of contract {one.contract}, here it is {CONTRACT_VERSION}; update one")
        for other in (t.announcement for t in self._tenants.values() if t.id != id and t.announcement.name == one.name):
            if (one.version, one.teacher) != (other.version, other.teacher):
                raise Conflict(
                    f"{one.name} at {one.url} is {one.version} {one.teacher}".rstrip()
                    + f", the one at {other.url} is {other.version} {other.teacher}".rstrip()
                    + "; replicas of one name must be alike: end those that are not meant"
                )
