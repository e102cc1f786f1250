"""Make the small checkpoint, or measure it: `python -m services.chemeleon.small.train [--measure]`.

Trained on crystals of 2-8 atoms that services/pymatgen makes of the nine default elements; nothing from elsewhere.
"""

import argparse
import threading
import time
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distillery.generators.generator import Made, resolve_task
from distillery.generators.models.sampling import SampledGenerator, seed_everything
from distillery.generators.models.training import train_averaged
from distillery.generators.proposals import propose_one
from distillery.schema.generate import GenerateRequest
from distillery.structures.structure import Structure
from services.chemeleon.model import ChemeleonModel
from services.chemeleon.network import Task
from services.chemeleon.settings import ChemeleonSettings

FILE = Path(__file__).parent / "chemeleon_dng_small.ckpt"
SEED = 1
N_CRYSTALS = 2000
N_STEPS = 3000
BATCH = 64
RATE = 2e-3
MODEL = {
    **{"hidden_dim": 64, "time_dim": 32, "num_layers": 3, "max_atoms": 18, "act_fn": "silu", "dis_emb": "sin", "num_freqs": 10},
    **{"ln": True, "ip": True, "smooth": False, "cond_dim": 0},
}
DIFFUSION = {
    **{"num_timesteps": 50, "beta_schedule_ddpm": "cosine", "beta_schedule_d3pm": "reciprocal", "max_atoms": 18},
    **{"d3pm_hybrid_coeff": 0.01, "sigma_begin": 0.005, "sigma_end": 0.5},
}
OPTIMIZER = {"optimizer": "adam", "lr": RATE, "weight_decay": 0.0, "scheduler": "constant", "patience": 0, "early_stopping": 0}


def make_crystals(n: int, seed: int) -> list[Structure]:
    """Prototypes of at most three elements, as the pymatgen service proposes them."""
    from services.pymatgen.generator import CrystalProposer

    proposer = CrystalProposer()
    options = {"kinds": {"real": 0.2, "decorated": 0.8}, "max_elements": 3}
    request = GenerateRequest.model_validate({"n": 1, "seed": seed, "min_atoms": 2, "max_atoms": 8, "options": options})
    task = resolve_task(request, proposer)  # type: ignore[arg-type]
    outcomes = (propose_one(proposer, task, attempt) for attempt in range(n))
    return [outcome.structures[0] for outcome in outcomes if not isinstance(outcome, str)]


def build(task: Task) -> Any:
    """Upstream's module of the small model with random weights."""
    from chemeleon_dng.script_util import create_diffusion_module

    return create_diffusion_module(task=task, model_configs=dict(MODEL), optimizer_configs=dict(OPTIMIZER), **DIFFUSION)


def as_batch(crystals: list[Structure]) -> Any:
    """Crystals as upstream's training has them."""
    from chemeleon_dng.schema import CrystalBatch

    counts = [len(crystal) for crystal in crystals]
    fractional = [np.linalg.solve(crystal.cell.T, crystal.positions.T).T % 1.0 for crystal in crystals]
    return CrystalBatch(
        atom_types=torch.tensor(np.concatenate([crystal.numbers.astype(np.int64) for crystal in crystals])),
        lattices=torch.tensor(np.stack([crystal.cell for crystal in crystals]), dtype=torch.float32),
        frac_coords=torch.tensor(np.concatenate(fractional), dtype=torch.float32),
        num_atoms=torch.tensor(counts),
        batch=torch.repeat_interleave(torch.arange(len(crystals)), torch.tensor(counts)),
        num_graphs=len(crystals),
        num_nodes=sum(counts),
    )


def train(module: Any, crystals: list[Structure], n_steps: int) -> Any:
    """The module with averaged weights after so many steps of upstream's loss."""
    rng = np.random.default_rng(SEED)

    def find_loss() -> Tensor:
        batch = as_batch([crystals[k] for k in rng.choice(len(crystals), BATCH, replace=False)])
        loss: Tensor = module.calculate_loss(batch)["total_loss"]
        return loss

    return train_averaged(module, find_loss, n_steps, rate=RATE, report_every=500)


def save(module: Any, path: Path, sizes: Counter[int]) -> None:
    """The checkpoint as Lightning writes it, without what only training needs, and with how often cells had how many atoms."""
    checkpoint = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": version("pytorch-lightning"),
        "state_dict": {name: tensor.contiguous() for name, tensor in module.state_dict().items()},
        "loops": {},
        "hparams_name": "kwargs",
        "hyper_parameters": dict(module.hparams),
        "cell_sizes": {size: count / sizes.total() for size, count in sorted(sizes.items())},
    }
    torch.save(checkpoint, path)


def measure(generator: SampledGenerator, n: int) -> Made:
    """Samples drawn as the service does until n crystals of 50-500 atoms pass all checks, at most ten times n."""
    task = resolve_task(GenerateRequest(n=n, seed=SEED, min_atoms=50, max_atoms=500), generator)
    return generator.generate(task, threading.Event(), lambda made, n: None)


def compare(n: int) -> None:
    """Print which share of samples passes, of the small checkpoint and of random weights of the same architecture."""
    generator = SampledGenerator(ChemeleonModel(ChemeleonSettings(checkpoint="small", device="cpu", batch=n)))
    generator.load()
    loaded = generator.require()
    torch.manual_seed(SEED)
    random = replace(loaded.networks, module=build("dng").eval())
    for name, network in (("small checkpoint", loaded.networks), ("random weights", random)):
        generator.loaded = replace(loaded, networks=network)
        start = time.process_time()
        made = measure(generator, n)
        seconds = time.process_time() - start
        print(f"{name}: {len(made.structures)} of {made.attempts} samples pass, {seconds:.0f} s; {dict(made.rejected)}", flush=True)


def main() -> None:
    """Train and save, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="compare the checkpoint that is there with random weights")
    parser.add_argument("--steps", type=int, default=N_STEPS, help="steps of the training")
    parser.add_argument("--crystals", type=int, default=128, help="crystals to measure with")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.measure:
        compare(arguments.crystals)
        return
    seed_everything(SEED)  # upstream draws its timesteps from numpy
    module = build("dng")
    crystals = make_crystals(N_CRYSTALS, SEED)
    print(f"{len(crystals)} crystals, {sum(p.numel() for p in module.parameters())} parameters", flush=True)
    save(train(module, crystals, arguments.steps), FILE, Counter(len(crystal) for crystal in crystals))


if __name__ == "__main__":
    main()
