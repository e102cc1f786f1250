"""Which labels a recipe wants."""

from typing import Annotated, get_args

from pydantic import AfterValidator

from distillery.schema.label import ALWAYS, LabelName


def _in_order(labels: tuple[LabelName, ...]) -> tuple[LabelName, ...]:
    """Each once, in one order, so that equal recipes are equal; ValueError if one of those is missing that all structures have."""
    if missing := [name for name in ALWAYS if name not in labels]:
        raise ValueError(f"{', '.join(ALWAYS)} are always there; name {' and '.join(missing)} too, or leave labels out")
    return tuple(name for name in get_args(LabelName) if name in labels)


Labels = Annotated[tuple[LabelName, ...], AfterValidator(_in_order)]
