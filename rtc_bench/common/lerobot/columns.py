"""A feature as a matrix [N, D], and as a Parquet column: lists of D numbers, but where D is 1 plain numbers."""

import numpy as np
import pyarrow as pa


def column(values: np.ndarray) -> pa.Array:
    """The column that holds a feature [N, D]."""
    flat = pa.array(values.reshape(-1))
    return flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A feature [N, D] of a column; lists of one number are read as well. Raises ValueError for gaps and ragged lists."""
    array = column.combine_chunks()
    flat = array.flatten() if is_vector(column.type) else array
    if array.null_count or flat.null_count:
        raise ValueError("has gaps")
    if len(array) and is_vector(column.type) and len(array.value_lengths().unique()) > 1:
        raise ValueError("has vectors of several lengths")
    return flat.to_numpy(zero_copy_only=False).reshape(len(array), -1)


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    return pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
