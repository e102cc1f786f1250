"""A consumer tried: what is handed to it, how its check is run, and what makes its configuration small enough for a test."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillery.dataset.selection import Selection, choose_structures
from distillery.dataset.splits import split_dataset
from distillery.export.ase_databases import export_ase_db
from distillery.export.extxyz import export_extxyz
from distillery.export.trainer_folder import export_for_trainer
from distillery.export.trainer_formats import TRAINER_FORMATS
from distillery.export.zarr_store import export_zarr
from tests.command import ROOT

FORMATS = {
    "orb": (".db", export_ase_db, Selection(with_stress=True)),
    "nvalchemi": (".zarr", export_zarr, Selection()),
    "chgnet": (".extxyz", export_extxyz, Selection(systems=("crystal",))),
    "matgl": (".extxyz", export_extxyz, Selection(systems=("crystal",))),
}
"""Those that get structures alone: a file a side."""


_PATIENCE = 3600
"""s: an epoch of the quickstart's structures takes a minute of processor time, on a busy machine much longer."""


@dataclass(frozen=True)
class Consumer:
    """A program that reads exports.

    requirements  what pip installs
    module        its check in tests/consumers
    smaller       what is written in its configuration in place of what is there, for a model that trains in seconds
    finished      what a training that came to its end prints, a regular expression
    log           the file that it prints this to, rather than to the terminal
    section       of docs/trainers.md, whose Python trains; "" for one that gets a configuration
    """

    requirements: tuple[str, ...]
    module: str
    smaller: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""
    log: str = ""
    section: str = ""


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
    "orb": Consumer(
        ("orb-models==0.7.0",),
        "orb",
        {"EPOCHS = 200": "EPOCHS = 1", "latent_dim=128": "latent_dim=32", "hidden_dim=256": "hidden_dim=32"},
        "epoch 0, val: loss",
        section="orb",
    ),
    "nvalchemi": Consumer(
        ("nvalchemi-toolkit==0.3.0", "zarr>=3"),
        "nvalchemi",
        {"num_epochs=200": "num_epochs=1"},
        r"\b[1-9]\d* steps",
        section="nvalchemi-toolkit",
    ),
    "chgnet": Consumer(
        ("chgnet==0.4.2",),
        "chgnet",
        {"epochs=200": "epochs=1", "CHGNet()": "CHGNet(atom_fea_dim=8, bond_fea_dim=8, angle_fea_dim=8, n_conv=2)"},
        "Evaluate Model on Test Set",
        section="CHGNet",
    ),
    "matgl": Consumer(
        ("matgl==4.1.2",),
        "matgl",
        {"max_epochs=200": "max_epochs=1", "units=64": "units=8"},
        "test_Total_Loss",
        section="matgl",
    ),
}


def hand_to(name: str, dataset: Path, folder: Path) -> Path:
    """Write what a consumer gets into `folder`; the file with the rows of each side."""
    suffix, export, selection = _find_format(name)
    split = split_dataset(dataset)
    rows = {side: choose_structures(dataset, selection, own).indices for side, own in split.indices.items()}
    if export is None:
        export_for_trainer(dataset, folder, name)
    else:
        folder.mkdir(parents=True)
        for side, own in rows.items():
            export(dataset, folder / f"{side}{suffix}", indices=own)
    sides = name_sides(folder)
    sides.write_text(json.dumps({side: own.tolist() for side, own in rows.items()}))
    return sides


def find_selection(name: str) -> Selection:
    """The structures of a dataset that a consumer gets."""
    return _find_format(name)[2]


def _find_format(name: str) -> tuple[str, Any, Selection]:
    return FORMATS.get(name, ("", None, Selection()))


def name_sides(folder: Path) -> Path:
    """The file with the rows of each side that lie in a folder."""
    return folder.with_name(f"{folder.name}-sides.json")


def check(name: str, python: Path, folder: Path, dataset: Path, sides: Path) -> dict[str, Any]:
    """What the consumer's check found; AssertionError with its output if it failed."""
    command = [str(python), "-m", f"tests.consumers.{CONSUMERS[name].module}", str(folder), str(dataset), str(sides)]
    done = run_command(command, ROOT, python)
    found: dict[str, Any] = json.loads(done.strip().splitlines()[-1])
    return found


def train(name: str, python: Path, folder: Path) -> str:
    """Train with what the user is given, made smaller, by the command that the user is told; the command.

    That is the folder's own configuration, or the Python of the section of docs/trainers.md.
    """
    consumer = CONSUMERS[name]
    path = folder / ("train.py" if consumer.section else TRAINER_FORMATS[name].configuration)
    text = read_block(consumer.section) if consumer.section else path.read_text()
    for whole, small in consumer.smaller.items():
        assert text.count(whole) == 1, f"{path} has {text.count(whole)} times {whole!r}"
        text = text.replace(whole, small)
    path.write_text(text)
    command = "python train.py" if consumer.section else TRAINER_FORMATS[name].command
    output = run_command(["bash", "-c", command], folder, python)
    if consumer.log:
        output = (folder / consumer.log).read_text()
    assert re.search(consumer.finished, output), output[-5000:]
    return command


def read_block(section: str) -> str:
    """The Python of a section of docs/trainers.md."""
    page = (ROOT / "docs" / "trainers.md").read_text()
    own = re.split(r"^## ", page, flags=re.MULTILINE)
    (text,) = [one for one in own if one.startswith(f"{section}\n")]
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(block)


def run_command(command: list[str], folder: Path, python: Path = Path(sys.executable)) -> str:
    """What a command printed, with the programs beside `python`; AssertionError if it failed or hangs."""
    environment = {
        **os.environ,
        "PATH": f"{python.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{' '.join(command)} did not end within {_PATIENCE} s") from late
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


if __name__ == "__main__":
    hand_to(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
