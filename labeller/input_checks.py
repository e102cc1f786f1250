"""Checks of what comes: which structures a teacher may see, and why the others may not be seen."""

from collections.abc import Iterable, Mapping

from distillery.errors import InvalidRequest
from distillery.schema.label import Reject, TeacherOutline
from distillery.structures.cells import restate
from distillery.structures.checks import Fault, find_input_fault, find_plain_fault
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure


def inspect_structures(
    structures: Iterable[Structure], hashes: Mapping[str, str], teacher: TeacherOutline
) -> tuple[list[Structure], list[Reject]]:
    """The structures that a teacher may see, as it will see them, and why the others are refused.

    A client that sends structure hashes has found neighbours and checked distances: that is not done again, once the hash of the first
    shows that it does so as this labeller would.
    """
    find_any_fault = find_plain_fault if hashes else find_input_fault
    sound, refused = [], []
    for structure in map(restate, structures):
        fault = find_any_fault(structure, teacher.elements) or find_inability(structure, teacher)
        if fault is None:
            sound.append(structure)
        else:
            refused.append(Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="label"))
    if sound and hashes:
        _require_same_hash(sound[0], hashes)
    return sound, refused


def find_inability(structure: Structure, teacher: TeacherOutline) -> Fault | None:
    """What of a sound structure a teacher can't do, or None."""
    if structure.is_periodic and not teacher.abilities.periodic:
        return Fault("beyond_teacher", f"the teacher labels molecules and clusters alone, this is a {structure.system}")
    if structure.charge and not teacher.abilities.charge:
        return Fault("beyond_teacher", f"the teacher knows of no charge, this has {structure.charge:+d}")
    if not teacher.abilities.spin and structure.multiplicity not in (0, structure.lowest_multiplicity):
        said = f"this has a multiplicity of {structure.multiplicity}, above the {structure.lowest_multiplicity} of the lowest"
        return Fault("beyond_teacher", f"the teacher knows of no spin, {said}")
    return None


def _require_same_hash(structure: Structure, known: Mapping[str, str]) -> None:
    """The client's hashes are taken if this one is what it would be here."""
    if (own := structure_hash(structure)) != (given := known[structure.id]):
        raise InvalidRequest(
            f"the structure hash of {structure.id} is {own} here, and {given} came: gateway and labeller must be of one version"
        )
