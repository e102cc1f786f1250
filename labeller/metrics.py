"""What the labeller counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_ATOM_BUCKETS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class Meter:
    """The Prometheus metrics of a labeller."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.busy_seconds = Counter(
            "distillery_teacher_busy_seconds", "Time the teacher computed, summed over its workers, s", registry=registry
        )
        self.workers = Gauge("distillery_teacher_workers", "Threads that predict", registry=registry)
        self.structures = Counter("distillery_labelled_structures", "Structures labelled", registry=registry)
        self.atoms = Counter("distillery_labelled_atoms", "Atoms labelled", registry=registry)
        self.batch_atoms = Histogram("distillery_batch_atoms", "Atoms a batch", registry=registry, buckets=_ATOM_BUCKETS)
        self.rejected = Counter("distillery_label_rejected", "Structures without a label", ["reason"], registry=registry)
        self.waiting = Gauge("distillery_waiting_structures", "Structures that wait for the teacher", registry=registry)
        self.budget_atoms = Gauge("distillery_atom_budget", "Atoms a batch may have now", registry=registry)


def watch_gpu(registry: CollectorRegistry) -> None:
    """Tell how much of the GPU's memory is taken, by this process or others; for a teacher on one."""
    import torch

    used = Gauge("distillery_gpu_used_bytes", "Memory of the GPU that is taken", registry=registry)
    total = Gauge("distillery_gpu_total_bytes", "Memory of the GPU", registry=registry)
    used.set_function(lambda: torch.cuda.mem_get_info()[1] - torch.cuda.mem_get_info()[0])
    total.set_function(lambda: torch.cuda.mem_get_info()[1])
