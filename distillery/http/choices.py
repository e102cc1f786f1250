"""What a header such as Accept or Accept-Encoding names, best first."""

from collections.abc import Sequence

from starlette.datastructures import Headers

from distillery.errors import InvalidRequest

_LONGEST_SHOWN = 200


def choose_type(headers: Headers, offered: Sequence[str]) -> str:
    """The one of these media types that the header Accept wants most; the first where it says nothing, or any.

    InvalidRequest if it wants none of them.
    """
    accept = _join_header(headers, "accept")
    weights = _read_weights(accept or "*/*")
    refused = {name for name, weight in weights if weight == 0}
    for wanted in _rank(weights):
        for offer in offered:
            if offer not in refused and wanted in {offer, f"{offer.split('/')[0]}/*", "*/*"}:
                return offer
    shown = f"{accept[:_LONGEST_SHOWN]!r}"
    raise InvalidRequest(f"the answer can be {', '.join(offered)}; the header Accept wants {shown}: name one of these in it")


def read_choices(headers: Headers, name: str) -> list[str]:
    """The names in a header, however often it comes, in lower case: those of a larger q first and of equal q as they stand.

    What has q=0, or a q that is none, is not wanted.
    """
    return _rank(_read_weights(_join_header(headers, name)))


def _join_header(headers: Headers, name: str) -> str:
    """A header that a request may have several times, which counts as one (RFC 9110, 5.3)."""
    return ",".join(headers.getlist(name))


def _rank(weights: Sequence[tuple[str, float]]) -> list[str]:
    return [name for name, weight in sorted(weights, key=lambda one: -one[1]) if weight > 0]


def _read_weights(header: str) -> list[tuple[str, float]]:
    weights = list[tuple[str, float]]()
    for part in header.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        given = [word[2:] for word in parameters if word.startswith("q=")]
        if name:
            weights.append((name, _read_weight(given[0]) if given else 1.0))
    return weights


def _read_weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
