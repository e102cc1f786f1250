"""Verification: is a dataset.h5 what it says? From the file alone; the parts may be gone."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from distillery.dataset.derivation import is_derived
from distillery.dataset.element_energies import FITTED, ISOLATED
from distillery.dataset.layout import READABLE_LAYOUTS, choose_columns, describe_units, iterate_texts
from distillery.dataset.provenance import MERGED_PARTS, Summary
from distillery.dataset.sealed_file import is_sealed
from distillery.dataset.sections import Section, find_sections
from distillery.errors import Problem
from distillery.planning.gates import is_go, judge
from distillery.planning.plan import Plan, Shard
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import Recipe
from distillery.report.files import read_report
from distillery.report.report import make_report
from distillery.report.summary import describe_checkpoints
from distillery.runtime.canonical_json import canonical_json
from distillery.runtime.workers import Each, open_workers
from distillery.schema.label import FinaliseReceipt
from distillery.schema.report import CheckpointRecord, Report
from distillery.structures.identity import digest_structures
from distillery.verify.derived_checks import DerivedVerification
from distillery.verify.file_checks import (
    Check,
    attempt,
    check_bytes,
    check_fitted_energies,
    check_layout,
    check_splits,
    conclude,
    find_differences,
)
from distillery.verify.inspection import Progress, inspect_all
from distillery.verify.merged_parts import MergedParts, measure_section
from distillery.verify.structure_checks import UNREADABLE, Expected


def verify_dataset(path: Path | str) -> Iterator[Check]:
    """Every check of a dataset.h5 from the file alone, as soon as it is made; InvalidRequest if there is no such file."""
    return Verification(Path(path)).run()


class Verification:
    """One file under verification; `sections`, `recipe`, `made_parts` and `plan` are there once they have proved right."""

    def __init__(self, path: Path, progress: Progress = lambda what, done, n: None) -> None:
        self.path, self._progress = path, progress
        self.recipe: Recipe | None = None
        self.plan: Plan | None = None
        self.made_parts: MergedParts | None = None
        self.sections: list[Section] = []
        self.is_derived = False
        self._metadata: dict[str, Any] = {}
        self._remembered: list[dict[str, Any]] = []

    def run(self) -> Iterator[Check]:
        """Every check as soon as it is made. InvalidRequest if there is no such file."""
        yield (seal := check_bytes(self.path))
        if not seal.passed and is_sealed(self.path):
            yield Check("rest", False, "not checked: the file is damaged, and HDF5 may hang on it")
            return
        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            yield Check("layout", False, "not checked, nor the rest", (f"it can't be read as HDF5: {error}",))
            return
        with file:
            try:
                self.is_derived = is_derived(file)
            except UNREADABLE as error:
                yield Check("layout", False, "not checked, nor the rest", (f"it can't be read as HDF5: {error}",))
                return
            derived = DerivedVerification(file, self.path, self._progress) if self.is_derived else None
            shape = (check_layout, check_splits, *(() if derived else (self._check_parts, self._check_recipe)))
            for check in shape:
                yield (found := check(file))
                if not found.passed:
                    yield Check("rest", False, f"not checked: {found.name} must be right first")
                    return
            with open_workers(len(file["labels/energy"])) as each:
                yield from derived.run(each) if derived else self._check_content(file, each)

    def _check_parts(self, file: h5py.File) -> Check:
        def find() -> Iterator[str]:
            self.sections = find_sections(file)
            for section in self.sections:
                receipt, n_atoms = section.part.receipt, section.atoms[1] - section.atoms[0]
                if not section.part.left_out and receipt.n_atoms != n_atoms:
                    yield f"{section.name} has {n_atoms} atoms, its receipt says {receipt.n_atoms}"

        return attempt("parts", lambda: f"{len(file[MERGED_PARTS]):,} receipts, which account for every structure", find)

    def _check_recipe(self, file: h5py.File) -> Check:
        def find() -> Iterator[str]:
            self._metadata = dict(file["metadata"].attrs)
            self._remembered = json.loads(self._metadata["checkpoints"])
            try:
                self.recipe = recipe = parse_recipe(self._metadata["recipe"])
            except Problem as problem:
                yield problem.detail
                return
            recorded = {section.part.receipt.record.recipe_sha256 for section in self.sections}
            if recorded - recipe.known_sha256:
                yield f"its sha256 is {recipe.sha256}, parts were made from {' '.join(sorted(recorded))}"
            if {section.part.receipt.dataset for section in self.sections} - {recipe.name}:
                yield f"its name is {recipe.name}, that of the parts is not"

        return attempt("recipe", lambda: "it is the one that every part was made from", find)

    def _check_content(self, file: h5py.File, each: Each) -> Iterator[Check]:
        assert self.recipe is not None
        made_parts = MergedParts(self.path, self.recipe, self._remembered)
        yield attempt(
            "receipts",
            lambda: "each part held the structures that the file and its list of left-out ones hold",
            lambda: self._take_all(made_parts, each),
        )
        yield attempt("metadata", lambda: "every attribute follows from the content", lambda: self._find_wrong_metadata(file))
        yield self._check_plan(made_parts)
        yield from (found := list(self._check_structures(file, each)))
        if FITTED in self._metadata and all(check.passed for check in found):
            yield check_fitted_energies(file)
        if self.plan is not None:
            yield self._check_gates(made_parts, self.plan)
            yield self._check_report(made_parts, self.plan)

    def _take_all(self, made_parts: MergedParts, each: Each) -> Iterator[str]:
        measured = each(partial(measure_section, self.path), self.sections)
        for k, (section, (facts, measures)) in enumerate(zip(self.sections, measured, strict=True)):
            made_parts.take(section, facts, measures)
            if digest_structures(facts.ids, facts.hashes) != section.part.receipt.structures_sha256:
                yield f"{section.name} does not hold the structures that its receipt says"
            self._progress("measured", k + 1, len(self.sections))

    def _find_wrong_metadata(self, file: h5py.File) -> Iterator[str]:
        recipe, summary = self.recipe, Summary()
        assert recipe is not None
        for section in self.sections:
            summary.add(section.part.receipt, [one.id for one in section.part.left_out])
        ids, hashes = (iterate_texts(file, f"provenance/{name}") for name in ("id", "structure_hash"))
        wanted: dict[str, Any] = {
            "num_structures": len(file["labels/energy"]),
            "total_atoms": len(file["structures/atomic_numbers"]),
            "teacher_model": recipe.teacher,
            "teacher_version": summary.teacher.version,
            "weights_sha256": summary.teacher.weights_sha256,
            "recipe_sha256": recipe.sha256,
            "seed": recipe.seed,
            "units": describe_units(choose_columns(file)),
            "parts_sha256": summary.parts_sha256,
            "structures_sha256": digest_structures(ids, hashes),
        }
        if (layout := self._metadata.get("layout_version")) not in READABLE_LAYOUTS:
            yield f"layout_version is {layout}, known are {', '.join(READABLE_LAYOUTS)}"
        if layout != "1.1":
            wanted[ISOLATED] = canonical_json(summary.isolated_atoms)
            yield from (f"{name} is missing" for name in (FITTED,) if name not in self._metadata)
        for name, value in wanted.items():
            if (found := self._metadata.get(name)) != value:
                yield f"{name} is {found}, by the content it is {value}"
        versions = json.loads(self._metadata["versions"])
        for what, found in summary.describe_versions().items():
            if versions.get(what) != found:
                yield f"versions say {what} {versions.get(what)}, the receipts {found}"

    def _check_plan(self, made_parts: MergedParts) -> Check:
        if len(made_parts.parts) < len(self.sections):
            return Check("plan", False, "not checked: receipts must be right first")
        try:
            plan = made_parts.make_whole_plan()
        except (Problem, *UNREADABLE) as error:
            return Check("plan", False, "wrong", (str(error),))
        if not plan.is_complete:
            return Check("plan", False, "wrong", ("by the recipe, shards are missing that the dataset needs",))
        shards, sections = list(plan.shards()), {section.name: section for section in self.sections}
        faults: list[str] = []
        if [shard.name for shard in shards] != list(sections):
            odd = sorted({shard.name for shard in shards} ^ set(sections))
            faults.append(f"not both in recipe and file: {', '.join(odd[:3])}" if odd else "the parts are in another order")
        else:
            left_out = plan.leave_out
            faults += [f for s in shards for f in _find_shard_faults(s, sections[s.name], made_parts.recipe, left_out[s.name])]
        self.plan, self.made_parts = (None, None) if faults else (plan, made_parts)
        counts = ", ".join(f"{name} {tally.kept}/{tally.count}" for name, tally in plan.tallies.items())
        return conclude("plan", f"recipe and receipts give these {len(shards)} shards and these counts: {counts}", faults)

    def _check_structures(self, file: h5py.File, each: Each) -> Iterator[Check]:
        makers = {shard.name: shard.maker for shard in self.plan.shards()} if self.plan else {}
        yield from inspect_all(file, self.path, [self._expect(section, makers) for section in self.sections], each, self._progress)

    def _expect(self, section: Section, makers: Mapping[str, str]) -> Expected:
        assert self.recipe is not None
        record = section.part.receipt.record
        maker = self.recipe.sources.get(makers.get(section.name, record.source))
        elements = maker.elements if maker and maker.elements else self.recipe.elements
        return Expected(
            part=section.name,
            structures=section.structures,
            atom_rows=section.atoms,
            source=record.source,
            service=record.service,
            system=record.system,
            elements=elements,
            atoms=maker.atoms if maker else None,
            content_sha256=section.part.content_sha256,
            optional_columns=section.part.receipt.optional_columns,
        )

    def _check_gates(self, made_parts: MergedParts, plan: Plan) -> Check:
        wanted = {name: tally.count for name, tally in plan.tallies.items()}
        verdicts = judge(made_parts.measure(plan, wanted), made_parts.recipe, plan.stage, wanted)
        faults = [f"{v.gate} ({v.scope}) is {v.value}, not {v.sign} {v.threshold}" for v in verdicts if v.required and not v.passed]
        if describe_checkpoints(plan) != [CheckpointRecord.model_validate(record) for record in self._remembered]:
            faults.append("the values of the gates differ from those stored in the file")
        said = "GO" if is_go(verdicts) else "NO-GO"
        return conclude("gates", f"{said} at the end of stage {plan.stage}: {len(verdicts)} recomputed", faults)

    def _check_report(self, made_parts: MergedParts, plan: Plan) -> Check:
        try:
            report = read_report(self.path.parent)
        except Problem as problem:
            return Check("report", False, "wrong", (problem.detail,))
        if report is None:
            return Check("report", None, "there is no report.json beside the file to compare with")

        def find() -> Iterator[str]:
            receipt = FinaliseReceipt(
                dataset=made_parts.recipe.name,
                n_structures=self.sections[-1].structures[1],
                n_atoms=self.sections[-1].atoms[1],
                structures_sha256=self._metadata["structures_sha256"],
                n_bytes=self.path.stat().st_size,
            )
            yield from find_differences(_drop_new_details(make_report(made_parts, plan, receipt).as_json(), report), report.as_json(), "")

        left = {
            "the diversity of its sample": report.diversity,
            "what a student learnt": report.assessment,
            "how far its labels are from those of before": report.disagreement,
        }
        aside = "".join(f", {what} left aside" for what, value in left.items() if value is not None)
        return attempt("report", lambda: f"every figure of report.json is confirmed{aside}", find)


def _drop_new_details(made: dict[str, Any], report: Report) -> dict[str, Any]:
    """A report made again without the gates' details that the one there lacks: older versions said less."""
    silent = {(gate.gate, gate.scope) for gate in report.gates if not gate.detail}
    gates = [{**gate, "detail": ""} if (gate["gate"], gate["scope"]) in silent else gate for gate in made["gates"]]
    return {**made, "gates": gates}


def _find_shard_faults(shard: Shard, section: Section, recipe: Recipe, left_out: tuple[str, ...]) -> Iterator[str]:
    record, maker = section.part.receipt.record, recipe.sources[shard.maker]
    pairs = (
        ("stage", record.stage, shard.stage),
        ("source", record.source, shard.source),
        ("service", record.service, maker.service),
        ("system", record.system, maker.system),
        ("round", record.round, shard.round),
        ("left-outs", tuple(one.id for one in section.part.left_out), left_out),
    )
    for what, found, wanted in pairs:
        if found != wanted:
            yield f"{shard.name}: the receipt says {what} {found}, by the recipe it is {wanted}"
