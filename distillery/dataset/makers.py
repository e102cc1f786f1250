"""Who made the structures of a dataset: by shard what a service declared, and its versions."""

from collections.abc import Mapping
from dataclasses import dataclass

import h5py

from distillery.dataset.derivation import is_derived, read_pieces
from distillery.dataset.provenance import MERGED_PARTS, find_versions, read_merged_parts


@dataclass(frozen=True)
class Maker:
    """A service with the licence that it declares and its versions; both empty where a dataset does not say."""

    service: str = ""
    licence: str = ""
    versions: tuple[tuple[str, str], ...] = ()


def read_makers(file: h5py.Group) -> dict[str, Maker]:
    """By shard; empty where the dataset does not say. ValueError if what it says can't be read."""
    if MERGED_PARTS in file:
        receipts = [part.receipt for part in read_merged_parts(file)]
        return {one.part: describe_maker(one.record.service, one.record.service_licence, find_versions(one)) for one in receipts}
    if is_derived(file):
        return {piece.shard: describe_maker(piece.service, piece.licence, piece.versions) for piece in read_pieces(file)}
    return {}


def describe_maker(service: str, licence: str, versions: Mapping[str, str]) -> Maker:
    """What a receipt or a derived dataset records of a service."""
    return Maker(service, licence, tuple(sorted(versions.items())))
