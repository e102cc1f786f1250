"""Extended XYZ, the text that ASE and nearly every trainer reads; written in blocks, numbers as exact as they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, Indices, cut_dataset, read_block
from distillery.export.places import require_file
from distillery.runtime.atomic_files import write_whole
from distillery.runtime.workers import open_workers

MissingStress = Literal["absent", "nan"]


@dataclass(frozen=True)
class Keys:
    """How the labels are named, and what of them is written.

    prefix          before energy, forces and stress: "" as ASE's calculators name them, "REF_" as MACE reads them
    state           what charge and spin multiplicity are called, in a dataset that has them
    stress          whether any is written
    missing_stress  of a structure whose stress has no meaning: no key, or nine times nan, where a reader wants the same keys everywhere
    """

    prefix: str = ""
    stress: bool = True
    missing_stress: MissingStress = "absent"
    state: tuple[str, str] = ("charge", "spin")


ASE_KEYS = Keys()
REFERENCE_KEYS = Keys("REF_", state=("total_charge", "total_spin"))


def export_extxyz(
    dataset: Path | str,
    target: Path | str,
    *,
    mace_keys: bool = False,
    keys: Keys | None = None,
    indices: Indices | None = None,
    overwrite: bool = True,
) -> int:
    """Write extended XYZ; the number of structures.

    With `mace_keys` the labels are REF_energy, REF_forces and REF_stress; `keys` says it in full. Beside the labels are id, source,
    system, origin (JSON), and the source again as `config_type` and `head`, by which trainers weight and part. Where structures of
    the dataset are charged or have more than the lowest spin, all have `charge` and `spin`, the multiplicity (of MACE `total_charge`
    and `total_spin`). Energies of atoms, if the dataset has them, are the column `energies`. A stress is nine numbers.
    Positions, cells, energies and stresses are read back as the same float64, forces as the same float32.
    """
    path = require_file(Path(dataset), Path(target), overwrite=overwrite)
    with write_whole(path) as temporary:
        return write_extxyz(temporary, dataset, indices, keys or (REFERENCE_KEYS if mace_keys else ASE_KEYS))


def write_extxyz(path: Path, dataset: Path | str, indices: Indices | None, keys: Keys) -> int:
    """Write a file; the number of structures."""
    blocks = list(cut_dataset(dataset, indices))
    n = sum(map(len, blocks))
    with path.open("wb") as file, open_workers(n) as each:
        file.writelines(each(partial(_format_indices, dataset, keys), blocks))
    return n


def _format_indices(dataset: Path | str, keys: Keys, own: NDArray[np.int64]) -> bytes:
    """The text of the structures at these indices, UTF-8."""
    return "".join(_format_block(read_block(dataset, own), keys)).encode()


def _format_block(block: Block, keys: Keys) -> Iterator[str]:
    """The text of each structure."""
    symbols = [chemical_symbols[z] for z in block.numbers.tolist()]
    columns = [symbols, *block.positions.T.tolist(), *block.forces.T.tolist()]
    columns += [] if block.atomic_energies is None else [block.atomic_energies.tolist()]
    values = [value for row in zip(*columns, strict=True) for value in row]
    line = "%s %r %r %r %.9g %.9g %.9g"
    ends = ("\n" if block.atomic_energies is None else "%.0s\n", " %r\n")  # the first one prints nothing of an energy that is nan
    has_atomic = block.has_atomic_energies.tolist()
    for k, comment in enumerate(_format_comments(block, keys)):
        rows = block.rows(k)
        n_atoms = rows.stop - rows.start
        yield f"{n_atoms}\n{comment}\n" + (line + ends[has_atomic[k]]) * n_atoms % tuple(
            values[rows.start * len(columns) : rows.stop * len(columns)]
        )


def _format_comments(block: Block, keys: Keys) -> Iterator[str]:
    """The second line of each structure."""
    texts = zip(*(block.texts[name] for name in ("id", "source", "system", "origin")), strict=True)
    labels = zip(block.energy.tolist(), voigt_6_to_full_3x3_stress(block.stress), block.has_stress.tolist(), strict=True)
    has_atomic = block.has_atomic_energies.tolist()
    columns = zip(block.cells, block.pbc.tolist(), labels, _format_states(block, keys), texts, strict=True)
    for k, (cell, pbc, (energy, stress, has_stress), state, (id, source, system, origin)) in enumerate(columns):
        atomic = f":{keys.prefix}energies:R:1" if has_atomic[k] else ""
        lattice = f'Lattice="{_join(cell.ravel())}" ' if cell.any() else ""
        name = quote(source)
        yield (
            f"{lattice}Properties=species:S:1:pos:R:3:{keys.prefix}forces:R:3{atomic} id={quote(id)} source={name} system={quote(system)} "
            f"config_type={name} head={name} origin={quote(origin)} {keys.prefix}energy={energy!r}"
            f'{_format_stress(stress if has_stress else None, keys)}{state} pbc="{" ".join("FT"[side] for side in pbc)}"'
        )


def _format_states(block: Block, keys: Keys) -> list[str]:
    """Charge and spin of each structure, in a dataset that has them."""
    if block.charge is None or block.spin is None:
        return [""] * len(block)
    charge, spin = keys.state
    return [f" {charge}={q} {spin}={m}" for q, m in zip(block.charge.tolist(), block.spin.tolist(), strict=True)]


def _format_stress(stress: NDArray[np.float64] | None, keys: Keys) -> str:
    if not keys.stress or (stress is None and keys.missing_stress == "absent"):
        return ""
    matrix = _join(stress.ravel()) if stress is not None else " ".join(["nan"] * 9)
    return f' {keys.prefix}stress="{matrix}"'


def _join(values: NDArray[np.float64] | Sequence[float]) -> str:
    return " ".join(map(repr, np.asarray(values).tolist()))


def quote(text: str) -> str:
    """A value of the second line, in quotes, as ASE reads it: backslashes and quotes escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
