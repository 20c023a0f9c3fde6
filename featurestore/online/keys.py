"""Encode keys as unique bytes: MessagePack of their parts, with an extension for each type that MessagePack lacks.

Keys are equal if their parts are equal values of the same type: 1 differs from "1" and True, a date from a timestamp, but
Decimal("1.0") equals Decimal("1") and 1. Keys longer than LIMIT bytes are replaced by their BLAKE2b digest after a byte that
MessagePack never uses.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.msgpack import Ext

from featurestore.errors import TypeMismatch
from featurestore.online.msgpack_columns import MsgpackColumns, big_endian
from featurestore.online.value_types import to_stored
from featurestore.values.epoch import EPOCH, EPOCH_DAY

LIMIT = 500
KEY_TYPES = frozenset({"bool", "int", "string", "binary", "date", "timestamp", "uuid", "decimal"})
_DATE, _TIMESTAMP, _UUID, _NUMBER = 1, 2, 3, 4
_HASHED = b"\xc1"
_PLAIN = frozenset({int, str, bytes, bool})
_PARTS: dict[int, Callable[[bytes], Any]] = {
    _DATE: lambda data: date.fromordinal(EPOCH_DAY + int.from_bytes(data, "big", signed=True)),
    _TIMESTAMP: lambda data: EPOCH + timedelta(microseconds=int.from_bytes(data, "big", signed=True)),
    _UUID: lambda data: UUID(bytes=data),
    _NUMBER: lambda data: Decimal(data.decode()),
}
_decode: Callable[[bytes], list[Any]] = msgspec.msgpack.Decoder(list, ext_hook=lambda code, data: _PARTS[code](bytes(data))).decode
_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode


def encode_key(parts: Sequence[Any]) -> bytes | None:
    """The bytes of one key; None if a part is None. Naive datetimes are in UTC.

    Raises: TypeMismatch for a part that is not an int, str, bool, bytes, date, datetime, UUID or Decimal.
    """
    for part in parts:
        if type(part) not in _PLAIN:
            if any(other is None for other in parts):
                return None
            return _limit_length(_encode([_part(other) for other in parts]))
    try:
        encoded = _encode(parts)
    except (OverflowError, UnicodeEncodeError):
        return _limit_length(_encode([_part(part) for part in parts]))
    return encoded if len(encoded) <= LIMIT else _limit_length(encoded)


def encode_plain_keys(columns: Sequence[Sequence[Any]]) -> list[bytes | None]:
    """`encode_key` for each row of these columns, which contain only 64-bit integers, bools, valid text and None."""
    if any(None in column for column in columns):
        return [encode_key(parts) for parts in zip(*columns, strict=True)]
    keys: list[bytes | None] = [_encode(parts) for parts in zip(*columns, strict=True)]
    return keys if max(map(len, keys)) <= LIMIT else [_limit_length(key) for key in keys]  # type: ignore[arg-type]


def decode_key(encoded: bytes) -> tuple[Any, ...] | None:
    """The parts of an encoded key, with numbers that do not fit in 64 bits as Decimal.

    None for a key that was replaced by its digest, and for invalid bytes.
    """
    try:
        return None if encoded.startswith(_HASHED) else tuple(_decode(encoded))
    except (msgspec.MsgspecError, LookupError, ValueError, ArithmeticError):
        return None


def encode_keys(columns: Sequence[pa.Array], names: Sequence[str], value_types: Sequence[str]) -> pa.Array:
    """The bytes of each row's key, equal to `encode_key` of its values; the columns must not contain NULL.

    Raises: TypeMismatch for a value that cannot be a key.
    """
    cells = MsgpackColumns(len(columns[0]))
    cells.array_header(len(columns))
    for column, name, value_type in zip(columns, names, value_types, strict=True):
        _add(cells, column, name, value_type)
    encoded = cells.join()
    if (pc.max(pc.binary_length(encoded)).as_py() or 0) <= LIMIT:
        return encoded
    return pa.array([_limit_length(key) for key in encoded.to_pylist()], pa.binary())


def _add(cells: MsgpackColumns, column: pa.Array, name: str, value_type: str) -> None:
    if value_type == "decimal":
        values = [_encode(_number(value)) for value in column.to_pylist()]
        cells.binary(pa.array(values, pa.binary()))
        return
    if value_type == "int" and pa.types.is_uint64(column.type):
        cells.binary(pa.array([_encode(value) for value in column.to_pylist()], pa.binary()))
        return
    array = to_stored(column, value_type, name)
    if value_type == "int":
        cells.shortest_integers(array)
    elif value_type == "bool":
        cells.booleans(array)
    elif value_type == "date":
        cells.add_tagged(bytes([0xD6, _DATE]), big_endian(array.to_numpy(), ">i4"), None)
    elif value_type == "timestamp":
        cells.add_tagged(bytes([0xD7, _TIMESTAMP]), big_endian(array.to_numpy(), ">i8"), None)
    elif value_type == "uuid":
        data = np.frombuffer(b"".join(array.to_pylist()), np.uint8).reshape(-1, 16)
        cells.add_tagged(bytes([0xD8, _UUID]), data, None)
    else:
        cells.strings(array)


def _limit_length(encoded: bytes) -> bytes:
    return encoded if len(encoded) <= LIMIT else _HASHED + hashlib.blake2b(encoded, digest_size=32).digest()


def _part(part: Any) -> Any:
    if isinstance(part, np.datetime64):
        part = part.astype("datetime64[us]")
    if isinstance(part, np.generic):
        part = part.item()
    if isinstance(part, bool | bytes):
        return part
    if isinstance(part, str):
        return _text(str(part))
    if isinstance(part, datetime) and part == part:  # Excludes pandas' NaT, which is also a datetime.
        return Ext(_TIMESTAMP, _microseconds(part).to_bytes(8, "big", signed=True))
    if isinstance(part, date) and not isinstance(part, datetime):
        return Ext(_DATE, (part.toordinal() - EPOCH_DAY).to_bytes(4, "big", signed=True))
    if isinstance(part, UUID):
        return Ext(_UUID, part.bytes)
    if isinstance(part, int | Decimal):
        return _number(part)
    kind = type(part).__name__
    raise TypeMismatch(f"{part!r} cannot be part of a key: {kind} is not int, str, bool, bytes, date, datetime, UUID or Decimal")


def _text(part: str) -> str:
    try:
        part.encode()
    except UnicodeEncodeError as error:
        raise TypeMismatch(f"{part!r} cannot be part of a key: it is not valid Unicode") from error
    return part


def _microseconds(moment: datetime) -> int:
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return int((utc - EPOCH) // timedelta(microseconds=1))


def _number(number: int | Decimal) -> int | Ext:
    """64-bit integers as they are; other numbers as digits and exponent without trailing zeros, independent of the scale."""
    if isinstance(number, int):
        number = int(number)
        if -(1 << 63) <= number < 1 << 64:
            return number
        number = Decimal(number)
    if not number.is_finite():
        raise TypeMismatch(f"{number!r} cannot be part of a key")
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0")
    power = int(exponent) + len(text) - len(short)
    if not short:
        return 0
    if power >= 0 and len(short) + power <= 20:
        integer = int(short + "0" * power) * (-1 if sign else 1)
        if -(1 << 63) <= integer < 1 << 64:
            return integer
    return Ext(_NUMBER, f"{'-' if sign else ''}{short}e{power}".encode())
