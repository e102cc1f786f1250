"""A consumer tried: what is handed to it, how its check is run, and what makes its configuration small enough for a test."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillery.dataset.selection import Selection, choose_structures
from distillery.dataset.splits import split_dataset
from distillery.export.ase_databases import export_ase_db
from distillery.export.trainer_folder import export_for_trainer
from distillery.export.trainer_formats import TRAINER_FORMATS
from distillery.export.zarr_store import export_zarr
from tests.command import ROOT

FORMATS = {"orb": (".db", export_ase_db, Selection(with_stress=True)), "nvalchemi": (".zarr", export_zarr, Selection())}
"""Those that get structures alone: a file a side."""


@dataclass(frozen=True)
class Consumer:
    """A program that reads exports.

    requirements  what pip installs
    module        its check in tests/consumers
    smaller       what is written in its configuration in place of what is there, for a model that trains in seconds
    finished      what a training that came to its end prints
    log           the file that it prints this to, rather than to the terminal
    """

    requirements: tuple[str, ...]
    module: str
    smaller: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""
    log: str = ""


_MACE = {"num_channels: 64": "num_channels: 8", "max_L: 1": "max_L: 0", "max_num_epochs: 200": "max_num_epochs: 1", "cuda": "cpu"}
CONSUMERS: Mapping[str, Consumer] = {
    "mace": Consumer(("mace-torch==0.3.16",), "mace", _MACE, "Error-table on TEST"),
    "mace-hdf5": Consumer(("mace-torch==0.3.16",), "mace", _MACE, "Error-table on TEST"),
    "nequip": Consumer(
        ("nequip==0.19.1",),
        "nequip",
        {"max_epochs: 200": "max_epochs: 1", "num_features: 32": "num_features: 4", "num_layers: 3": "num_layers: 1"},
        "TEST RUN END",
    ),
    "sevenn": Consumer(
        ("sevenn==0.13.0",),
        "sevenn",
        {"epoch: 200": "epoch: 1", "channel: 32": "channel: 4", "lmax: 2": "lmax: 1"},
        "Total wall time",
        "log.sevenn",
    ),
    "graph-pes": Consumer(
        ("graph-pes==1.0.2",), "graph_pes", {"max_epochs: 200": "max_epochs: 1", "channels: 64": "channels: 8"}, "Testing complete"
    ),
    "fairchem": Consumer(
        ("fairchem-core==2.24.0",),
        "fairchem",
        {
            "CUDA": "CPU",
            "epochs: 200": "epochs: null",
            " steps: null": " steps: 2",
            "max_steps: null": "max_steps: 2",
            "channels: 32\n        lmax": "channels: 8\n        lmax",
        },
        "Training Completed 2 steps",
    ),
    "huggingface": Consumer(("datasets==5.2.0", "mlcroissant==1.1.1"), "huggingface"),
    "orb": Consumer(("orb-models==0.5.5",), "orb"),
    "nvalchemi": Consumer(("nvalchemi-toolkit==0.3.0", "zarr>=3"), "nvalchemi"),
}


def hand_to(name: str, dataset: Path, folder: Path) -> Path:
    """Write what a consumer gets into `folder`; the file with the rows of each side."""
    suffix, export, selection = FORMATS.get(name, ("", None, Selection()))
    split = split_dataset(dataset)
    rows = {side: choose_structures(dataset, selection, own).indices for side, own in split.indices.items()}
    if export is None:
        export_for_trainer(dataset, folder, name)
    else:
        folder.mkdir(parents=True)
        for side, own in rows.items():
            export(dataset, folder / f"{side}{suffix}", indices=own)
    sides = folder.with_name(f"{folder.name}-sides.json")
    sides.write_text(json.dumps({side: own.tolist() for side, own in rows.items()}))
    return sides


def check(name: str, python: Path, folder: Path, dataset: Path, sides: Path) -> dict[str, Any]:
    """What the consumer's check found; AssertionError with its output if it failed."""
    command = [str(python), "-m", f"tests.consumers.{CONSUMERS[name].module}", str(folder), str(dataset), str(sides)]
    done = _run(command, ROOT, python)
    found: dict[str, Any] = json.loads(done.strip().splitlines()[-1])
    return found


def train(name: str, python: Path, folder: Path) -> str:
    """Train with the folder's own configuration, made smaller, by the command that the user is told; the command."""
    consumer, trainer_format = CONSUMERS[name], TRAINER_FORMATS[name]
    path = folder / trainer_format.configuration
    text = path.read_text()
    for whole, small in consumer.smaller.items():
        assert text.count(whole) == 1, f"{path} has {text.count(whole)} times {whole!r}"
        text = text.replace(whole, small)
    path.write_text(text)
    output = _run(["bash", "-c", trainer_format.command], folder, python)
    if consumer.log:
        output = (folder / consumer.log).read_text()
    assert consumer.finished in output, output[-5000:]
    return trainer_format.command


def _run(command: list[str], folder: Path, python: Path) -> str:
    """What a command printed; AssertionError if it failed."""
    environment = {
        **os.environ,
        "PATH": f"{python.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout
