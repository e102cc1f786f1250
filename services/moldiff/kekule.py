"""From aromatic bonds to single and double ones: which atoms share a double bond, and which nitrogens carry a hydrogen."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations

import networkx as nx
import numpy as np
from rdkit import Chem

from distillery.generators.proposals import Rejected
from services.moldiff.sketch import DOUBLE, SINGLE, Sketch

_TRIALS = 512
"""Ways to place hydrogens and charges on one aromatic system that are tried at most."""
_ANGLES = {5: 106.5}
"""Ring angle at a nitrogen of a five-membered ring between those with a hydrogen (107-113°) and without (103-106°), degrees."""
_LENGTH = 1.345
"""Mean length of the two ring bonds of a nitrogen between those with a hydrogen (1.35-1.38) and without (1.31-1.34), Å."""
_ANGLE_SPREAD, _LENGTH_SPREAD = 3.0, 0.012
"""What is weighed alike as evidence for a hydrogen: degrees and Å."""


@dataclass(frozen=True, eq=False)
class Kekule:
    """One aromatic system, its bonds localised.

    doubles  the bonds that are double; the system's others are single
    cations  atoms whose double bond is one too many, so that they carry a positive charge
    """

    doubles: frozenset[tuple[int, int]]
    cations: frozenset[int]


@dataclass(frozen=True, eq=False)
class _Roles:
    """What the atoms of a system can do: `bound` must have a double bond, `free` may (N, P), `strained` may for a charge."""

    bound: tuple[int, ...]
    free: tuple[int, ...]
    strained: tuple[int, ...]


def localise(sketch: Sketch) -> list[Kekule]:
    """Every aromatic system with its double bonds placed; Rejected `aromaticity` if one can't be.

    Of the placements that RDKit finds aromatic in all flagged bonds, the one with the fewest charges is taken, and of
    those the one whose nitrogens with a hydrogen have the widest ring angles and longest bonds: that tells 4- from 5-methylimidazole.
    """
    aromatic = sketch.aromatic
    systems = [sorted(atoms) for atoms in nx.connected_components(aromatic) if len(atoms) > 1]
    return [_localise_one(sketch, aromatic.subgraph(atoms)) for atoms in systems]


def _localise_one(sketch: Sketch, system: nx.Graph) -> Kekule:
    roles = _find_roles(sketch, system)
    signs = {atom: _find_hydrogen_sign(sketch, system, atom) for atom in roles.free}
    best: tuple[int, float] | None = None
    found: Kekule | None = None
    for cations, paired in _choices(roles):
        if best is not None and len(cations) > best[0]:
            break
        rank = (len(cations), sum(sign if atom in paired else -sign for atom, sign in signs.items()))
        if best is not None and rank >= best:
            continue
        doubles = _match(system.subgraph([*roles.bound, *cations, *paired]))
        kekule = None if doubles is None else Kekule(doubles, frozenset(cations))
        if kekule is not None and _is_aromatic(sketch, system, kekule):
            best, found = rank, kekule
    if found is None:
        raise Rejected("aromaticity")
    return found


def _choices(roles: _Roles) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Cations and free atoms that get a double bond: fewest charges first, an even number of atoms in all."""
    trials = 0
    for cations in _subsets(roles.strained):
        for paired in _subsets(roles.free[::-1]):
            if (len(roles.bound) + len(cations) + len(paired)) % 2 == 0:
                yield cations, paired
                trials += 1
                if trials == _TRIALS:
                    return


def _subsets(atoms: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(atoms, size) for size in range(len(atoms) + 1))


def _find_roles(sketch: Sketch, system: nx.Graph) -> _Roles:
    """Rejected if an atom can't be part of an aromatic ring at all."""
    roles: dict[str, list[int]] = {"bound": [], "free": [], "strained": [], "lone": []}
    graph = sketch.graph
    for atom in sorted(system):
        types = [graph.edges[atom, other]["type"] for other in graph[atom] if not system.has_edge(atom, other)]
        roles[_find_role(int(sketch.numbers[atom]), graph.degree(atom), types.count(DOUBLE), max(types, default=SINGLE))].append(atom)
    oxides_first = sorted(roles["strained"], key=lambda atom: not any(_is_terminal_oxygen(sketch, graph, other) for other in graph[atom]))
    return _Roles(tuple(roles["bound"]), tuple(roles["free"]), tuple(oxides_first))


def _is_terminal_oxygen(sketch: Sketch, graph: nx.Graph, atom: int) -> bool:
    return bool(sketch.numbers[atom] == 8 and graph.degree(atom) == 1)


def _find_role(number: int, degree: int, n_exocyclic_doubles: int, highest: int) -> str:
    """bound, free, strained, or lone: two electrons or none, never a double bond in the ring."""
    match number, degree, n_exocyclic_doubles:
        case _ if highest > DOUBLE:
            raise Rejected("aromaticity")
        case 6, 2 | 3, 0:
            return "bound"
        case ((7 | 15), 2, 0):
            return "free"
        case (7, 3, 0) | (8 | 16, 2, 0):
            return "strained"
        case (6, 3, 1) | (15, 3, 0) | (15, 4, 1) | (15, 3, 1) | (16, 3, 0 | 1) | (16, 4, 2):
            return "lone"
    raise Rejected("aromaticity")


def _match(atoms: nx.Graph) -> frozenset[tuple[int, int]] | None:
    """Bonds that pair all the atoms, or None."""
    if any(degree == 0 for _, degree in atoms.degree):
        return None
    pairs = nx.max_weight_matching(atoms, maxcardinality=True)
    if 2 * len(pairs) < len(atoms):
        return None
    return frozenset((min(pair), max(pair)) for pair in pairs)


def _is_aromatic(sketch: Sketch, system: nx.Graph, kekule: Kekule) -> bool:
    """True if RDKit finds every bond of the system aromatic, seen alone with its neighbours."""
    mol = Chem.RWMol()
    graph = sketch.graph
    edges = graph.edges(list(system), data="type")
    places = {atom: mol.AddAtom(Chem.Atom(int(sketch.numbers[atom]))) for atom in sorted({a for i, j, _ in edges for a in (i, j)})}
    for i, j, kind in edges:
        in_system = system.has_edge(i, j)
        is_double = (min(i, j), max(i, j)) in kekule.doubles if in_system else kind == DOUBLE
        mol.AddBond(places[i], places[j], Chem.BondType.DOUBLE if is_double else Chem.BondType.SINGLE)
    for atom in kekule.cations:
        mol.GetAtomWithIdx(places[atom]).SetFormalCharge(1)
    if Chem.SanitizeMol(mol, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return False
    return all(mol.GetBondBetweenAtoms(places[i], places[j]).GetIsAromatic() for i, j in system.edges)


def _find_hydrogen_sign(sketch: Sketch, system: nx.Graph, atom: int) -> float:
    """How much the geometry speaks for a hydrogen at a ring nitrogen: a wide angle and long bonds, in typical spreads."""
    one, other = sorted(system[atom])
    size = nx.shortest_path_length(nx.restricted_view(system, [atom], []), one, other) + 2
    vectors = sketch.positions[[one, other]] - sketch.positions[atom]
    lengths = np.linalg.norm(vectors, axis=1)
    angle = np.degrees(np.arccos(np.clip(vectors[0] @ vectors[1] / lengths.prod(), -1, 1)))
    return float((angle - _ANGLES.get(size, 180 - 360 / size)) / _ANGLE_SPREAD + (lengths.mean() - _LENGTH) / _LENGTH_SPREAD)
