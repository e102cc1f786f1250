"""The report: contents and verdict of a dataset, from its parts alone."""

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from distillery.planning.gates import is_go, judge, sum_up
from distillery.planning.made_parts import MadeParts
from distillery.planning.measures import Measures, SourceMeasures, merge_sources
from distillery.planning.plan import Plan
from distillery.planning.statistics import entropy_bits, entropy_ceiling
from distillery.recipe.recipe import Recipe
from distillery.report.summary import describe_checkpoints, describe_scenario, describe_stages
from distillery.schema.label import FinaliseReceipt
from distillery.schema.report import ElementReport, EntropyRecord, GateRecord, Report, SizeRange, SourceReport, Totals


def make_report(made_parts: MadeParts, plan: Plan, receipt: FinaliseReceipt) -> Report:
    """The content of report.json."""
    recipe, wanted = made_parts.recipe, {name: tally.count for name, tally in plan.tallies.items()}
    measures = made_parts.measure(plan, wanted)
    verdicts = judge(measures, recipe, plan.stage, wanted)
    first = made_parts.find(next(plan.shards()).name)
    assert first is not None
    return Report(
        dataset=recipe.name,
        verdict="GO" if is_go(verdicts) else "NO-GO",
        stage=plan.stage,
        reasons=list(sum_up(verdicts).reasons),
        gates=[GateRecord.model_validate(verdict.as_json()) for verdict in verdicts],
        stages=describe_stages(plan),
        checkpoints=describe_checkpoints(plan),
        scenario=describe_scenario(plan),
        totals=Totals(n_structures=receipt.n_structures, n_atoms=receipt.n_atoms, n_bytes=receipt.n_bytes),
        rounds=len(plan.rounds),
        parts=sum(1 for _ in plan.shards()),
        sources={name: _describe_source(own, recipe, wanted[name]) for name, own in measures.sources.items()},
        elements=_describe_elements(measures, recipe),
        teacher=first.teacher,
        recipe_sha256=recipe.sha256,
        structures_sha256=receipt.structures_sha256,
    )


def _describe_source(own: SourceMeasures, recipe: Recipe, wanted: int) -> SourceReport:
    sizes = np.concatenate(own.sizes) if own.sizes else np.zeros(1)
    return SourceReport(
        wanted=wanted,
        kept=own.kept,
        requested=own.requested,
        generated=own.generated,
        labelled=own.labelled,
        made_by=dict(own.makers),
        fallback_notes=sorted(own.notes),
        rejected={reason: count for reason, count in sorted(own.rejected.items()) if count},
        generate_seconds=round(own.generate_seconds, 3),
        label_seconds=round(own.label_seconds, 3),
        teacher_calls=own.n_calls,
        n_atoms=SizeRange(min=int(sizes.min()), mean=float(sizes.mean()), max=int(sizes.max())),
        n_compositions=own.n_compositions,
        element_entropy=_describe_entropy(own, recipe),
    )


def _describe_elements(measures: Measures, recipe: Recipe) -> ElementReport:
    merged = merge_sources(measures.sources.values())
    n_atoms = max(int(merged.atoms_of.sum()), 1)
    shares = {chemical_symbols[z]: int(merged.atoms_of[z]) / n_atoms for z in np.flatnonzero(merged.atoms_of)}
    return ElementReport(share_of_atoms=shares, entropy=_describe_entropy(merged, recipe))


def _describe_entropy(own: SourceMeasures, recipe: Recipe) -> EntropyRecord:
    """Entropy in bits by atoms and by structures, over the recipe's elements and over all, each with its ceiling."""
    wanted = np.array([atomic_numbers[e] for e in recipe.elements])
    hydrogen = own.atoms_of[1] / max(int(own.atoms_of.sum()), 1)
    n_all = int((own.atoms_of > 0).sum())
    values = {
        "by_atoms": entropy_bits(own.atoms_of),
        "by_atoms_of_recipe_elements": entropy_bits(own.atoms_of[wanted]),
        "by_structures": entropy_bits(own.structures_with),
        "by_structures_of_recipe_elements": entropy_bits(own.structures_with[wanted]),
        "ceiling": entropy_ceiling(n_all),
        "ceiling_of_recipe_elements": entropy_ceiling(len(wanted)),
        "ceiling_at_this_hydrogen_share": entropy_ceiling(n_all, float(hydrogen) if hydrogen else None),
    }
    return EntropyRecord.model_validate({name: round(value, 4) for name, value in values.items()})
