"""How to load a dataset and how to cite it: the one place that report.html, README.md and Croissant take it from."""

from collections.abc import Iterable, Mapping

from distillery.report.card.facts import CardFacts
from distillery.schema.label import TeacherCard

UNITS = "energies in eV, forces in eV/Å, positions and cells in Å, stress in eV/Å³ (ASE's order xx yy zz yz xz xy and ASE's sign)"

LIMITS = (
    "Labels come from the teacher, not from first principles. It labels what it is given, also far from what it was trained on; its errors "
    "there are not known.",
    "Clusters, surfaces and crystals of random composition are varied rather than plausible: most of them would not exist for long.",
    "Duplicates are found by a hash of distances up to 5 Å: mirror images count as the same, and large molecules that differ only far "
    "apart may be taken for one.",
    "Structures come out the same bit by bit from the same recipe, versions and machine architecture; labels agree to their last digits "
    "only.",
)
"""What any dataset of a teacher's labels can't promise."""


def describe_loading(file: str = "dataset.h5") -> dict[str, str]:
    """Ways to load dataset.h5, each as Python or a command, by what is needed for it."""
    return {
        "ASE": f'import distillery\n\nfor atoms in distillery.read_dataset("{file}"):\n    atoms.get_forces()',
        "PyTorch": (
            "from torch.utils.data import DataLoader\n"
            "from distillery import StructureDataset, collate, split_dataset\n\n"
            f'split = split_dataset("{file}", seed=0)\n'
            f'train = DataLoader(StructureDataset("{file}", split.indices["train"]), batch_size=8, shuffle=True, collate_fn=collate)'
        ),
        "h5py": (
            "import h5py\n\n"
            f'with h5py.File("{file}") as file:\n'
            '    splits = file["structures/atomic_numbers_splits"][:]\n'
            '    energies = file["labels/energy"][:]\n'
            '    forces_of_the_first = file["labels/forces"][splits[0] : splits[1]]'
        ),
        "a trainer": f"distillery export {file} --to mace    # or nequip, sevenn, graph-pes, fairchem",
    }


def cite_dataset(facts: CardFacts) -> str:
    """A BibTeX entry of the dataset itself."""
    known = f"structures sha256 {str(facts.metadata.get('structures_sha256', 'not recorded'))[:16]}"
    return write_citation(facts.name, facts.n_structures, facts.teacher, facts.year, known)


def write_citation(name: str, n_structures: int, teacher: TeacherCard | None, year: str, known_by: str) -> str:
    """A BibTeX entry; `known_by` is what tells it from others of its name."""
    key = "".join(letter for letter in name if letter.isalnum()) or "dataset"
    labelled = f", labelled by {teacher.name} ({teacher.version})" if teacher else ""
    return (
        f"@misc{{{key}{year if year.isdigit() else ''},\n"
        f"  title = {{{name}: {n_structures} structures{labelled}}},\n"
        f"  year = {{{year}}},\n"
        f"  note = {{Made with Distillery; {known_by}}},\n"
        "}"
    )


def list_credits(facts: CardFacts) -> list[str]:
    """Whom else to cite: the teacher, and for every service that made structures the program it is named after, else itself."""
    makers = {maker.service: dict(maker.versions) for source in facts.sources for maker in source.makers.values()}
    return [*_describe_teacher(facts), *(_describe_maker(name, makers[name]) for name in sorted(makers))]


def _describe_maker(service: str, versions: Mapping[str, str]) -> str:
    if program := versions.get(f"service {service}: {service}"):
        return f"{service} {program}"
    return f"Distillery's service {service} {versions.get(f'service {service}', '')}".strip()


def _describe_teacher(facts: CardFacts) -> Iterable[str]:
    return [f"{facts.teacher.name} ({facts.teacher.version}), the teacher"] if facts.teacher else []
