"""The sha256 of a recipe: of everything that decides which structures come out."""

import hashlib
from collections.abc import Sequence
from typing import Any

from distillery.runtime.canonical_json import canonical_json
from distillery.schema.label import ALWAYS, LabelLimits


def digest_recipe(content: dict[str, Any], history: Sequence[Any], *, gates_decide: bool) -> str:
    """sha256 of a recipe's keys; what is absent by default and came later leaves older recipes' digests as they are.

    content       all keys but the history, as JSON
    history       what the dataset grew from, as JSON
    gates_decide  gates only judge structures, unless they may change the shares
    """
    if not gates_decide:
        del content["gates"], content["rebalance"]
        for stage in filter(None, (content["stages"] or {}).values()):
            del stage["gates"]
    if content["hessian"] is None:
        del content["hessian"]
    if content["labels"] == list(ALWAYS):
        del content["labels"]
    if content["stages"] is None:
        del content["stages"]
    if content["limits"] == LabelLimits().model_dump(mode="json"):
        del content["limits"]
    for part in (content, *content["sources"].values()):
        for key in ("limits", "sample"):
            if part.get(key) is None:
                part.pop(key, None)
    if history:
        content["grown_from"] = history
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()
