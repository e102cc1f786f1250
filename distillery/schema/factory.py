"""What the gateway says of the factory: what every replica does, what is asked again, and the disk."""

from typing import Literal

from pydantic import Field

from distillery.schema.base import Count
from distillery.schema.problem import Answer


class WorkRecord(Answer):
    """A shard that is being made."""

    shard: str
    source: str
    step: Literal["generate", "label"]
    service: str
    trace: str = Field(description="the id in the logs of gateway, service and labeller")
    since: float = Field(description="Unix time, s")


class RetryRecord(Answer):
    """A request that failed in a way that can pass, and is asked again."""

    service: str
    kind: str = Field(description="of the problem")
    detail: str = Field(description="what is wrong, and what to do")
    tries: Count
    since: float = Field(description="of the first failure, Unix time, s")
    next_try: float = Field(description="Unix time, s")

    @property
    def tries_so_far(self) -> str:
        """For example `3 tries so far`."""
        return f"{self.tries} {'try' if self.tries == 1 else 'tries'} so far"


class ReplicaRecord(Answer):
    """One process of a service or of the labeller."""

    service: str
    address: str
    is_ready: bool
    detail: str = Field("", description="why it is not ready")
    at_work: list[str] = Field([], description="shards it is asked for, each with its dataset: <dataset>/<shard>")
    waiting: Count = Field(0, description="structures that wait for the teacher, or requests that wait for their turn")
    busy_share: float | None = Field(None, description="of a labeller: share of the time since the last look that the teacher computed")
    gpu_used_bytes: Count | None = None
    gpu_total_bytes: Count | None = None


class FactoryRecord(Answer):
    """All that makes datasets."""

    replicas: list[ReplicaRecord]
    missing: list[str] = Field(description="services of datasets at work that nothing answers for")
    retries: list[RetryRecord]
    disk_free_bytes: Count
    disk_total_bytes: Count
