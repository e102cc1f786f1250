"""What the gateway counts, for Prometheus: datasets, shards, proposals and frames by source and outcome, retries, disk."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from distillery.schema.dataset import SourceProgress, Status
from distillery.schema.factory import FactoryRecord

_ENDED = frozenset({"finished", "cancelled"})
Family = GaugeMetricFamily | CounterMetricFamily
Rows = Iterable[tuple[str, str, SourceProgress]]
Outcomes = Callable[[SourceProgress], Iterable[tuple[str, int]]]


class DatasetCollector(Collector):
    """Tells what `note` was told last. Counts by dataset are of those that are not finished: finished ones have their report."""

    def __init__(self) -> None:
        self._statuses: list[Status] = []
        self._factory: FactoryRecord | None = None
        self._retries: Mapping[str, int] = {}

    def note(self, statuses: Iterable[Status], factory: FactoryRecord, retries: Mapping[str, int]) -> None:
        """What is to be told from now on; `retries` are tries after a failure so far, by whom was asked."""
        self._statuses, self._factory, self._retries = list(statuses), factory, dict(retries)

    def collect(self) -> Iterator[Family]:
        """See `Collector`."""
        states = Counter[str](status.state for status in self._statuses)
        yield _gauge("distillery_datasets", "Datasets by state", ["state"], (([state], n) for state, n in sorted(states.items())))
        rows = [(one.name, name, row) for one in self._statuses if one.state not in _ENDED for name, row in one.sources.items()]
        yield _gauge("distillery_shards", "Shards planned so far, by state", ["dataset", "source", "state"], _list_shards(rows))
        yield _count("distillery_proposals", "Structures of services, by outcome", rows, _list_proposals)
        yield _count("distillery_frames", "Structures that were labelled, by outcome", rows, _list_frames)
        retries = CounterMetricFamily("distillery_retries", "Tries after a failure", labels=["service"])
        for service, n in sorted(self._retries.items()):
            retries.add_metric([service], n)
        yield retries
        if self._factory is not None:
            yield from _describe_factory(self._factory)


def _list_shards(rows: Rows) -> Iterator[tuple[list[str], int]]:
    for dataset, source, row in rows:
        generating, labelling = row.in_work.generate, row.in_work.label
        waiting = max(row.shards - row.shards_done - generating - labelling, 0)
        for state, n in (("done", row.shards_done), ("generating", generating), ("labelling", labelling), ("waiting", waiting)):
            yield [dataset, source, state], n


def _list_proposals(row: SourceProgress) -> Iterator[tuple[str, int]]:
    """Asked for, made, and refused by reason."""
    yield "requested", row.requested
    yield "generated", row.generated
    yield from ((f"refused: {reason}", n) for reason, n in sorted(row.rejected.items()))


def _list_frames(row: SourceProgress) -> Iterator[tuple[str, int]]:
    yield from (("labelled", row.labelled), ("kept", row.kept), ("duplicate", row.duplicates), ("energy_outlier", row.outliers))


def _count(name: str, help: str, rows: Rows, list_outcomes: Outcomes) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help, labels=["dataset", "source", "outcome"])
    for dataset, source, row in rows:
        for outcome, n in list_outcomes(row):
            family.add_metric([dataset, source, outcome], n)
    return family


def _gauge(name: str, help: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help, labels=labels)
    for own, value in values:
        family.add_metric(own, value)
    return family


def _describe_factory(factory: FactoryRecord) -> Iterator[GaugeMetricFamily]:
    replicas = factory.replicas
    names = [[one.service, one.address] for one in replicas]
    yield _gauge(
        "distillery_replica_ready", "1 if a replica is ready", ["service", "replica"], _pair(names, [one.is_ready for one in replicas])
    )
    waiting = _pair(names, [one.waiting for one in replicas])
    yield _gauge("distillery_queue_depth", "Structures or requests that wait at a replica", ["service", "replica"], waiting)
    shares = ((name, one.busy_share) for name, one in zip(names, replicas, strict=True) if one.busy_share is not None)
    yield _gauge("distillery_teacher_busy_ratio", "Share of the time that a teacher computes", ["service", "replica"], shares)
    sizes = (([which], n) for which, n in (("free", factory.disk_free_bytes), ("total", factory.disk_total_bytes)))
    yield _gauge("distillery_disk_bytes", "Disk of the data folder", ["kind"], sizes)


def _pair(names: list[list[str]], values: Iterable[float]) -> Iterator[tuple[list[str], float]]:
    return iter(zip(names, values, strict=True))
