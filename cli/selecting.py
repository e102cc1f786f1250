"""The options that say which structures of a dataset are wanted, for the commands that take some of them."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_system

if TYPE_CHECKING:
    from distillery.dataset.selection import Selection

_ONE_OF = "which to write; may be given several times."
Source = Annotated[list[str] | None, typer.Option("--source", help=f"Source {_ONE_OF}")]
System = Annotated[
    list[str] | None,
    typer.Option("--system", help=f"System (molecule, crystal, cluster, surface) {_ONE_OF}", autocompletion=complete_system),
]
Elements = Annotated[str | None, typer.Option("--elements", help="Only structures of no other elements, as in H,C,O.")]
MinAtoms = Annotated[int | None, typer.Option("--min-atoms", help="Only structures of at least so many atoms.")]
MaxAtoms = Annotated[int | None, typer.Option("--max-atoms", help="Only structures of at most so many atoms.")]
MaxForce = Annotated[float | None, typer.Option("--max-force", help="Only structures whose forces are at most so long, eV/Å.")]
MaxResidual = Annotated[
    float | None,
    typer.Option("--max-residual", help="Only structures whose energy is at most so far from the fit by elements, eV/atom: no outliers."),
]
WithStress = Annotated[
    bool, typer.Option("--with-stress", help="Only structures that have a stress (crystals, surfaces), as orb's finetune.py needs it.")
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="CONDITION", help="Only structures of which this holds, as in 'n_atoms > 10 and residual < 0.5'."),
]


def make_selection(
    source: list[str] | None,
    system: list[str] | None,
    elements: str | None,
    min_atoms: int | None,
    max_atoms: int | None,
    max_force: float | None,
    max_residual: float | None,
    with_stress: bool,
    where: str | None,
) -> "Selection":
    """What the options ask for; InvalidRequest if one makes no sense."""
    from distillery.dataset.selection import Selection

    return Selection(
        sources=tuple(source or ()),
        systems=tuple(system or ()),
        elements=tuple(elements.split(",")) if elements else (),
        min_atoms=min_atoms,
        max_atoms=max_atoms,
        max_force=max_force,
        max_residual=max_residual,
        with_stress=with_stress,
        where=where or "",
    )
