"""Findings: the values of all gates, measured; what is judged by them is in gates."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from distillery.planning.energy_fit import flag_by_source
from distillery.planning.measures import BEYOND_LIMITS, Measures, SourceMeasures
from distillery.planning.statistics import energy_residuals, entropy_bits, entropy_ceiling, robust_z
from distillery.recipe.recipe import GateName, Recipe
from distillery.structures.environments import N_NUMBERS, find_entropy
from distillery.structures.structure import SYSTEMS

_SHORT_CONTACT = 0.7
_LEAST_ENVIRONMENTS, _MOST_ENVIRONMENTS = 50, 200
"""Of a source: with fewer there is nothing to say of its diversity; of more a sample is taken, so that sources of all sizes are alike."""
_DETAILS = 3
"""Different faults that a finding names."""
_OUTLIER_Z = 10.0
_TORN_SHARE = 0.005
"""Of a source's labels: where electrons rearrange on the way from one label to the next, as now and then they do, neither is wrong."""


@dataclass(frozen=True)
class Finding:
    """A gate's value: of the whole dataset (scope "all") or of one source; None where there is nothing to measure.

    detail  what is wrong, for a person, where the value alone does not tell
    """

    gate: GateName
    scope: str
    value: float | None
    ceiling: float | None = None
    detail: str = ""


def find_values(measures: Measures, recipe: Recipe, wanted: Mapping[str, int]) -> Iterator[Finding]:
    """The values of all gates where so many structures are wanted of each source."""
    sources = {name: own for name, own in measures.sources.items() if wanted[name]}
    kept = sum(own.kept for own in sources.values())
    short = [f"{name} has {own.kept} of {wanted[name]}" for name, own in sources.items() if own.kept < wanted[name]]
    yield Finding("completeness", "all", kept / sum(wanted.values()), 1.0, "; ".join(short))
    yield from _success(sources)
    yield from _elements(sources, recipe)
    for name, own in sources.items():
        if wanted[name] > 1:
            yield Finding("distinct_sizes", name, own.n_sizes)
            yield Finding("distinct_compositions", name, own.n_compositions)
    yield from _environments(sources)
    yield Finding("duplicates", "all", _duplicate_share(sources), detail=_describe_duplicates(sources))
    for name, own in sources.items():
        if own.generated:
            yield Finding("generation_seconds", name, own.generate_seconds / own.generated)
    yield from _sizes(sources)
    yield from _labels(measures, recipe)
    yield from _physics(measures, sources)


def _environments(sources: dict[str, SourceMeasures]) -> Iterator[Finding]:
    """How many different environments every source has, in a sample; 1 if no two are alike, 0 if all are."""
    for name, own in sources.items():
        found = np.concatenate(own.environments).astype(np.float64) if own.environments else np.zeros((0, N_NUMBERS))
        if len(found) >= _LEAST_ENVIRONMENTS:
            sample = found[np.linspace(0, len(found) - 1, min(len(found), _MOST_ENVIRONMENTS)).astype(np.int64)]
            yield Finding("environment_diversity", name, find_entropy(sample) / float(np.log(len(sample))), 1.0)


def _success(sources: dict[str, SourceMeasures]) -> Iterator[Finding]:
    scopes = {"all": list(sources.values())} | {name: [own] for name, own in sources.items()}
    for scope, members in scopes.items():
        labelled = sum(own.labelled for own in members)
        sent = labelled + sum(own.refused_by_labeller for own in members)
        detail = next((own.first_fault for own in members if own.first_fault), "") if sent else _explain_none(members)
        yield Finding("teacher_success", scope, labelled / sent if sent else None, 1.0, detail)


def _explain_none(members: list[SourceMeasures]) -> str:
    """What became of the structures, where none came to the teacher."""
    counts = Counter[str]()
    for own in members:
        counts.update({name.partition(": ")[2] or name: n for name, n in own.rejected.items()})
    return f"none came to the teacher: {listed}" if (listed := _list_counts(counts)) else "none was made"


def _elements(sources: dict[str, SourceMeasures], recipe: Recipe) -> Iterator[Finding]:
    atoms_of = sum((own.atoms_of for own in sources.values()), start=np.zeros_like(next(iter(sources.values())).atoms_of))
    n_present = max(int((atoms_of > 0).sum()), len(recipe.elements))
    yield Finding("element_entropy", "all", entropy_bits(atoms_of), entropy_ceiling(n_present))
    covered = [e for e in recipe.elements if atoms_of[atomic_numbers[e]] > 0]
    missing = [e for e in recipe.elements if e not in covered]
    detail = f"no structure has {' '.join(missing)}" if missing else ""
    yield Finding("element_coverage", "all", len(covered) / len(recipe.elements), 1.0, detail)


def _duplicate_share(sources: dict[str, SourceMeasures]) -> float | None:
    """Duplicates found within shards (curation) and across them (the plan), over all structures checked."""
    within = sum(own.rejected["curation: duplicate"] for own in sources.values())
    across = sum(own.rejected["dataset: duplicate"] for own in sources.values())
    checked = within + sum(own.labelled for own in sources.values())
    return (within + across) / checked if checked else None


def _describe_duplicates(sources: dict[str, SourceMeasures]) -> str:
    """How many came of each source, the most first."""
    counts = {name: own.rejected["curation: duplicate"] + own.rejected["dataset: duplicate"] for name, own in sources.items()}
    return _list_counts(counts)


def _sizes(sources: dict[str, SourceMeasures]) -> Iterator[Finding]:
    sizes = np.concatenate([np.zeros(0), *(part for own in sources.values() for part in own.sizes)])
    yield Finding("mean_atoms", "all", float(sizes.mean()) if sizes.size else None)
    yield Finding("size_variation", "all", float(sizes.std() / sizes.mean()) if sizes.size else None)
    per_system = np.array([sum(own.systems[system] for own in sources.values()) for system in SYSTEMS], dtype=float)
    yield Finding("system_balance", "all", float(per_system.std() / per_system.mean()) if per_system.sum() else None)


def _physics(measures: Measures, sources: dict[str, SourceMeasures]) -> Iterator[Finding]:
    """Broken laws of all self-tests and structures together, then of the sources that have any; None where none was tried."""
    tried = sum(test.n_tried for test in measures.self_tests) + sum(own.n_laws_tried for own in sources.values())
    in_tests = [detail for test in sorted(measures.self_tests, key=lambda test: test.broken) for detail in test.broken]
    in_sources = {name: [*own.broken_laws, *_describe_net_faults(own)] for name, own in sources.items()}
    broken = in_tests + [detail for details in in_sources.values() for detail in details]
    yield Finding("teacher_physics", "all", len(broken) if tried else None, 0.0, _shorten(broken) if tried else "nothing was tested")
    for name, details in in_sources.items():
        if details:
            yield Finding("teacher_physics", name, len(details), 0.0, _shorten(details))


def _describe_net_faults(own: SourceMeasures) -> list[str]:
    wrong = {"net_force": "forces that move the whole structure", "torque": "forces that turn the whole structure"}
    counts = {what: own.rejected[f"label: {reason}"] for reason, what in wrong.items()}
    n_torn, n_judged = own.rejected["label: work"], own.labelled + own.refused_by_labeller
    said = [f"{count} labels with {what}: of another structure?" for what, count in counts.items() if count]
    if n_torn <= max(1, _TORN_SHARE * n_judged):
        return said
    return [*said, f"{n_torn} of {n_judged} labels whose energy does not change by the work of forces and stress"]


def _shorten(details: list[str]) -> str:
    different = list(dict.fromkeys(details))
    more = f" (and {len(different) - _DETAILS} others)" if len(different) > _DETAILS else ""
    return "; ".join(different[:_DETAILS]) + more


def _labels(measures: Measures, recipe: Recipe) -> Iterator[Finding]:
    contacts = np.array(measures.contacts)
    yield Finding("bond_lengths", "all", float((contacts < _SHORT_CONTACT).mean()) if contacts.size else None)
    if not measures.energies:
        for gate in ("energy_outliers", "largest_force", "largest_pressure", "energy_fit", "sound_labels"):
            yield Finding(gate, "all", None)
        return
    energies, counts = np.concatenate(measures.energies), measures.counts_and_charges
    lengths = [len(part) for part in measures.energies]
    limits = {name: recipe.find_limits(name).energy for name in recipe.sources}
    _, residuals = flag_by_source(measures.names, lengths, energies, counts, limits)
    yield Finding("energy_outliers", "all", float((robust_z(energy_residuals(energies, counts)) > _OUTLIER_Z).mean()))
    yield _find_largest("largest_force", np.concatenate(measures.largest_forces), measures)
    yield _find_largest("largest_pressure", np.abs(np.concatenate(measures.pressures)), measures)
    yield _find_largest("energy_fit", np.abs(residuals), measures)
    yield Finding("sound_labels", "all", _sound_share(measures), detail=_describe_unsound(measures))


def _find_largest(gate: GateName, values: NDArray[np.float64], measures: Measures) -> Finding:
    """The largest value, and the structure that has it, unless all are 0, as without any stress."""
    row = int(values.argmax())
    return Finding(gate, "all", float(values[row]), detail=measures.find_id(row) if values[row] else "")


def _describe_unsound(measures: Measures) -> str:
    """How many labels of each source are beyond the limits, the most first."""
    counts = {name: sum(own.rejected[reason] for reason in BEYOND_LIMITS) for name, own in measures.sources.items()}
    return _list_counts(counts)


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: -item[1]) if n)


def _sound_share(measures: Measures) -> float:
    """Labels within the recipe's limits over all labels that the teacher gave."""
    beyond = sum(own.rejected[reason] for own in measures.sources.values() for reason in BEYOND_LIMITS)
    labelled = sum(own.labelled + own.refused_by_limits for own in measures.sources.values())
    return 1 - beyond / labelled if labelled else 0.0
