"""Options of clusters and surfaces."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from distillery.schema.base import Message
from distillery.schema.explain import suggest
from services.ase.crystals import PROTOTYPE_NAMES
from services.ase.molecules import adsorbate_names, molecule_names
from services.ase.radii import ELEMENTS

Kind = Literal["shaped", "random", "molecular", "atom", "dimer", "trimer"]
Shape = Literal["icosahedron", "decahedron", "octahedron", "wulff"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
_LEAST_SHARE = 1e-6
Share = Annotated[float, Field(ge=0, le=1)]
_REAL = "share of real compounds among these crystals, where the elements have any and prototypes, if given, names `real`"


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the first number must not exceed the second")
    return span


def _some_share(kinds: dict[Kind, float]) -> dict[Kind, float]:
    if max(kinds.values(), default=0.0) < _LEAST_SHARE:
        raise ValueError(f"at least one share must be above 0, at least {_LEAST_SHARE}")
    return kinds


def _known_prototypes(names: tuple[str, ...]) -> tuple[str, ...]:
    return _known(names, "prototype", PROTOTYPE_NAMES)


def _known_molecules(names: tuple[str, ...]) -> tuple[str, ...]:
    return _known(names, "molecule", molecule_names())


def _known_adsorbates(names: tuple[str, ...]) -> tuple[str, ...]:
    return _known(names, "adsorbate", (*adsorbate_names(), *(e for e in ELEMENTS if e != "C")))


def _known(names: tuple[str, ...], what: str, known: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}{suggest(name, known)}")
    return names


Prototypes = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_prototypes)]
Molecules = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_molecules)]
Adsorbates = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_adsorbates)]
BondScale = Annotated[tuple[Annotated[float, Field(ge=0.9, le=1.3)], Annotated[float, Field(ge=0.9, le=1.3)]], AfterValidator(_ordered)]
ContactScale = Annotated[tuple[Annotated[float, Field(ge=0.7, le=1.5)], Annotated[float, Field(ge=0.7, le=1.5)]], AfterValidator(_ordered)]


class ClusterOptions(Message):
    """Options of the system `cluster`."""

    kinds: Annotated[dict[Kind, Annotated[float, Field(ge=0, le=1000)]], AfterValidator(_some_share)] | None = Field(
        None,
        description="shares of the kinds; shaped 0.5, random 0.05 and molecular 0.45, as far as the elements allow, if absent; "
        "isolated atoms, dimers and trimers only where they are asked for",
    )
    shapes: tuple[Shape, ...] = Field(
        SHAPES, min_length=1, description="shapes of the shaped clusters; wulff four times of five, the others evenly"
    )
    prototypes: Prototypes | None = Field(None, description="crystals that wulff clusters are cut from; all if absent")
    real: Share = Field(0.8, description=_REAL)
    terminated: Share = Field(0.3, description="share of the wulff clusters whose dangling bonds get H, F or Cl")
    max_elements: int = Field(5, ge=1, le=20, description="most elements in one random cluster")
    bond_scale: BondScale = Field(
        (0.95, 1.1), description="range of nearest distances in shaped and random clusters, in sums of covalent radii"
    )
    molecules: Molecules | None = Field(
        None, description="molecules by their names in ASE's G2 collection; all of the request's elements if absent"
    )
    max_species: int = Field(3, ge=1, le=10, description="most kinds of molecules in one cluster")
    contact_scale: ContactScale = Field((0.8, 1.0), description="range of contact distances of molecules, in sums of van der Waals radii")


class SurfaceOptions(Message):
    """Options of the system `surface`."""

    prototypes: Prototypes | None = Field(None, description="bulk crystals that slabs are cut from; all if absent")
    real: Share = Field(0.8, description=_REAL)
    max_index: int = Field(2, ge=1, le=4, description="largest Miller index")
    vacuum: float = Field(16.0, ge=15, le=60, description="vacuum between a slab with its adsorbates and its image along c, Å")
    min_length: float = Field(5.0, ge=2.5, le=20, description="both in-plane vectors are at least this long, Å")
    thickness: Annotated[tuple[Annotated[float, Field(ge=2)], Annotated[float, Field(le=40)]], AfterValidator(_ordered)] = Field(
        (4.0, 16.0), description="range of the thickness of the bare slab, between the centres of its outer atoms, Å"
    )
    bond_scale: BondScale = Field((0.98, 1.1), description="range of nearest distances in prototypes, in sums of covalent radii")
    terminated: Share = Field(0.4, description="share of the covalent slabs whose dangling bonds get H, F or Cl")
    adsorbates: Share = Field(0.5, description="share of the slabs that carry adsorbates")
    species: Adsorbates | None = Field(
        None, description="adsorbates: element symbols, or names in ASE's G2 collection; all of the request's elements if absent"
    )
    max_adsorbates: int = Field(4, ge=1, le=20, description="most adsorbates on one slab")
