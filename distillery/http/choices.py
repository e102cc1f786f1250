"""What a header such as Accept or Accept-Encoding names, best first."""

from starlette.datastructures import Headers


def read_choices(headers: Headers, name: str) -> list[str]:
    """What `rank_choices` makes of a header, however often it comes."""
    return rank_choices(join_header(headers, name))


def join_header(headers: Headers, name: str) -> str:
    """A header that a request may have several times, which counts as one (RFC 9110, 5.3)."""
    return ",".join(headers.getlist(name))


def rank_choices(header: str) -> list[str]:
    """The names in lower case, those of a larger q first and of equal q as they stand; what has q=0, or a q that is none, is not wanted."""
    ranked = list[tuple[float, str]]()
    for part in header.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        weights = [word[2:] for word in parameters if word.startswith("q=")]
        ranked.append((_read_weight(weights[0]) if weights else 1.0, name))
    return [name for weight, name in sorted(ranked, key=lambda one: -one[0]) if weight > 0 and name]


def _read_weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
