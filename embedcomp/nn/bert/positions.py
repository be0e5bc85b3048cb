"""Tables of positions for inputs longer than a model was trained on.

Reference: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, which
interpolates the positions of a pretrained model.
"""

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.types import Array

HOWS = ('interpolated', 'tiled')


def extend_positions(
  table: Array,
  num_positions: int,
  how: str = 'interpolated',
  *,
  num_fixed: int = 1,
) -> jax.Array:
  """Makes a longer table of positions.

  The first rows stay as they are: in BERT the first is that of [CLS] and like
  no other; mixed into its neighbours it would make words look like [CLS].

  - 'interpolated': the other rows move apart, the last one to the end, and the
    gaps are filled on straight lines between them. Short inputs read rows that
    lie between those that they have been trained with, too; some training
    brings the table, or what reads it, back to that.
  - 'tiled': the other rows repeat. Inputs of the old length read the old rows,
    but in longer ones each token looks as near to those one old length away as
    to its neighbours, and attention goes to both.

  Args:
    table: [P, D] float.
    num_positions: rows of the new table, P or more.
    how: 'interpolated' or 'tiled'.
    num_fixed: number of first rows that stay.

  Returns:
    [num_positions, D].

  Raises:
    ValueError: naming the argument, its value and the rule that it breaks.

  Example:
    >>> table = jnp.array([[9.0], [1.0], [2.0], [3.0]])
    >>> print(extend_positions(table, 6)[:, 0])
    [9.  1.  1.5 2.  2.5 3. ]
    >>> print(extend_positions(table, 6, 'tiled')[:, 0])
    [9. 1. 2. 3. 1. 2.]
  """
  if how not in HOWS:
    raise ValueError(f'how must be one of {HOWS}, got {how!r}.')
  if not 0 <= num_fixed < len(table):
    raise ValueError(
      f'num_fixed must leave one of {len(table)} rows to extend, '
      f'got {num_fixed}.'
    )
  if num_positions < len(table):
    raise ValueError(
      f'num_positions must be at least the {len(table)} rows there are, '
      f'got {num_positions}.'
    )
  table = jnp.asarray(table)
  fixed, rows = table[:num_fixed], table[num_fixed:]
  num_new = num_positions - num_fixed
  if how == 'tiled':
    new = rows[np.arange(num_new) % len(rows)]
  else:
    positions = np.linspace(0, len(rows) - 1, num_new)
    before = positions.astype(int)
    after = np.minimum(before + 1, len(rows) - 1)
    share = (positions - before).astype(np.float32)[:, None]
    new = rows[before] * (1 - share) + rows[after] * share
  return jnp.concatenate([fixed, new.astype(table.dtype)])
