"""Distillery: datasets for distilling machine-learned force fields, made from a recipe, checked and judged.

What one does with a dataset that is there, each imported when it is first asked for:

    read_dataset, open_dataset                      ASE atoms with their labels; the plain HDF5 file
    read_element_energies                           one energy an element: fitted (E0s), and of the teacher's isolated atoms
    split_dataset                                   train, validation and test sides, no parent on two of them
    export_extxyz, export_ase_db, export_aselmdb    files for training elsewhere
    StructureDataset, BlockDataset, collate         for training with PyTorch
    verify_dataset                                  is the file what it says?
    Problem                                         every error that these raise on purpose

Reading, splitting and exporting need h5py, numpy and ase alone, verifying also pydantic, vesin and the YAML reader.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distillery.dataset.element_energies import read_element_energies
    from distillery.dataset.layout import open_dataset
    from distillery.dataset.reading import read_dataset
    from distillery.dataset.splits import split_dataset
    from distillery.dataset.torch_dataset import BlockDataset, StructureDataset, collate
    from distillery.errors import Problem
    from distillery.export.ase_databases import export_ase_db, export_aselmdb
    from distillery.export.extxyz import export_extxyz
    from distillery.verify.verification import verify_dataset

__all__ = [
    "BlockDataset",
    "Problem",
    "StructureDataset",
    "collate",
    "export_ase_db",
    "export_aselmdb",
    "export_extxyz",
    "open_dataset",
    "read_dataset",
    "read_element_energies",
    "split_dataset",
    "verify_dataset",
]

_MODULES = {
    "distillery.dataset.element_energies": ("read_element_energies",),
    "distillery.dataset.layout": ("open_dataset",),
    "distillery.dataset.reading": ("read_dataset",),
    "distillery.dataset.splits": ("split_dataset",),
    "distillery.dataset.torch_dataset": ("BlockDataset", "StructureDataset", "collate"),
    "distillery.errors": ("Problem",),
    "distillery.export.ase_databases": ("export_ase_db", "export_aselmdb"),
    "distillery.export.extxyz": ("export_extxyz",),
    "distillery.verify.verification": ("verify_dataset",),
}


def __getattr__(name: str) -> Any:
    """One of the names above (PEP 562), so that `import distillery` itself imports nothing."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
