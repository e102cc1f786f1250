"""Reading one OPTIMADE entry: a crystal with an atom of one element on every site, or a reason why not."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from distillery.generators.proposals import Rejected
from distillery.structures.checks import find_input_fault
from distillery.structures.structure import Structure, numbers_of

_NO_ATOM = frozenset({"X", "vacancy"})


def parse_entry(entry: Mapping[str, Any], elements: Collection[str], max_sites: int) -> Structure:
    """The crystal of an entry; Rejected by what stood in the way: disordered, implicit_atoms, not_periodic, incomplete, foreign_element,
    too_large, or what the contract's checks find.
    """
    attributes = entry.get("attributes") or {}
    features = set(attributes.get("structure_features") or ())
    if features & {"disorder", "unknown_positions", "assemblies"}:
        raise Rejected("disordered")
    if features & {"implicit_atoms", "site_attachments"}:
        raise Rejected("implicit_atoms")
    if list(attributes.get("dimension_types") or (1, 1, 1)) != [1, 1, 1]:
        raise Rejected("not_periodic")
    if len(attributes.get("species_at_sites") or ()) > max_sites:
        raise Rejected("too_large")
    symbols = _read_symbols(attributes)
    if not set(symbols) <= set(elements):
        raise Rejected("foreign_element")
    structure = _build(entry, attributes, symbols)
    fault = find_input_fault(structure)
    if fault is not None:
        raise Rejected(fault.reason)
    return structure


def _read_symbols(attributes: Mapping[str, Any]) -> list[str]:
    """The element of every site; a site with several, or with part of an atom, is disordered."""
    by_name: dict[str, str] = {}
    for species in attributes.get("species") or ():
        symbols, shares = list(species.get("chemical_symbols") or ()), list(species.get("concentration") or ())
        if len(symbols) != 1 or symbols[0] in _NO_ATOM or shares != [1.0] or species.get("attached"):
            continue
        by_name[species["name"]] = symbols[0]
    sites = attributes.get("species_at_sites") or ()
    if not sites or not attributes.get("species"):
        raise Rejected("incomplete")
    if any(site not in by_name for site in sites):
        raise Rejected("disordered")
    return [by_name[site] for site in sites]


def _build(entry: Mapping[str, Any], attributes: Mapping[str, Any], symbols: list[str]) -> Structure:
    try:
        cell = np.array(attributes.get("lattice_vectors"), dtype=np.float64).reshape(3, 3)
        positions = np.array(attributes.get("cartesian_site_positions"), dtype=np.float64).reshape(len(symbols), 3)
        numbers = numbers_of(symbols)
    except (TypeError, ValueError, KeyError) as error:
        raise Rejected("incomplete") from error
    origin = {
        "id": str(entry.get("id")),
        "formula": attributes.get("chemical_formula_reduced"),
        "modified": attributes.get("last_modified"),
    }
    return Structure("", numbers, positions, cell, (True, True, True), "crystal", origin)
