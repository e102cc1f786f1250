"""Makes molecules.smi, geodiff's own pool: `python -m services.geodiff.small.molecules` with the rdkit service's requirements installed."""

from distillery.generators.generator import Task
from distillery.generators.proposals import Proposal, propose_one
from distillery.schema.generate import Perturb
from distillery.structures.structure import DEFAULT_ELEMENTS
from services.geodiff.pool import BUILT_IN, drop_stereo

SEED = 1
N_MOLECULES = 600
_SIZES = ((8, 16), (12, 24), (20, 40), (36, 70))
"""Ranges of atoms, hydrogens included, in turn."""


def main() -> None:
    """Write the pool, without repeats."""
    from services.rdkit.generator import MoleculeOptions, MoleculeProposer

    proposer, found = MoleculeProposer(), dict[str, None]()
    attempt = 0
    while len(found) < N_MOLECULES:
        low, high = _SIZES[attempt % len(_SIZES)]
        task = Task(1, SEED, "pool", "molecule", DEFAULT_ELEMENTS, low, high, Perturb(), MoleculeOptions())
        proposal = propose_one(proposer, task, attempt)
        attempt += 1
        if isinstance(proposal, Proposal):
            found[drop_stereo(proposal.structures[0].origin["smiles"])] = None
    BUILT_IN.write_text("".join(f"{smiles}\n" for smiles in found), encoding="utf-8")


if __name__ == "__main__":
    main()
