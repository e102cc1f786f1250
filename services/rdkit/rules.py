"""Rules of growth: which atoms a new bond may join, and arrangements of atoms that no grown molecule may have."""

from functools import cache

from rdkit import Chem

_PARTNERS = {
    "C": frozenset({"C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I", "B"}),
    "N": frozenset({"C", "S", "P"}),
    "O": frozenset({"C", "Si", "P"}),
    "S": frozenset({"C", "N"}),
    "P": frozenset({"C", "N", "O"}),
    "Si": frozenset({"C", "O"}),
}
"""A new bond joins these pairs only; any other bond between heteroatoms comes whole with a fragment."""

_FORBIDDEN = (
    ("sulfenamide", "[#7]-[SX2,SX3]"),
    ("acyl halide", "[CX3](=[O,S,N])-[F,Cl,Br,I]"),
    ("alpha-halogenated heteroatom", "[F,Cl,Br,I]-[CX4;!$(C(F)F)]-[#7,#8,#16,P]"),
    ("hemiacetal or hemiaminal", "[N,O,S;X2,X3;!H0]-!@[CX4]-[#7,O,S;X2,X3]"),
    ("open acetal or aminal", "[#7,O,S;X2,X3]-!@[CX4]-[#7,O,S;X2,X3]"),
    ("enol or enamine", "C=C-!@[OX2,SX2H,NX3;!$(*-[C,S]=[O,S])]"),
    ("imidate", "[CX3;!R](=N)-[O,S]"),
    ("heteroatom at an alkyne", "C#C-[#7,#8,#16,P,F,Cl,Br,I]"),
    ("heteroatom at a nitrile", "[CX2](#N)-[#7,#8,P,Si,F,Cl,Br,I]"),
    ("diyne", "C#C-C#[C,N]"),
    ("triene", "C=C-C=C-C=C"),
    ("anhydride", "O=[CX3]-[OX2,SX2]-[CX3]=[O,S]"),
    ("mixed anhydride", "O=[CX3]-[OX2]-[P,S,Si]"),
    ("carbamic or carbonic acid", "[OX2H,SX2H]-[CX3](=[O,S,N])-[#7,O,S]"),
    ("carbonate", "[OX2,SX2]-[CX3](=[O,S])-[OX2,SX2]"),
    ("vicinal carbonyls", "O=[CX3]-[CX3]=[O,S]"),
    ("acyl silicon, phosphorus, boron or sulfinyl", "[Si,P,B,$([SX3,SX4])]-[CX3]=[O,S,N]"),
    ("geminal metalloids", "[Si,P,B]-!@[CX4]-[Si,P,B]"),
    ("alpha-silyl or alpha-phosphino heteroatom", "[Si,P;X3,X4]-!@[CX4]-[O,S,F,Cl,Br,I;!$(FC(F)F)]"),
    ("silyl ester of an acid", "[Si]-O-[P,S]"),
    ("long siloxane", "[Si]-!@O-!@[Si]-!@O-!@[Si]-!@O-!@[Si]"),
    ("phosphoric or sulfonic anhydride", "[P,S]-[O,#7]-[P]"),
    ("sulfur(IV, VI) hydride", "[SX3,SX4;!H0]"),
    ("phosphorus(V) hydride", "[PX4;!H0]"),
    ("formamide of a bare amide", "O=[CX3;H1]-[#7,O,S,P]-[CX3]=O"),
    ("aromatic nitrogen at a metalloid", "n-[B,Si,P]"),
    ("acyl aminophosphine", "[PX3]-[#7]-C=[O,S]"),
    ("adjacent sulfonyls", "[SX4]-!@[C,N]-!@[SX4]"),
    ("azide or diazo at a heteroatom", "[N;$(N=[N+]=[N-])]-[#7,O,S,P,$(C=O)]"),
    ("isothiocyanate at a heteroatom", "[N;$(N=C=S)]-[#7,O,S,P,Si,$(C=[O,S])]"),
    ("nitro beside a heteroatom", "[N+](=O)([O-])-[N,n,S,P,Si]"),
    ("nitro on an unsaturated or acyl carbon", "[N+](=O)([O-])-[C;!X4]"),
    ("many nitro groups", "[N+](=O)[O-].[N+](=O)[O-].[N+](=O)[O-]"),
    ("two azides", "N=[N+]=[N-].N=[N+]=[N-]"),
    ("chain of heteroatoms", "[#7,O,S]-!@[#7,O,S;!$([SX4]);!$([N+])]-!@[#7,O,S]"),
    ("chain of amides", "O=[CX3]-[#7]-!@[CX3](=[O,S])-!@[#7]-[CX3]=[O,S]"),
)


@cache
def forbidden_patterns() -> tuple[tuple[str, Chem.Mol], ...]:
    """Name and SMARTS query of every forbidden arrangement."""
    return tuple((name, Chem.MolFromSmarts(smarts)) for name, smarts in _FORBIDDEN)


def may_bond(one: str, other: str) -> bool:
    """True if growth may put a single bond between atoms of these two elements."""
    return other in _PARTNERS.get(one, ()) or one in _PARTNERS.get(other, ())


def find_flaw(mol: Chem.Mol) -> str | None:
    """The first forbidden arrangement in a sanitised molecule, by name, or None."""
    return next((name for name, pattern in forbidden_patterns() if mol.HasSubstructMatch(pattern)), None)
