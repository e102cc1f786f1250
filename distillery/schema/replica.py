"""Replicas: services and labellers that tell the gateway where they are, each for as long as its lease lasts."""

from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from distillery.schema.base import CONTRACT_VERSION, Count, Message, Name

_HIGHEST_PORT = 65535


def _has_port(url: str) -> str:
    if not 0 < int(url.rpartition(":")[2]) <= _HIGHEST_PORT:
        raise ValueError(f"a port is 1 to {_HIGHEST_PORT}")
    return url


BaseUrl = Annotated[
    StrictStr, Field(pattern=r"^https?://(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):[0-9]{1,5}$"), AfterValidator(_has_port)
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
