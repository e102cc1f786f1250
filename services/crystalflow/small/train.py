"""Trains the small checkpoints, dng.ckpt and csp.ckpt, on crystals that the pymatgen service makes: for trying and testing only.

`--measure` says what share of their samples passes, against random weights. Training takes some 9 CPU-minutes.

Needs upstream's code ($UPSTREAM_DIR/crystalflow) and the requirements of services/pymatgen; nothing of it is needed to sample.

    python -m services.crystalflow.small.train              # both, into this folder
    python -m services.crystalflow.small.train --measure    # acceptance of what is there, and of random weights
"""

import argparse
import copy
import importlib
import math
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch_geometric.data import Batch, Data

from distillery.generators.generator import resolve_task
from distillery.generators.models.sampling import SampledGenerator, seed_everything
from distillery.generators.models.upstream import find_upstream
from distillery.generators.proposals import propose_one
from distillery.schema.generate import GenerateRequest
from distillery.structures.structure import Structure
from services.crystalflow import upstream
from services.crystalflow.model import CrystalFlow
from services.crystalflow.settings import CrystalFlowSettings
from services.pymatgen.generator import CrystalProposer
from services.pymatgen.symmetry import find_symmetry

FOLDER = Path(__file__).parent
SEED = 1
N_ATTEMPTS = 4000
MOST_ATOMS = 20
BATCH = 32
LEARNING_RATE = 3e-3
AVERAGING = 0.998
"""Decay of the running mean of the weights, which is what is saved."""
STEPS = {"dng": 8000, "csp": 3000}
N_MEASURED = 100
COMPOSITIONS = ("SiO2", "H2O", "NH3", "SiC", "Si3N4", "PCl3", "SF6", "SiF4", "P2O5", "N2O")
_COMMON = (
    "data=mp_20",
    "+model.lattice_polar_sigma=0.1",
    "model.cost_coord=10",
    "model.cost_lattice=1",
    "model.time_dim=32",
    "model.timesteps=10",
    "model.decoder.hidden_dim=64",
    "model.decoder.num_layers=3",
    "model.decoder.num_freqs=4",
    "model.decoder.rec_emb=sin",
    "model.decoder.num_millers=3",
    "+model.decoder.periodic_norm=true",
)
OVERRIDES = {
    "dng": ("model=flow_polar_w_type", "+model.type_encoding=table", "model.cost_type=10", *_COMMON),
    "csp": ("model=flow_polar", *_COMMON),
}
"""Upstream's own settings for MP-20 (its README), made small."""


def make_crystals(n_attempts: int = N_ATTEMPTS) -> list[Structure]:
    """Primitive cells of decorated prototypes of up to MOST_ATOMS atoms."""
    proposer = CrystalProposer()
    request = GenerateRequest(n=500, seed=SEED, min_atoms=1, max_atoms=MOST_ATOMS, options={"prototype_share": 1, "max_elements": 3})
    task = resolve_task(request, proposer)  # type: ignore[arg-type]
    outcomes = [propose_one(proposer, task, attempt) for attempt in range(n_attempts)]
    return [find_symmetry(outcome.structures[0]) for outcome in outcomes if not isinstance(outcome, str)]


def to_graph(crystal: Structure) -> Data:
    """What upstream's network is trained on: types, fractional coordinates, and the logarithm of the cell's stretch."""
    decompose: Any = importlib.import_module("diffcsp.common.data_utils").lattice_polar_decompose_torch
    cell = torch.tensor(crystal.cell)[None]
    fractional = np.linalg.solve(crystal.cell.T, crystal.positions.T).T % 1.0
    return Data(
        atom_types=torch.tensor(crystal.numbers, dtype=torch.long),
        frac_coords=torch.tensor(fractional, dtype=torch.float32),
        lattice_polar=decompose(cell).float(),
        num_atoms=len(crystal),
        num_nodes=len(crystal),
    )


def build(kind: str) -> torch.nn.Module:
    """The network with random weights, from upstream's configuration with the overrides of `kind`."""
    conf = find_upstream(upstream.NAME, upstream.REPOSITORY, upstream.COMMIT) / "conf"
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"), upstream.environment():
        config = compose(config_name="default", overrides=[*OVERRIDES[kind]])
        parts: dict[str, Any] = {name: OmegaConf.to_container(config[name], resolve=True) for name in ("model", *upstream.BESIDE)}
    return upstream.build_network(**parts)


def train(kind: str, graphs: Sequence[Data], n_steps: int) -> torch.nn.Module:
    """The network trained by upstream's own loss; its weights are the running mean."""
    seed_everything(SEED)
    network = build(kind)
    mean = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / n_steps)))
    rng = np.random.default_rng(SEED)
    start = time.process_time()
    for step in range(n_steps):
        batch = Batch.from_data_list([graphs[k] for k in rng.integers(len(graphs), size=BATCH)])
        losses = network(batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        decay = min(AVERAGING, step / (step + 10))
        for average, weight in zip(mean.parameters(), network.parameters(), strict=True):
            average.data.lerp_(weight.data, 1 - decay)
        if step % 250 == 0:
            print(f"{kind} step {step}: loss {losses['loss'].item():.3f}, {time.process_time() - start:.0f} cpu-s", flush=True)
    return mean


def save(network: torch.nn.Module, path: Path) -> None:
    """As Lightning's trainer, and so upstream, writes it; without the state of the optimizer."""
    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, enable_model_summary=False, accelerator="cpu")
    trainer.strategy.connect(network)  # type: ignore[arg-type]
    trainer.save_checkpoint(path, weights_only=True)


def measure(kind: str) -> None:
    """Print what share of samples passes all checks, of the checkpoint that is there and of random weights."""
    with tempfile.TemporaryDirectory() as folder:
        untrained = Path(folder) / f"{kind}.ckpt"
        seed_everything(SEED)
        save(build(kind), untrained)
        for name, path in (("trained", FOLDER / f"{kind}.ckpt"), ("random", untrained)):
            generator = SampledGenerator(CrystalFlow(CrystalFlowSettings(checkpoint=str(path), weights=Path(folder))))
            generator.load()
            _report(f"{kind} {name}", generator, {"compositions": COMPOSITIONS} if kind == "csp" else {})


def _report(title: str, generator: SampledGenerator, options: dict[str, Any]) -> None:
    task = resolve_task(GenerateRequest(n=N_MEASURED, seed=SEED, options=options), generator)
    start = time.process_time()
    made = generator.generate(task, threading.Event(), lambda *_: None)
    seconds = (time.process_time() - start) / max(1, len(made.structures))
    share = len(made.structures) / made.attempts
    print(f"{title}: {share:.1%} of {made.attempts}, {seconds:.2f} cpu-s a structure, {dict(made.rejected.most_common())}", flush=True)


def main() -> None:
    """See the module."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--measure", action="store_true", help="train nothing")
    arguments.add_argument("--kind", choices=sorted(STEPS), nargs="*", default=sorted(STEPS))
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    upstream.import_upstream()
    if chosen.measure:
        for kind in chosen.kind:
            measure(kind)
        return
    graphs = [to_graph(crystal) for crystal in make_crystals()]
    print(f"{len(graphs)} crystals")
    for kind in chosen.kind:
        save(train(kind, graphs, STEPS[kind]), FOLDER / f"{kind}.ckpt")


if __name__ == "__main__":
    main()
