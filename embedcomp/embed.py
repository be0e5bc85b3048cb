"""From an embedding table to a Flax module in one call."""

from typing import Any

from embedcomp.compression.post_training import compress
from embedcomp.nn.embedding import GroupedEmbed
from embedcomp.types import Array, Params


def embed_from_table(
  table: Array,
  counts: Array | None = None,
  *,
  budget: float | int | str | None = None,
  dtype: Any = None,
  padding_id: int | None = None,
  **options,
) -> tuple[GroupedEmbed, dict[str, Params]]:
  """Compresses a table and puts it in a module that replaces `nn.Embed`.

  Args:
    table: [V, D] float, a row a word.
    counts: [V] how often each word occurs.
    budget: largest size, as for `embedcomp.compress`.
    dtype: of the module's results; float32 if not given.
    padding_id: id whose vector and logit are zero, if any.
    **options: all further arguments of `embedcomp.compress`.

  Returns:
    The module and its variables, frozen; `thaw` makes them trainable:
    `to_variables(thaw(module.scheme, to_params(variables)))`.

  Raises:
    ValueError: as `embedcomp.compress`.

  Example:
    >>> import numpy as np
    >>> table = np.random.default_rng(0).normal(size=(300, 8))
    >>> embed, variables = embed_from_table(table, budget='8x', progress=False)
    >>> embed.apply(variables, np.array([7, 9])).shape
    (2, 8)
  """
  scheme, params = compress(table, counts, budget=budget, **options)
  return GroupedEmbed.from_params(
    scheme, params, dtype=dtype, padding_id=padding_id
  )
