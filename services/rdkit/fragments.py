"""The fragment library: ring systems, chains and functional groups from which molecules are grown.

`*` marks an open bond that must be used; a fragment without `*` is bonded through any of its hydrogens; `|4` makes one four times as
likely. The lists are our own, after the ring systems and groups common in medicinal and organosilicon/organophosphorus chemistry, their
shares after real molecules (`compare.py`).
"""

from dataclasses import dataclass
from functools import cache

from rdkit import Chem

_RINGS = """
c1ccccc1|60 c1ccc2ccccc2c1 c1ccc(-c2ccccc2)cc1 c1ccc2c(c1)Cc1ccccc1-2 c1ccc2c(c1)ccc1ccccc12 C1CC1|3 C1=CC1 C1CCC1|3 C1CCCC1 C1CCCCC1
C1CCCCCC1 C1=CCCCC1 C1=CCCC1 c1ccc2c(c1)CCC2 c1ccc2c(c1)CCCC2 C1CC2CCC1C2 C1CC2CCC1CC2 C1C2CC3CC1CC(C2)C3 C1CCC2CCCCC2C1 C1CC2(C1)CCC2
c1ccc2c(c1)C=CC2
c1ccncc1 [O-][n+]1ccccc1 c1cnccn1 c1ccnnc1 c1cncnc1 c1ncncn1 c1cc[nH]c1 c1c[nH]cn1 c1cn[nH]c1 c1nc[nH]n1 c1c[nH]nn1 c1nn[nH]n1
c1ccc2[nH]ccc2c1
c1ccc2[nH]ncc2c1 c1ccc2[nH]cnc2c1 c1ccc2ncccc2c1 c1ccc2cnccc2c1 c1ccc2ncncc2c1 c1ccc2nccnc2c1 c1cnc2[nH]ccc2c1 c1ncc2nc[nH]c2n1
c1ncc2cc[nH]c2n1 c1ccn2ccnc2c1 c1ccc2c(c1)[nH]c1ccccc12 c1cnc2cccnc2c1 c1ccc2nc3ccccc3cc2c1 C1CCNCC1 C1CNCCN1 C1CCNC1 C1CNC1|4 C1CN1
CN1CCCCC1|10 CN1CCNCC1|6 CN1CCCC1|6
C1CCCNCC1 CN1C2CCC1CCC2 C1CN2CCC1CC2 c1ccc2c(c1)CCNC2 c1ccc2c(c1)CCN2 C1CC2CNCC2C1 C1CC2(CCN1)CNC2 c1ccc(-c2cc[nH]n2)cc1
c1ccc(-c2ccncc2)cc1 c1ccc(N=Nc2ccccc2)cc1 C1=NCCN1
O=c1cccc[nH]1 O=c1ccnc[nH]1 O=c1cc[nH]c(=O)[nH]1 O=C1CCCN1 O=C1CCN1 O=C1NC(=O)CN1 O=C1NC(=O)c2ccccc21 O=C1Cc2ccccc2N1 O=c1[nH]cnc2ccccc12
O=c1ccc2ccccc2[nH]1 Cn1cnc2c1c(=O)n(C)c(=O)n2C O=C1NCCN1 O=C1CCC(=O)N1 O=C1CN=C(c2ccccc2)c2ccccc2N1 O=C1NC(=O)CCC1 O=C1COCCN1
c1ccoc1 c1ccc2occc2c1 C1CCOC1 C1CCOCC1 C1COCCO1 C1OCCO1 C1COC1 C1CO1|3 c1ccc2c(c1)CCCO2 O=c1ccoc2ccccc12 O=c1ccc2ccccc2o1 c1ccc2c(c1)OCO2
c1ccc2c(c1)OCCO2 O=C1CCCO1 O=C1OCc2ccccc21 C1OCC(O)C(O)C1O c1cocn1 c1cnoc1 c1nnco1 c1ncon1 c1ccc2ocnc2c1 c1ccc2oncc2c1 C1COCCN1
O=C1NCCO1 O=c1cc(-c2ccccc2)oc2ccccc12 c1ccc2c(c1)oc1ccccc12 c1ccc2c(c1)COC2 O=C1CCCCC1 O=C1CCCC1 O=C1CCc2ccccc21 O=C1C=CC(=O)c2ccccc21
C1OCC2OCCC12 c1ccc(Oc2ccccc2)cc1 COc1ccccc1 COc1ccc(C)cc1OC
c1ccsc1 c1ccc2sccc2c1 c1cscn1 c1cnsc1 c1ccc2scnc2c1 c1nncs1 C1CSCCN1 C1CS1 C1CCSC1 C1CCSCC1 O=S1(=O)CCCC1 O=S1(=O)CCCCC1 O=S1(=O)CCNCC1
c1ccc2c(c1)Nc1ccccc1S2 c1ccc2c(c1)sc1ccccc12 c1cc2sccc2s1 c1ncc2sccc2n1 C1CSCN1 C1SCCS1 O=C1CC2SCCN12 O=C1NS(=O)(=O)c2ccccc21
O=S1(=O)CCCN1 O=C1CSC(=S)N1 c1ccc(Sc2ccccc2)cc1 c1csc(-c2ccccn2)n1 NS(=O)(=O)c1ccccc1 CSc1ccccc1 CS(=O)(=O)c1ccccc1
C1CC[SiH2]C1 C1CC[SiH2]CC1 C[Si]1(C)CCCC1 C[Si]1(C)CCCCC1 C[Si]1(C)CCNCC1 C[Si]1(C)CCOCC1 C[Si]1(C)Cc2ccccc2C1 C[SiH]1CCCC1
C[Si]1(C)c2ccccc2-c2ccccc21 C[Si]1(C)O[Si](C)(C)O[Si](C)(C)O1 C[Si](C)(C)c1ccccc1 C[Si](C)(C)c1cccnc1 C[SiH](C)c1ccccc1 [SiH3]c1ccccc1
C[Si](C)(C)c1ccc[nH]1 C[Si](C)(C)c1ccsc1 C[Si]1(C)CCCO1 C[Si](C)(C)C1CCNCC1 C[Si]1(C)C=CCC1 C1CC[Si]2(CC1)CCCC2
CP1CCCC1 CP1(=O)CCCC1 CP1(=O)CCNCC1 CP1(=O)CCCCC1 CP(C)c1ccccc1 CP(C)(=O)c1ccccc1 O=P(c1ccccc1)(c1ccccc1)c1ccccc1 c1ccc(Pc2ccccc2)cc1
COP(=O)(OC)c1ccccc1 C1N2CN3CN1CP(C2)C3 Cp1c2ccccc2c2ccccc12 c1ccpcc1 CP1(=O)OCCCO1 COP1(=O)OCCO1 CP1(=O)CC=CC1 COP(C)(=O)c1ccccc1
CP(C)(=O)c1ccncc1 CP(C)(=S)c1ccccc1
Fc1ccccc1 Fc1ccccc1 Fc1ccc(F)cc1 Fc1cccc(F)c1 Fc1cccnc1 Fc1ccncc1 FC1(F)CCNCC1 FC1CCNC1 FC1(F)CCCCC1 FC(F)(F)c1ccccc1 FC(F)(F)c1ccncc1
Fc1ccc2[nH]ccc2c1 Fc1c(F)c(F)cc(F)c1F FC(F)(F)Oc1ccccc1 Fc1ccc2ncccc2c1 FC1(F)Oc2ccccc2O1 Fc1cncnc1 Fc1ccsc1 O=c1[nH]cc(F)c(=O)[nH]1
Clc1ccccc1 Clc1ccccc1 Clc1ccc(Cl)cc1 Clc1ccccc1Cl Clc1cccnc1 Clc1ccncc1Cl Clc1ccsc1 Clc1ccc2[nH]ccc2c1 Clc1ccc2ncccc2c1 Clc1cncnc1
Clc1cn[nH]c1 Clc1ccc(F)cc1 Clc1ccc2ncsc2c1 Clc1ccoc1 ClC1CCCCC1 Clc1ccc2ccccc2c1
Brc1ccccc1 Brc1cccnc1 Brc1ccsc1 Brc1ccc2[nH]ccc2c1 Ic1ccccc1 Ic1cccnc1 CC1(C)OB(c2ccccc2)OC1(C)C OB(O)c1ccccc1
"""

_CHAINS = """
C|14 CC|10 CCC|6 CC(C)C|6 CCCC|4 CC(C)(C)C|3 C=C|3 C#C|1 CC=C|4 CC=CC|2 CC(C)=C|2 C=CC=C CCCCC|2 CCC(C)C|3
CF CCF CC(F)F C=CF CCl CCCl C=CCl CS CSC|3 CC#N CC=O NC=O|2 CC(C)=O|4 CCBr CI
C[SiH3] C[SiH2]C CC[SiH3] C=C[SiH3] C#C[SiH3] CO[SiH3] CP CPC CP(C)C CCP C=CP COP
N|34 CN|18 CNC|4 CCN|3 CCNCC|2 CN(C)C|8 *N(C)C|36 *CN(C)C|40 *C#N *C(=O)N*|40 *C(N)=O|10 *NC(C)=O|14 *C(=O)N(C)C|12 *NC(=O)N*|2 *NC(=O)CN
*C(=N)N *NC(=N)N
*[N+](=O)[O-]|14 *N=[N+]=[N-] *C(=O)NN *NN|4 *N(C)N|4 *C=NO *C=NOC *N(C)OC *N(C)O *OC(=O)N* *NC(=O)C(N)C* *NCC(=O)N* *N(*)*|14 *NCCN(C)C
O|110 CO|25 *O*|22 *OC|30 *C(=O)*|24 *C(C)=O|14 *C(=O)O|40 *CC(=O)O|14 *C(=O)OC|22 *C(=O)OCC|14 *C(=O)O*|8 *OC(C)=O|14 CCO|14 COC|2 *OCCO*
*OCCO
*CC(=O)*|3 *OCC(=O)O *OCC(O)C*|2 *C(O)*|30 *C(C)O|16 *OOC|5 *OO*|3 *OOC(C)(C)C
*CC(=O)O* *C=CC(=O)* *OCCN(C)C
*S *SC|3 *S*|4 *S(*)(=O)=O *S(C)(=O)=O *S(N)(=O)=O *S(=O)(=O)N* *S(=O)(=O)N* *S(C)=O *S(*)=O *C(N)=S *NC(=S)N* *C(=S)N* *CSSC|2 *SC#N
*N=C=S *S(C)(=O)=N *CSC*|2 *CCSC|2 *NS(=O)(=O)N* *NS(C)(=O)=O *CS(=O)(=O)* *OS(C)(=O)=O *SCC(=O)N* *SCC(=O)O *S(=O)(=O)O
*[SiH2]* *[SiH2]C *[SiH](C)C *[Si](C)(C)C *[Si](C)(C)C *[Si](C)(C)* *[Si](C)(C)* *C[Si](C)(C)C *[Si](C)(C)O *O[Si](C)(C)C
*O[Si](C)(C)C(C)(C)C *O[SiH](C)C *[Si](C)(C)O[Si](C)(C)C *[Si](C)(C)O[Si](C)(C)* *[Si](OC)(OC)OC *[Si](C)(OC)OC *C#C[Si](C)(C)C
*O[Si](C)(C)* *[Si](C)(*)* *CCC[Si](C)(C)C *[Si](C)(C)C=C *CC[SiH](C)C *[SiH2]CC *[SiH2]CC
*PC *P(C)C *P(*)* *P(C)(C)=O *P(C)(*)=O *P(=O)(O)O *P(=O)(OC)OC *P(=O)(OCC)OCC *OP(=O)(O)O *OP(=O)(OC)OC *OP(=O)(O)O* *OP(=O)(OC)O*
*OP(=S)(OC)OC *NP(=O)(OC)OC *P(=O)(O)C *P(=O)(O*)OC *CP(=O)(O)O *CP(C)(C)=O *CP(=O)(OC)O* *OP(C)(=O)O* *OP(=O)(N)O* *P(*)(*)=O
*P(=S)(C)C *OP(OC)OC *NP(=O)(N)O*
*F *F *F *F *C(F)(F)F *C(F)(F)F *OC(F)(F)F *C(F)F *OC(F)F *SC(F)(F)F *C(F)(F)* *CC(F)(F)F *C(F)(F)C(F)(F)F *S(=O)(=O)C(F)(F)F *CF *CCF
*S(=O)(=O)F *NC(=O)C(F)(F)F *C(F)=C *C(=O)C(F)(F)F *OCC(F)(F)F
*Cl *Cl *Cl *Cl *CCl *CCCl *C(Cl)Cl *C(Cl)(Cl)Cl *C=C(Cl)Cl *C(Cl)=C *NC(=O)CCl *C(Cl)* *OCC(Cl)C *C(F)(F)Cl *CC(Cl)C
*Br *Br *CBr *CCBr *I *B(O)O *B1OC(C)(C)C(C)(C)O1
"""


@dataclass(frozen=True, eq=False)
class Fragment:
    """One building block.

    mol       sanitised, hydrogens implicit, open bonds as dummy atoms
    n_atoms   hydrogens included, an open bond counted as one
    n_open    number of open bonds
    elements  symbols of the real atoms, H always included
    is_ring   it has a ring
    """

    mol: Chem.Mol
    n_atoms: int
    n_open: int
    elements: frozenset[str]
    is_ring: bool


@cache
def load_fragments() -> tuple[Fragment, ...]:
    """The whole library, rings first."""
    words = (word.partition("|") for word in (_RINGS + _CHAINS).split())
    return tuple(fragment for smiles, _, count in words for fragment in [_read_fragment(smiles)] * int(count or 1))


def _read_fragment(smiles: str) -> Fragment:
    mol = Chem.MolFromSmiles(smiles)
    n_open = sum(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms())
    symbols = frozenset(atom.GetSymbol() for atom in mol.GetAtoms() if atom.GetAtomicNum())
    return Fragment(mol, count_atoms(mol), n_open, symbols | {"H"}, bool(mol.GetRingInfo().NumRings()))


def count_atoms(mol: Chem.Mol) -> int:
    """Number of atoms, implicit hydrogens included; a dummy counts as one."""
    return int(mol.GetNumAtoms() + sum(atom.GetTotalNumHs() for atom in mol.GetAtoms()))
