"""Trains the small checkpoint on conformers that the rdkit service's method makes: `python -m services.geodiff.small.train [--measure]`.

Needs upstream's code (UPSTREAM_DIR) and the rdkit service's requirements. Every second molecule of molecules.smi is for training, the
others are for measuring; all with at most LARGEST atoms. A few CPU minutes; another machine gives other last digits, so another checkpoint.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from easydict import EasyDict
from rdkit import Chem

from distillery.generators.generator import Task
from distillery.generators.models.sampling import seed_everything
from distillery.generators.proposals import Proposal, Rejected, finish_proposal
from distillery.schema.generate import Perturb
from distillery.structures.structure import DEFAULT_ELEMENTS
from services.geodiff.graphs import make_graphs
from services.geodiff.model import propose
from services.geodiff.network import Network
from services.geodiff.options import GeoDiffOptions
from services.geodiff.pool import Wanted, read_built_in
from services.geodiff.upstream import open_upstream

FILE = Path(__file__).parent / "geodiff.pt"
SEED = 3
LARGEST = 40
N_ITERATIONS = 2500
BATCH = 24
EMA = 0.998
TASK = Task(1, SEED, "measure", "molecule", DEFAULT_ELEMENTS, 3, LARGEST, Perturb(), GeoDiffOptions())
CONFIG = {
    "model": {
        "type": "diffusion",
        "network": "dualenc",
        "hidden_dim": 64,
        "num_convs": 4,
        "num_convs_local": 4,
        "cutoff": 10.0,
        "mlp_act": "relu",
        "beta_schedule": "sigmoid",
        "beta_start": 1e-6,
        "beta_end": 2e-2,
        "num_diffusion_timesteps": 500,
        "edge_order": 3,
        "edge_encoder": "mlp",
        "smooth_conv": False,
    },
    "dataset": {"train": "every second molecule of services/geodiff/molecules.smi, one ETKDGv3 + MMFF94 conformer each"},
    "sampling": {"step_lr": 1e-5, "global_start_sigma": 0.5, "clip": 1000.0},
}
"""In upstream's layout; `sampling` is our own, for ten times fewer steps need ten times longer ones."""


def main() -> None:
    """Train and write the checkpoint, or measure what is written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="share of samples that pass all checks, against random weights")
    torch.set_num_threads(1)
    seed_everything(SEED)
    if parser.parse_args().measure:
        measure()
    else:
        train()


def train() -> None:
    """Upstream's loss on random batches, Adam, weights averaged over iterations."""
    examples = embed(read_built_in()[0::2])
    print(f"{len(examples)} molecules")
    network: Any = open_upstream().build(CONFIG)
    network.encoder_local.activation = lambda x: torch.relu(x).clone()  # upstream adds to it in place, which autograd refuses today
    average = open_upstream().build(CONFIG)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, betas=(0.95, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, N_ITERATIONS)
    rng = np.random.default_rng(SEED)
    for iteration in range(N_ITERATIONS):
        chosen = [examples[k] for k in rng.choice(len(examples), BATCH, replace=False)]
        loss = find_loss(network, chosen)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1000.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for mean, own in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(own, 1 - EMA)
        if iteration % 100 == 0:
            print(iteration, f"{loss.item():.2f}", flush=True)
            save(average, iteration)
    save(average, N_ITERATIONS)


def find_loss(network: Any, chosen: list[tuple[Chem.Mol, torch.Tensor]]) -> torch.Tensor:
    """Upstream's loss of one batch."""
    graphs = make_graphs([mol for mol, _ in chosen], CONFIG["model"]["edge_order"])  # type: ignore[index]
    loss: torch.Tensor = network.get_loss(
        atom_type=graphs.atomic_numbers,
        pos=torch.cat([positions for _, positions in chosen]),
        bond_index=graphs.edges,
        bond_type=graphs.edge_types,
        batch=graphs.batch,
        num_nodes_per_graph=None,
        num_graphs=len(chosen),
        extend_order=False,
    )
    return loss.mean()


def save(network: Any, iteration: int) -> None:
    """Upstream's layout: configuration, weights and iteration."""
    torch.save({"config": EasyDict(CONFIG), "model": network.state_dict(), "iteration": iteration}, FILE)


def embed(molecules: tuple[Wanted, ...]) -> list[tuple[Chem.Mol, torch.Tensor]]:
    """Molecules with hydrogens and the positions of one conformer, centred."""
    from services.rdkit.conformers import make_conformers

    examples = []
    for number, wanted in enumerate(molecules, 1):
        if wanted.mol.GetNumAtoms() > LARGEST:
            continue
        try:
            conformer = make_conformers(Chem.MolFromSmiles(wanted.smiles), 1, number)[0]
        except Rejected:
            continue
        positions = torch.tensor(conformer.positions, dtype=torch.float32)
        examples.append((wanted.mol, positions - positions.mean(0)))
    return examples


def measure() -> None:
    """Acceptance on molecules that were not trained on, with and without relaxed hydrogens, and of random weights."""
    held_out = [wanted.mol for wanted in read_built_in()[1::2] if wanted.mol.GetNumAtoms() <= LARGEST][:96]
    content = torch.load(FILE, weights_only=False)
    trained, untrained = (open_upstream().build(CONFIG).eval() for _ in range(2))
    trained.load_state_dict(content["model"])
    for name, module in (("trained", trained), ("random weights", untrained)):
        positions = Network(module, CONFIG, "cpu").sample(held_out, 1.0, lambda _: None)
        for relax in (True, False):
            proposals = [propose(mol, p, {}, relax=relax) for mol, p in zip(held_out, positions, strict=True)]
            outcomes = [p if isinstance(p, str) else finish_proposal(p, TASK, np.random.default_rng(SEED)) for p in proposals]
            passed = sum(isinstance(outcome, Proposal) for outcome in outcomes)
            reasons = sorted({o for o in outcomes if isinstance(o, str)})
            print(
                f"{name}, hydrogens {'relaxed' if relax else 'as sampled'}: {passed} of {len(outcomes)}",
                {r: outcomes.count(r) for r in reasons},
            )


if __name__ == "__main__":
    main()
