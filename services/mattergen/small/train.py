"""Make the small checkpoint, or measure it: `UPSTREAM_DIR=… python -m services.mattergen.small.train [--measure]`.

Trained on crystals of 2-8 atoms that services/pymatgen makes of the nine default elements; nothing from elsewhere.
"""

import argparse
import threading
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distillery.generators.generator import Made, resolve_task
from distillery.generators.models.sampling import SampledGenerator
from distillery.generators.models.training import train_averaged
from distillery.generators.proposals import propose_one
from distillery.schema.generate import GenerateRequest
from distillery.structures.structure import Structure
from services.mattergen.model import MatterGenModel
from services.mattergen.network import build_module, build_network, read_config
from services.mattergen.settings import MatterGenSettings
from services.mattergen.upstream import import_upstream

FOLDER = Path(__file__).parent
SEED = 1
N_CRYSTALS = 2000
N_STEPS = 2500
BATCH = 32
RATE = 4e-3
CELL_SCALE = 3.0
"""Of the first weights of the cell's scores, which a short training hardly gets going otherwise."""


def make_crystals(n: int, seed: int) -> list[Structure]:
    """Prototypes of at most three elements, as the pymatgen service proposes them."""
    from services.pymatgen.generator import CrystalProposer

    proposer = CrystalProposer()
    options = {"prototype_share": 1.0, "max_elements": 3}
    task = resolve_task(GenerateRequest(n=1, seed=seed, min_atoms=2, max_atoms=8, options=options), proposer)  # type: ignore[arg-type]
    outcomes = (propose_one(proposer, task, attempt) for attempt in range(n))
    return [outcome.structures[0] for outcome in outcomes if not isinstance(outcome, str)]


def as_graph(crystal: Structure) -> Any:
    """The crystal as upstream's training set has it."""
    from mattergen.common.data.chemgraph import ChemGraph
    from mattergen.common.data.transform import set_chemical_system_string, symmetrize_lattice

    fractional = np.linalg.solve(crystal.cell.T, crystal.positions.T).T % 1.0
    graph = ChemGraph(
        pos=torch.tensor(fractional, dtype=torch.float32),
        cell=torch.tensor(crystal.cell, dtype=torch.float32)[None],
        atomic_numbers=torch.tensor(crystal.numbers.astype(np.int64)),
        num_atoms=torch.tensor(len(crystal)),
        num_nodes=torch.tensor(len(crystal)),
    )
    return set_chemical_system_string(symmetrize_lattice(graph))


def train(module: Any, graphs: list[Any], n_steps: int) -> Any:
    """The module with averaged weights after so many steps of upstream's loss."""
    from mattergen.common.data.collate import collate

    rng = np.random.default_rng(SEED)

    def find_loss() -> Tensor:
        loss: Tensor = module.calc_loss(collate([graphs[k] for k in rng.choice(len(graphs), BATCH, replace=False)]))[0]
        return loss

    return train_averaged(module, find_loss, n_steps, rate=RATE, report_every=100)


def save(module: Any, path: Path) -> None:
    """The checkpoint as Lightning writes it, without what only training needs."""
    state = {f"diffusion_module.{name}": tensor.contiguous() for name, tensor in module.state_dict().items()}
    checkpoint = {
        "epoch": 0,
        "global_step": N_STEPS,
        "pytorch-lightning_version": version("pytorch-lightning"),
        "state_dict": state,
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hyper_parameters": {},
    }
    torch.save(checkpoint, path)


def measure(generator: SampledGenerator, n: int) -> Made:
    """Samples drawn as the service does until n crystals of 50-500 atoms pass all checks, at most ten times n."""
    task = resolve_task(GenerateRequest(n=n, seed=SEED, min_atoms=50, max_atoms=500), generator)
    return generator.generate(task, threading.Event(), lambda made, n: None)


def compare(n: int) -> None:
    """Print which share of samples passes, of the small checkpoint and of random weights of the same architecture."""
    generator = SampledGenerator(MatterGenModel(MatterGenSettings(checkpoint="small", device="cpu", batch=n)))
    generator.load()
    loaded = generator.require()
    torch.manual_seed(SEED)
    config = read_config(FOLDER / "config.yaml")
    random = build_network(config, build_module(config).state_dict(), "cpu")
    for name, network in (("small checkpoint", loaded.networks.network), ("random weights", random)):
        generator.loaded = replace(loaded, networks=replace(loaded.networks, network=network))
        start = time.process_time()
        made = measure(generator, n)
        seconds = time.process_time() - start
        print(f"{name}: {len(made.structures)} of {made.attempts} samples pass, {seconds:.0f} s; {dict(made.rejected)}", flush=True)


def main() -> None:
    """Train and save, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="compare the checkpoint that is there with random weights")
    parser.add_argument("--steps", type=int, default=N_STEPS, help="steps of the training")
    parser.add_argument("--crystals", type=int, default=32, help="crystals to measure with")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    import_upstream()
    if arguments.measure:
        compare(arguments.crystals)
        return
    torch.manual_seed(SEED)
    module = build_module(read_config(FOLDER / "config.yaml"))
    with torch.no_grad():
        for block in module.model.gemnet.lattice_out_blocks:
            block.out_forces.linear.weight.mul_(CELL_SCALE)
    graphs = [as_graph(crystal) for crystal in make_crystals(N_CRYSTALS, SEED)]
    print(f"{len(graphs)} crystals, {sum(p.numel() for p in module.parameters())} parameters", flush=True)
    save(train(module, graphs, arguments.steps), FOLDER / "last.ckpt")


if __name__ == "__main__":
    main()
