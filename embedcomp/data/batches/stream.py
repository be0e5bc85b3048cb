"""Streams of tokens: documents one after another."""

from collections.abc import Sequence

import numpy as np


def token_stream(
  documents: Sequence[np.ndarray], separator: int | None = None
) -> np.ndarray:
  """Joins documents into one stream.

  Args:
    documents: arrays of ids.
    separator: an id to put after each document; None for nothing.

  Returns:
    [N] int32.

  Raises:
    ValueError: if ids are not integers from 0 on.

  Example:
    >>> token_stream([[5, 6], [7]], separator=1).tolist()
    [5, 6, 1, 7, 1]
  """
  after = [] if separator is None else [np.array([separator])]
  parts = [np.zeros(0, np.int32)]
  for document in documents:
    ids = np.asarray(document)
    if not ids.size:
      ids = np.zeros(0, np.int32)  # NumPy takes an empty list for floats
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
      raise ValueError(
        f'a document must be a list of ids, got {ids.dtype}{list(ids.shape)}.'
      )
    parts += [ids, *after]
  stream = np.concatenate(parts)
  if stream.size and not 0 <= stream.min() <= stream.max() < 2**31:
    raise ValueError(
      f'ids must be in [0, 2**31), got {stream.min()} to {stream.max()}.'
    )
  return stream.astype(np.int32)
