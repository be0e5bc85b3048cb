"""A compressed embedding layer that takes the place of `flax.linen.Embed`.

Trainable arrays are in the collection 'params', stored ones (codes, the order
map, and all of a table in stored form) in 'stored', which optimizers never
see. Both hold the groups at their top level, so that wrapping adds no nesting.
"""

from collections.abc import Mapping
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from embedcomp.methods import forms
from embedcomp.table import group_params, read
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params


def to_variables(params: Params) -> dict[str, Params]:
  """Params as variables of a module, by what an optimizer may move.

  Args:
    params: of a scheme, as from `embedcomp.compress`, `load` or `init`, or of
      a whole model around one.

  Returns:
    `{'params': ..., 'stored': ...}`, one of them empty if it holds nothing.
  """
  trainable, stored = forms.split_params(params)
  return {'params': trainable, 'stored': stored}


def to_params(variables: Mapping[str, Mapping[str, Any]]) -> Params:
  """Variables of a module as params, to be quantized and saved.

  Args:
    variables: of the module; collections other than 'params' and 'stored' are
      left out.

  Returns:
    Params as the functions of `embedcomp` take them.

  Raises:
    ValueError: if both collections have an array of the same name.
  """
  trainable, stored = variables.get('params', {}), variables.get('stored', {})
  return forms.merge_params(trainable, stored)


class GroupedEmbed(nn.Module):
  """Compressed embeddings; replaces `nn.Embed`.

  `init` makes trainable variables from noise; `apply` takes those as well as
  stored ones (`from_params`, `to_variables`), also if all are in 'params'.
  Arithmetic is in float32.

  Where a group's method has a commitment term, its mean over the words looked
  up is sown into the collection 'losses' if that is mutable; add a multiple
  of it to the loss.

  Attributes:
    scheme: groups of words and their methods.
    dtype: of the results; float32 if not given.
    padding_id: id of the padding word, if any. Its vector and its logit are
      zero, and it has no gradient.

  Example:
    >>> from embedcomp import Group, Scheme, methods
    >>> scheme = Scheme(8, (Group(10, methods.Dense()),))
    >>> module = GroupedEmbed(scheme, padding_id=0)
    >>> module.init_with_output(jax.random.key(0), jnp.array([0]))[0].sum()
    Array(0., dtype=float32)
  """

  scheme: Scheme
  dtype: Any = None
  padding_id: int | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.padding_id is None:
      return
    vocab_size = self.scheme.vocab_size
    if not 0 <= self.padding_id < vocab_size:
      raise ValueError(
        f'padding_id must be in [0, {vocab_size}), got {self.padding_id}.'
      )

  @classmethod
  def from_params(
    cls, scheme: Scheme, params: Params, **kwargs: Any
  ) -> tuple[Self, dict[str, Params]]:
    """The module and its variables, from a compressed table.

    Args:
      scheme: the scheme.
      params: of the scheme, trainable or stored.
      **kwargs: further attributes of the module.

    Returns:
      The module and the variables for its `apply`.
    """
    return cls(scheme, **kwargs), to_variables(params)

  @property
  def num_embeddings(self) -> int:
    """V, as in `nn.Embed`."""
    return self.scheme.vocab_size

  @property
  def features(self) -> int:
    """D, as in `nn.Embed`."""
    return self.scheme.features

  def setup(self) -> None:
    if not self.is_initializing() or self._params():
      return
    params = group_params.init(self.make_rng('params'), self.scheme)
    # The method's arrays differ from form to form (see `methods.forms`), so
    # no shapes are declared: reading checks whatever variables are given later.
    for collection, values in to_variables(params).items():
      for name, value in values.items():
        self.put_variable(collection, name, value)

  @nn.nowrap
  def _params(self) -> Params:
    return to_params(self.variables)

  def __call__(self, ids: Array) -> jax.Array:
    """Vectors of words.

    Args:
      ids: [...] integers.

    Returns:
      [..., D]. Inside jit an id out of range gives NaN.

    Raises:
      TypeError: if ids are not integers.
      ValueError: for variables that are not the scheme's; if an id is out of
        range, outside of jit.
    """
    params = self._params()
    words = read.lookup(self.scheme, params, ids)
    ids = jnp.asarray(ids)
    if self.padding_id is not None:
      words = jnp.where((ids == self.padding_id)[..., None], 0, words)
    if self.is_mutable_collection('losses') and not self.is_initializing():
      self._sow_commitment(params, ids)
    return words.astype(self.dtype or jnp.float32)

  @nn.nowrap
  def _sow_commitment(self, params: Params, ids: jax.Array) -> None:
    terms = read.commitment(self.scheme, params, ids)
    if terms is None:
      return
    real = jnp.ones(ids.shape, bool)
    if self.padding_id is not None:
      real = ids != self.padding_id
    mean = jnp.where(real, terms, 0).sum() / jnp.maximum(real.sum(), 1)
    self.sow('losses', 'commitment', mean)

  def attend(self, query: Array) -> jax.Array:
    """Inner products with every word: logits of tied embeddings.

    Args:
      query: [..., D] float.

    Returns:
      [..., V] in the order of the ids.

    Raises:
      ValueError: for variables that are not the scheme's; if the last axis is
        not the scheme's features.
    """
    scores = read.logits(self.scheme, self._params(), query)
    if self.padding_id is not None:
      is_padding = jnp.arange(self.num_embeddings) == self.padding_id
      lead = (1,) * (scores.ndim - 1)
      scores = jnp.where(is_padding.reshape(*lead, -1), 0, scores)
    return scores.astype(self.dtype or jnp.float32)
