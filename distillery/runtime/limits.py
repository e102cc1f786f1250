"""What a request may cost: bytes in, depth and number of values, bytes unpacked, and time; all in this one place.

Bodies of structures are limited by a setting of the labeller (DISTILLERY_LABELLER_BODY_LIMIT_MIB).
"""

LARGEST_RECIPE = 1 << 20
"""Bytes of a recipe sent to the gateway."""
LARGEST_MESSAGE = 2 << 20
"""Bytes of a JSON message to a service: what a recipe may hold, and the rest."""
LARGEST_STRUCTURES = 64 << 20
"""Bytes of structures sent to the gateway to be labelled."""
LARGEST_STRUCTURE_JSON = 8 << 20
"""Bytes of these as JSON, which is read in one go: nothing else of the process is answered meanwhile (8 MiB take 0.1-0.2 s)."""
LARGEST_FINALISE = 16 << 20
"""Bytes of the message that has parts merged: it names every structure that is left out."""
LARGEST_DEPTH = 50
"""Lists and mappings within one another, in YAML and JSON."""
LARGEST_NODES = 100_000
"""Values and keys in all, in YAML and JSON."""
MOST_KEYS = 2_000
"""Keys of one mapping: each that is wrong is a fault of its own."""
LARGEST_TEXT = 4_000_000
"""Characters of a YAML text read from a file."""
MOST_FAULTS = 20
"""Faults of one message or recipe that are told; finding the nearest known name of each takes time."""
MOST_STRUCTURES = 100_000
"""Structures in one Arrow stream."""
LARGEST_ORIGINS = 64 << 20
"""Bytes of the origins (JSON) in one Arrow stream, which are ten times that once unpacked."""
LARGEST_METADATA = 8 << 20
"""Bytes of the JSON in an Arrow stream's schema."""
HEADER_SECONDS = 30.0
"""From the connection, or the end of the answer before, to the end of a request's headers; and for taking a piece of the answer."""
BODY_SECONDS = 30.0
"""For a body, and a second more for each SLOWEST_BODY bytes of it."""
SLOWEST_BODY = 50_000
"""Bytes a second."""
