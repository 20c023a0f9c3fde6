"""Cast Arrow batches to a table's columns and types; a lossy cast is an error that names the column."""

import uuid
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import RequestError, TypeMismatch


def cast_batches(
    batches: pa.RecordBatchReader, target: pa.Schema, where: str, *, keep_dictionaries: bool = False
) -> Iterator[pa.RecordBatch]:
    """Cast batches to the columns, order and types of `target`; the schema is checked at the call, values as each batch is consumed.

    Integers widen, and narrow where every value fits; a naive timestamp is read as UTC; nanoseconds are truncated. `keep_dictionaries`:
    columns that are dictionaries of the target's type stay so.
    Raises: RequestError for missing, unknown or repeated columns; TypeMismatch naming the column and both types.
    """
    _check_names(batches.schema, target, where)
    for field in target:
        source = batches.schema.field(field.name).type
        if not _can_cast(source, field.type):
            raise _mismatch(field.name, source, field.type, where)
    if keep_dictionaries:
        target = pa.schema([_as_dictionary(field, batches.schema.field(field.name).type) for field in target], target.metadata)
    return (cast_batch(batch, target, where) for batch in batches)


def cast_batch(batch: pa.RecordBatch, target: pa.Schema, where: str) -> pa.RecordBatch:
    """Cast one batch to the columns, order and types of `target`. Raises: TypeMismatch naming the column and both types."""
    arrays = []
    for field in target:
        array = batch.column(field.name)
        try:
            arrays.append(_cast(array, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
            raise _mismatch(field.name, array.type, field.type, where, str(error)) from error
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def _check_names(source: pa.Schema, target: pa.Schema, where: str) -> None:
    repeated = sorted({name for name in source.names if len(source.get_all_field_indices(name)) > 1})
    missing = [name for name in target.names if name not in source.names]
    unknown = [name for name in source.names if name not in target.names]
    faults = [
        f"{word} {', '.join(map(repr, names))}" for word, names in (("repeat", repeated), ("lack", missing), ("add", unknown)) if names
    ]
    if faults:
        raise RequestError(
            f"the rows for {where} {' and '.join(faults)}; its columns are {', '.join(map(repr, target.names))}",
            missing=missing,
            unknown=unknown,
            repeated=repeated,
        )


def _mismatch(column: str, source: pa.DataType, target: pa.DataType, where: str, reason: str = "") -> TypeMismatch:
    tail = f": {reason}" if reason else ""
    return TypeMismatch(
        f"column {column!r} of {where} is {target}, and {source} does not fit{tail}", column=column, expected=str(target), found=str(source)
    )


def _can_cast(source: pa.DataType, target: pa.DataType) -> bool:
    is_ = pa.types
    if source == target or is_.is_null(source):
        return True
    if is_.is_dictionary(source):
        return _can_cast(source.value_type, target)
    if isinstance(target, pa.UuidType):
        return _is_text(source) or source == pa.binary(16)
    if is_.is_integer(source):
        return bool(is_.is_integer(target) or is_.is_floating(target) or is_.is_decimal(target))
    if is_.is_floating(source):
        return bool(is_.is_floating(target)) and source.bit_width <= target.bit_width
    if _is_list(source) and _is_list(target):
        return _can_cast(source.value_type, target.value_type)
    if is_.is_map(source) and is_.is_map(target):
        return _can_cast(source.key_type, target.key_type) and _can_cast(source.item_type, target.item_type)
    if is_.is_struct(source) and is_.is_struct(target):
        same = [field.name for field in source] == [field.name for field in target]
        return same and all(_can_cast(a.type, b.type) for a, b in zip(source, target, strict=True))
    families = (_is_text, _is_binary, is_.is_decimal, is_.is_date, is_.is_time, is_.is_timestamp)
    return any(family(source) and family(target) for family in families)


def _as_dictionary(field: pa.Field, source: pa.DataType) -> pa.Field:
    return field.with_type(source) if pa.types.is_dictionary(source) and source.value_type == field.type else field


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type))


def _is_binary(arrow_type: pa.DataType) -> bool:
    is_ = pa.types
    return bool(
        is_.is_binary(arrow_type)
        or is_.is_large_binary(arrow_type)
        or is_.is_binary_view(arrow_type)
        or is_.is_fixed_size_binary(arrow_type)
    )


def _is_list(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type))


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(array.type) and array.type != target:
        array = array.dictionary_decode()
    if array.type == target:
        return array
    if isinstance(target, pa.UuidType) and _is_text(array.type):
        return pa.array([None if text is None else uuid.UUID(text).bytes for text in array.to_pylist()], target)
    if pa.types.is_integer(array.type) and pa.types.is_decimal(target):
        # Arrow asks for the precision of the widest integer; the second cast checks whether the values fit.
        array = pc.cast(array, pa.decimal128(38, target.scale))
    # Nanoseconds are truncated by design; every other loss is an error.
    return pc.cast(array, target, safe=not _has_nanoseconds(array.type))


def _has_nanoseconds(arrow_type: pa.DataType) -> bool:
    if _is_list(arrow_type):
        return _has_nanoseconds(arrow_type.value_type)
    return bool(pa.types.is_timestamp(arrow_type) or pa.types.is_time64(arrow_type)) and arrow_type.unit == "ns"
