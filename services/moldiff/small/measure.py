"""What share of samples passes all checks: the small checkpoint against random weights of the same architecture.

UPSTREAM_DIR=… python -m services.moldiff.small.measure
"""

import copy
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from distillery.generators.generator import Task
from distillery.generators.models.sampling import seed_everything
from distillery.generators.proposals import finish_proposal
from distillery.schema.generate import Perturb
from distillery.weights.catalogue import SMALL, ensure_checkpoint
from services.moldiff.model import ELEMENTS, FOLDER, propose
from services.moldiff.networks import Networks, read_networks
from services.moldiff.options import MolDiffOptions
from services.moldiff.sizes import weigh_sizes
from services.moldiff.upstream import import_upstream

N_SAMPLES = 500
SEED = 1
TASK = Task(N_SAMPLES, SEED, "measure", "molecule", ELEMENTS, 10, 100, Perturb(), MolDiffOptions())


def with_random_weights(networks: Networks) -> Networks:
    """The same architecture, every layer as torch initialises it."""
    diffusion = copy.deepcopy(networks.diffusion)
    for module in diffusion.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return replace(networks, diffusion=diffusion)


def measure(networks: Networks, guidance_scale: float | None) -> str:
    """Samples, how many pass the service's and the contract's checks, why the others do not, and how long it took."""
    seed_everything(SEED)
    sizes = weigh_sizes((TASK.min_atoms, TASK.max_atoms), MolDiffOptions().heavy_range, networks.trained)
    start = time.process_time()
    sketches = networks.sample(
        sizes.draw(N_SAMPLES, np.random.default_rng(SEED)), frozenset({6, 7, 8, 9, 15, 16, 17}), guidance_scale, lambda _: None
    )
    seconds = time.process_time() - start
    proposals = [propose(sketch, may_be_charged=False) for sketch in sketches]
    outcomes = [p if isinstance(p, str) else finish_proposal(p, TASK, np.random.default_rng(SEED)) for p in proposals]
    good = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    rejected = Counter(outcome for outcome in outcomes if isinstance(outcome, str))
    smiles = [outcome.key for outcome in good]
    return (
        f"{len(good)} of {N_SAMPLES} pass ({len(good) / N_SAMPLES:.1%}), {len(set(smiles))} different; {dict(rejected.most_common())}; "
        f"{seconds / N_SAMPLES:.3f} cpu-s a sample; {' '.join(map(str, smiles[:12]))}"
    )


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    small = read_networks(ensure_checkpoint(FOLDER, SMALL, FOLDER, download=False), None, import_upstream(), "cpu")
    seed_everything(SEED)
    print("small:", measure(small, None))
    print("small, with bond guidance:", measure(small, MolDiffOptions().guidance_scale))
    print("random weights:", measure(with_random_weights(small), None))


if __name__ == "__main__":
    main()
