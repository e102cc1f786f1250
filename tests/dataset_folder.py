"""A dataset's folder with parts of real small structures and made-up labels, without gateway or labeller."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from distillery.dataset.folder import DATASET, part_path
from distillery.dataset.layout import Label, list_optional, to_arrays
from distillery.dataset.merge import finalise
from distillery.dataset.parts import digest_arrays, write_part
from distillery.planning.made_parts import MadeParts
from distillery.planning.plan import Shard
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import Recipe
from distillery.schema.label import FinaliseRequest, PartSelection, Receipt, Reject, ShardRecord, TeacherCard
from distillery.structures.identity import digest_structures, structure_hash
from distillery.structures.structure import Structure
from tests.labelling import methane, moved, silicon, water

RECIPE = """\
name: pictured
seed: 3
teacher: fake
elements: [H, C, O, Si]
shard_size: 15
sources:
  molecules: {service: rdkit, system: molecule, count: 60}
  crystals: {service: pymatgen, system: crystal, count: 30}
"""


def make_structures(shard: Shard) -> list[Structure]:
    """Waters and methanes, or silicons, each displaced in its own way."""
    makers = (water, methane) if shard.source == "molecules" else (silicon,)
    made = []
    for i in range(shard.n):
        rng = np.random.default_rng([shard.seed, i])
        structure = makers[i % len(makers)](f"{shard.name}/{i:04d}")
        made.append(moved(structure, rng.normal(0, 0.05, structure.positions.shape)))
    return made


def make_label(structure: Structure) -> Label:
    """Forces of around 1 eV/Å, an energy of -5 eV/atom and a bit."""
    rng = np.random.default_rng(list(structure.id.encode()))
    n = len(structure)
    forces = rng.normal(0, 1, (n, 3)).astype(np.float32)
    stress = rng.normal(0, 0.05, 6) if structure.is_periodic else None
    return Label(-5.0 * n + float(rng.normal(0, 0.05 * n)), forces, stress)


def write_parts(
    folder: Path,
    text: str = RECIPE,
    *,
    only: Callable[[Shard], bool] = lambda shard: True,
    change: Callable[[Structure], Structure] = lambda structure: structure,
    relabel: Callable[[Structure, Label], Label] = lambda structure, label: label,
    **record: Any,
) -> MadeParts:
    """The folder's parts, once the first round's parts (or `only` some) are written."""
    recipe = parse_recipe(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(text)
    for shard in MadeParts(folder, recipe).make_plan().shards():
        if only(shard):
            write_part_of(folder, recipe, shard, change, relabel, **record)
    return MadeParts(folder, recipe)


def write_finished(folder: Path, text: str = RECIPE, **how: Any) -> Path:
    """The dataset.h5 of a folder, which has the name of the recipe, of the parts that `write_parts` writes."""
    made_parts = write_parts(folder, text, **how)
    parts = tuple(PartSelection(part=shard.name) for shard in made_parts.make_plan().shards())
    recipe = made_parts.recipe
    finalise(folder.parent, FinaliseRequest(dataset=recipe.name, recipe=text, recipe_sha256=recipe.sha256, seed=recipe.seed, parts=parts))
    return folder / DATASET


def rewrite(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """A copy beside it without a seal, as other programs write it, with something changed."""
    target = path.with_name(f"changed-{path.name}")
    with h5py.File(path) as old, h5py.File(target, "w") as new:
        for name in old:
            old.copy(name, new)
        change(new)
    return target


def write_part_of(
    folder: Path,
    recipe: Recipe,
    shard: Shard,
    change: Callable[[Structure], Structure] = lambda structure: structure,
    relabel: Callable[[Structure, Label], Label] = lambda structure, label: label,
    **record: Any,
) -> None:
    """The part of a shard, as `write_parts` does it."""
    structures = [change(structure) for structure in make_structures(shard)]
    _write_part(folder, recipe, shard, structures, [relabel(s, make_label(s)) for s in structures], record)


def _write_part(
    folder: Path, recipe: Recipe, shard: Shard, structures: list[Structure], labels: list[Label], record: dict[str, Any]
) -> None:
    source = recipe.sources[shard.maker]
    hashes = [structure_hash(s) for s in structures]
    wanted = {"source": shard.source, "service": source.service, "shard": shard.name, "wanted": recipe.labels}
    arrays = to_arrays(structures, labels, hashes, **wanted)
    known = {
        "recipe_sha256": recipe.sha256,
        "stage": shard.stage,
        "source": shard.source,
        "service": source.service,
        "system": source.system,
        "seed": shard.seed,
        "start": shard.start,
        "round": shard.round,
        "requested": shard.n,
        "generated": shard.n + 1,
        "generate_seconds": 0.5 * shard.n,
        "service_version": "1.0",
        "service_versions": {"numpy": "2.0"},
        "service_rejected": {"no_conformer": 2},
        "rejected": (Reject(id=f"{shard.name}/r", reason="bare_carbon", detail="", stage="curation"),),
    }
    receipt = Receipt(
        dataset=recipe.name,
        part=shard.name,
        record=ShardRecord(**{**known, **record}),
        teacher=TeacherCard(name="fake", version="fake==1", weights_sha256="f" * 64, device="cpu", elements=recipe.elements),
        n_structures=len(structures),
        n_atoms=sum(map(len, structures)),
        label_seconds=1.0 * shard.n,
        optional_columns=list_optional(arrays),
        structures_sha256=digest_structures([s.id for s in structures], hashes),
        content_sha256=digest_arrays(arrays),
        created="2026-01-01T00:00:00Z",
    )
    assert write_part(part_path(folder, shard.name), receipt, arrays)


def with_origin(origin: dict[str, Any]) -> Callable[[Structure], Structure]:
    """Structures that say they were made so."""
    return lambda structure: replace(structure, origin=origin)
