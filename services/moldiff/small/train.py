"""Train the small checkpoint: MolDiff.pt and bond_predictor.pt in upstream's own format, for trying and testing only.

    UPSTREAM_DIR=… python -m services.moldiff.small.train  # some ten minutes on one core; writes both files beside this one

The data are molecules of C, N, O and H that the rdkit service grows. Upstream's networks and losses, a training loop of our own.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from easydict import EasyDict
from rdkit import Chem
from rdkit.Chem import rdDetermineBonds
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from distillery.generators.generator import Generator, resolve_task
from distillery.generators.models.molecules import write_smiles
from distillery.generators.models.sampling import seed_everything
from distillery.generators.proposals import propose_one
from distillery.schema.generate import GenerateRequest
from distillery.structures.structure import Structure
from services.moldiff.batches import lay_out
from services.moldiff.sketch import Sketch, read_sketch
from services.moldiff.upstream import import_upstream
from services.rdkit.generator import MoleculeProposer

SEED = 2026
N_MOLECULES = 4000
ELEMENTS = ("H", "C", "N", "O")
N_ATOMS = (10, 14)
"""Atoms of the molecules, hydrogens included."""
STEPS = {"MolDiff.pt": 5500, "bond_predictor.pt": 800}
BATCH = 32
LEARNING_RATE = 2e-3
POSITION_NOISE = 0.03
"""Å; upstream does so too, with 0.05."""
HERE = Path(__file__).parent
_log = logging.getLogger("distillery")
_WIDE = {"beta_schedule": "advance", "scale_start": 0.9999, "scale_end": 0.0001, "width": 3}
_SEGMENTS = [{"scale_start": 0.9999, "scale_end": 0.001, "width": 3}, {"scale_start": 0.001, "scale_end": 0.0001, "width": 2}]
_DIFFUSION = {
    "num_timesteps": 100,
    "time_dim": 10,
    "categorical_space": "discrete",
    "diff_pos": _WIDE,
    "diff_atom": {**_WIDE, "init_prob": "tomask"},
    "diff_bond": {"init_prob": "absorb", "beta_schedule": "segment", "time_segment": [60, 40], "segment_diff": _SEGMENTS},
}


def make_configs(sketches: Sequence[Sketch]) -> dict[str, dict[str, Any]]:
    """Configuration of both networks, in upstream's form; `dataset.heavy_atoms` is ours and says which sizes were trained."""
    n_heavy = [len(sketch.numbers) for sketch in sketches]
    common = {
        "train": {"seed": SEED, "batch_size": BATCH, "max_iters": 0, "pos_noise_std": POSITION_NOISE},
        "dataset": {"name": "rdkit", "heavy_atoms": {"mean": float(np.mean(n_heavy)), "std": float(np.std(n_heavy))}},
        "chem": {"atomic_numbers": [6, 7, 8, 9, 15, 16, 17], "mol_bond_types": [1, 2, 3, 4]},
    }
    net = {"backbone": "NodeEdgeNet", "use_gate": True, "cutoff": 15}
    model = {"name": "diffusion", "node_dim": 48, "edge_dim": 32, "denoiser": {**net, "num_blocks": 4}, "diff": _DIFFUSION}
    encoder = {**net, "num_blocks": 2, "update_edge": True, "update_pos": False}
    predictor = {"name": "bond_predictor", "node_dim": 32, "edge_dim": 24, "encoder": encoder, "diff": _DIFFUSION}
    return {
        "MolDiff.pt": {"model": model, "transform": {"use_mask_node": True, "use_mask_edge": True}, **common},
        "bond_predictor.pt": {"model": predictor, "transform": {"use_mask_node": True, "use_mask_edge": False}, **common},
    }


def make_sketches(n_molecules: int) -> list[Sketch]:
    """Molecules of the rdkit service in MolDiff's own form."""
    proposer = MoleculeProposer()
    task = resolve_task(
        GenerateRequest(n=1, seed=SEED, elements=ELEMENTS, min_atoms=N_ATOMS[0], max_atoms=N_ATOMS[1]), cast(Generator, proposer)
    )
    outcomes = (propose_one(proposer, task, attempt) for attempt in range(n_molecules))
    mols = (_read_mol(structure) for outcome in outcomes if not isinstance(outcome, str) for structure in outcome.structures)
    return [read_sketch(mol) for mol in mols if mol is not None]


def _read_mol(structure: Structure) -> Chem.Mol | None:
    """The molecule with the bonds that its distances tell; None if its SMILES is then another."""
    mol = Chem.RWMol()
    conformer = Chem.Conformer(len(structure))
    for i, number in enumerate(structure.numbers):
        mol.AddAtom(Chem.Atom(int(number)))
        conformer.SetAtomPosition(i, structure.positions[i].tolist())
    mol.AddConformer(conformer)
    try:
        rdDetermineBonds.DetermineBonds(mol, charge=0)
    except ValueError:
        return None
    return mol if write_smiles(mol) == structure.origin["smiles"] else None


def collate(sketches: Sequence[Sketch], atomic_numbers: Sequence[int], rng: np.random.Generator) -> dict[str, Any]:
    """The arguments of upstream's losses for one batch: centred positions with noise, types of atoms and of all pairs."""
    layout = lay_out([len(sketch.numbers) for sketch in sketches])
    positions = [
        sketch.positions - sketch.positions.mean(axis=0) + rng.normal(scale=POSITION_NOISE, size=sketch.positions.shape)
        for sketch in sketches
    ]
    kinds = [[sketch.bonds.get((i, j), 0) for i in range(n) for j in range(i + 1, n)] for sketch in sketches for n in [len(sketch.numbers)]]
    return {
        "node_type": torch.tensor([atomic_numbers.index(int(z)) for sketch in sketches for z in sketch.numbers]),
        "node_pos": torch.tensor(np.concatenate(positions), dtype=torch.float32),
        "batch_node": layout.batch_node,
        "halfedge_type": torch.tensor([kind for pairs in kinds for kind in pairs]),
        "halfedge_index": layout.halfedge_index,
        "batch_halfedge": layout.batch_halfedge,
        "num_mol": len(sketches),
    }


def train(network: Any, sketches: Sequence[Sketch], config: Mapping[str, Any], n_steps: int) -> torch.nn.Module:
    """Train in place; the moving average of the weights comes back."""
    rng = np.random.default_rng(SEED)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=1e-8)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.05)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998))  # type: ignore[no-untyped-call]
    for step in range(n_steps):
        chosen = [sketches[i] for i in rng.integers(len(sketches), size=BATCH)]
        losses = network.get_loss(**collate(chosen, config["chem"]["atomic_numbers"], rng))
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        if step % 250 == 0:
            _log.info("step %d: %s", step, {name: round(loss.item(), 3) for name, loss in losses.items()})
    trained: torch.nn.Module = average.module
    return trained


def main() -> None:
    """Train both networks and write them."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    upstream = import_upstream()
    sketches = make_sketches(N_MOLECULES)
    _log.info("%d molecules", len(sketches))
    for name, config in make_configs(sketches).items():
        seed_everything(SEED)
        network = (upstream.build_diffusion if name == "MolDiff.pt" else upstream.build_predictor)(config)
        config["train"] = {**config["train"], "max_iters": STEPS[name]}
        trained = train(network, sketches, config, STEPS[name])
        torch.save({"config": EasyDict(config), "model": trained.state_dict(), "iteration": STEPS[name]}, HERE / name)


if __name__ == "__main__":
    main()
