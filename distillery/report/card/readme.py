"""README.md of a dataset, with the front matter that the Hugging Face Hub reads."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery.dataset.folder import CARD, CROISSANT
from distillery.report.card.croissant import describe_files, write_croissant
from distillery.report.card.facts import CardFacts, read_facts
from distillery.report.card.usage import LIMITS, UNITS, cite_dataset, describe_loading, list_credits
from distillery.runtime.atomic_files import write_text_whole

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
_LARGEST = "10M<n<100M"


def write_card(dataset: Path) -> None:
    """Write README.md and croissant.json beside a dataset.h5. InvalidRequest if it is none, OSError if they can't be written."""
    facts = read_facts(dataset)
    write_text_whole(dataset.with_name(CARD), write_readme(facts, describe_loading(dataset.name)))
    write_text_whole(dataset.with_name(CROISSANT), write_croissant(facts, describe_files(dataset)))


def write_readme(facts: CardFacts, loading: Mapping[str, str], data_files: Mapping[str, str] | None = None) -> str:
    """The text of README.md.

    loading     ways to load it, as `describe_loading` gives them
    data_files  patterns of the Parquet files, by split
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("distillery.report.card"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("readme.md.j2").render(
        front_matter=write_front_matter(facts, data_files or {}),
        facts=facts,
        loading=loading,
        languages={"a trainer": "sh"},
        units=UNITS,
        limits=LIMITS,
        citation=cite_dataset(facts),
        credits=list_credits(facts),
        command=shlex.join(facts.derivation.write_command(f"{facts.name}.h5")) if facts.derivation else "",
    )


def write_front_matter(facts: CardFacts, data_files: Mapping[str, str]) -> str:
    """The YAML at the top. No licence is chosen for the user: several may apply, and the card lists them."""
    matter: dict[str, Any] = {
        "pretty_name": facts.name,
        "license": "other",
        "license_name": "several-see-licences",
        "license_link": f"{CARD}#licences",
        "size_categories": [find_size(facts.n_structures)],
        "tags": ["chemistry", "materials-science", "machine-learned-interatomic-potentials", "distillation", *_tag_teacher(facts)],
    }
    if data_files:
        files = [{"split": split, "path": path} for split, path in data_files.items()]
        matter["configs"] = [{"config_name": "default", "data_files": files}]
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in matter.items())  # each JSON value is YAML too


def _tag_teacher(facts: CardFacts) -> Sequence[str]:
    return [f"teacher-{facts.teacher.name}"] if facts.teacher else []


def find_size(n_structures: int) -> str:
    """The Hub's category for so many rows."""
    return next((name for limit, name in SIZES if n_structures < limit), _LARGEST)
