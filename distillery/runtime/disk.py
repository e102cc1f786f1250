"""The room on a disk: how much there is, in words, and whether that is little."""


def is_nearly_full(free: int, total: int) -> bool:
    """True if there is little room for more: under 2 GB, or a fiftieth of the disk where that is less; both in bytes."""
    return free < min(2e9, 0.02 * total)


def say_bytes(n: int) -> str:
    """Bytes in units a person reads."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} bytes"
