"""Replicas: services and labellers that tell the gateway where they are, each for as long as its lease lasts."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from distillery.schema.base import CONTRACT_VERSION, Count, Message, Name

_HIGHEST_PORT = 65535

_LONGEST_LABEL = 63
"""RFC 1035."""


def _has_port(url: str) -> str:
    if not 0 < int(url.rpartition(":")[2]) <= _HIGHEST_PORT:
        raise ValueError(f"a port is 1 to {_HIGHEST_PORT}")
    return url


def _has_host(url: str) -> str:
    """What no client could ask is refused here: it would fail the requests that are sent there, not this one."""
    host = url.partition("://")[2].rpartition(":")[0]
    if host.startswith("["):
        IPv6Address(host.strip("[]"))
    elif re.fullmatch(r"[0-9.]+", host):
        IPv4Address(host)
    elif not all(0 < len(label) <= _LONGEST_LABEL for label in host.removesuffix(".").split(".")):
        raise ValueError(f"the pieces between the dots of a name have 1 to {_LONGEST_LABEL} characters")
    return url


BaseUrl = Annotated[
    StrictStr,
    Field(pattern=r"^https?://(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):[0-9]{1,5}$"),
    AfterValidator(_has_port),
    AfterValidator(_has_host),
]
"""Scheme, host and port; no path."""


class Announcement(Message):
    """What a service or labeller says of itself: the body of `PUT /v1/replicas/{id}`."""

    name: Name = Field(description="the service, or labeller")
    url: BaseUrl = Field(description="where it answers, as the gateway reaches it")
    version: str = Field(max_length=100, description="of the service; all replicas of a name have the same one")
    teacher: str = Field("", max_length=100, description="of a labeller; all labellers have the same one")
    contract: str = Field(CONTRACT_VERSION, max_length=100, description="of the messages")
    is_ready: bool = Field(description="what it needs is loaded; before it is asked only where no other is there")
    job: str = Field("", max_length=200, description="what runs it, for people: a Slurm job, a pod")


class Lease(Message):
    """How long a replica counts as there; it announces itself again before that, best after a third of it."""

    seconds: float = Field(gt=0)


class Replica(Announcement):
    """A replica that has a lease now."""

    id: Name
    seconds: float = Field(description="left of its lease")
    answered: Count = Field(description="requests that it answered well since it joined")
