"""Nested dicts of params: float arrays apart from integer ones, and back."""

import jax.numpy as jnp

from embedcomp.types import Params


def partition(params: Params) -> tuple[Params, Params]:
  """Splits params into float arrays (to train) and integer ones (fixed).

  Args:
    params: nested dict of arrays.

  Returns:
    Two nested dicts; `combine` puts them together again.

  Example:
    >>> import numpy as np
    >>> floats, ints = partition({'a': np.ones(2), 'b': {'c': np.arange(2)}})
    >>> list(floats), list(ints)
    (['a'], ['b'])
  """
  floats: Params = {}
  integers: Params = {}
  for key, value in params.items():
    if isinstance(value, dict):
      inner_floats, inner_integers = partition(value)
      if inner_floats:
        floats[key] = inner_floats
      if inner_integers:
        integers[key] = inner_integers
    elif jnp.issubdtype(value.dtype, jnp.floating):
      floats[key] = value
    else:
      integers[key] = value
  return floats, integers


def combine(left: Params, right: Params) -> Params:
  """Merges two nested dicts that share no leaf; reverses `partition`."""
  merged = dict(left)
  for key, value in right.items():
    merged[key] = combine(merged[key], value) if key in merged else value
  return merged
