"""The subsets: where their files are, which official archive holds them, whose they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from distillery.structures.structure import System

Format = Literal["oc20", "oc22", "matbench"]
SUFFIXES: Mapping[Format, tuple[str, ...]] = {
    "oc20": (".extxyz.xz", ".txt.xz"),
    "oc22": (".lmdb",),
    "matbench": (".json.gz",),
}
"""Endings of the files of a format; the first one's hold the structures."""
_OPEN_CATALYST = "https://dl.fbaipublicfiles.com/opencatalystproject/data"
_MATBENCH = "https://ml.materialsproject.org/projects"


@dataclass(frozen=True)
class Archive:
    """An official file: address, size in words, and the digest (md5 or sha256, hex) that its publisher states."""

    url: str
    size: str
    algorithm: Literal["md5", "sha256"]
    digest: str

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Subset:
    """Structures that can be asked for by `name`; the first of its archives is the one that is downloaded.

    unit  of the property that a MatBench file tells; Open Catalyst's is always the energy, eV
    """

    name: str
    format: Format
    system: System
    archives: tuple[Archive, ...]
    licence: str
    unit: str = "eV"


def _matbench(name: str, n_structures: int, sha256: str, licence: str, unit: str) -> Subset:
    archive = Archive(f"{_MATBENCH}/{name}.json.gz", f"{n_structures} structures", "sha256", sha256)
    return Subset(name, "matbench", "crystal", (archive,), licence, unit)


SUBSETS = (
    Subset(
        "oc20",
        "oc20",
        "surface",
        (
            Archive(f"{_OPEN_CATALYST}/s2ef_train_200K.tar", "344 MB", "md5", "f8d0909c2623a393148435dede7d3a46"),
            Archive(f"{_OPEN_CATALYST}/s2ef_val_id.tar", "1.7 GB", "md5", "f57f7f5c1302637940f2cc858e789410"),
        ),
        "CC-BY-4.0",
    ),
    Subset(
        "oc22",
        "oc22",
        "surface",
        (Archive(f"{_OPEN_CATALYST}/oc22/is2res_total_train_val_test_lmdbs.tar.gz", "109 MB", "md5", "b35dc24e99ef3aeaee6c5c949903de94"),),
        "CC-BY-4.0",
    ),
    _matbench(
        "matbench_jdft2d",
        636,
        "26057dc4524e193e32abffb296ce819b58b6e11d1278cae329a2f97817a4eddf",
        "MatBench 0.1, from JARVIS-DFT: its own terms",
        "meV/atom",
    ),
    _matbench(
        "matbench_phonons",
        1265,
        "4db551f21ec5f577e6202725f10e34dfc509aa7df3a6bdaac497da7f6dbbb9b3",
        "MatBench 0.1, from Petretto et al. 2018 and the Materials Project: CC-BY-4.0",
        "1/cm",
    ),
    _matbench(
        "matbench_dielectric",
        4764,
        "83befa09bc2ec2f4b6143afc413157827a90e5e2e42c1eb507ccfa01bf26a1d6",
        "MatBench 0.1, from the Materials Project: CC-BY-4.0",
        "1",
    ),
    _matbench(
        "matbench_perovskites",
        18928,
        "4641e2417f8ec8b50096d2230864468dfa08278dc9d257c327f65d0305278483",
        "MatBench 0.1, from Castelli et al. 2012: its own terms",
        "eV/unit cell",
    ),
)


def names_of(system: System) -> tuple[str, ...]:
    """The subsets that make a system."""
    return tuple(subset.name for subset in SUBSETS if subset.system == system)
