"""What the messages of an Arrow IPC stream say of themselves, read before anything is unpacked.

pyarrow unpacks the buffers of a compressed batch as it reads it, and 32 kB of zstd can be a gigabyte; it does not tell beforehand. So the
one field that says so is read here from the flatbuffer that heads a batch (Apache Arrow's format/Message.fbs: Message.header is a
RecordBatch, whose field 3 is its compression).
"""

import struct

import pyarrow as pa

from distillery.errors import InvalidRequest

_HEADER, _COMPRESSION = 2, 3
_TAKEN = frozenset({"schema", "record batch"})


def refuse_packed(body: bytes | bytearray) -> None:
    """InvalidRequest for a stream with compressed batches or dictionaries; pa.ArrowException or OSError if it is no stream."""
    for message in pa.ipc.MessageReader.open_stream(body):
        if message.type not in _TAKEN:
            raise InvalidRequest(f"a structure batch is a schema and record batches; a message of the kind {message.type} came")
        if message.type == "record batch" and _is_compressed(message.metadata.to_pybytes()):
            raise InvalidRequest("the buffers of a structure batch are sent as they are, not compressed; write it without compression")


def _is_compressed(metadata: bytes) -> bool:
    """True if the RecordBatch of this message has the field `compression`."""
    try:
        (message,) = struct.unpack_from("<I", metadata, 0)
        header = _find_field(metadata, message, _HEADER)
        assert header is not None, "pyarrow takes no batch without a header"
        (offset,) = struct.unpack_from("<I", metadata, header)
        return _find_field(metadata, header + offset, _COMPRESSION) is not None
    except (struct.error, AssertionError) as error:
        raise InvalidRequest(f"the body is not an Arrow IPC stream of structures: {error}") from error


def _find_field(metadata: bytes, table: int, field: int) -> int | None:
    """Where a field of a flatbuffer's table lies; None if the table has none."""
    (back,) = struct.unpack_from("<i", metadata, table)
    (size,) = struct.unpack_from("<H", metadata, table - back)
    entry = 4 + 2 * field
    if entry + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", metadata, table - back + entry)
    return table + offset if offset else None
