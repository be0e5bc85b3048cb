"""A compressed embedding layer that takes the place of `flax.linen.Embed`.

Float arrays live in the collection 'params', integer ones (codes, the order
map, frozen values) in 'buffers', which optimizers never see. Both hold the
groups at their top level, so that wrapping adds no nesting.
"""

from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from embedcomp.table import read
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params


def to_variables(params: Params) -> dict[str, Params]:
  """Params of a scheme, trainable or frozen, as variables of `GroupedEmbed`.

  Args:
    params: as from `embedcomp.compress`, `load`, `init` or `freeze`.

  Returns:
    `{'params': ..., 'buffers': ...}`, one of them empty if it holds nothing.
  """
  floats, integers = read.partition(params)
  return {'params': floats, 'buffers': integers}


def to_params(variables: dict[str, Params]) -> Params:
  """Variables of `GroupedEmbed` as params, to be frozen and saved.

  Args:
    variables: of the module itself, not of one that contains it; collections
      other than 'params' and 'buffers' are left out.

  Returns:
    Params as the functions of `embedcomp` take them.
  """
  return read.combine(variables.get('params', {}), variables.get('buffers', {}))


class GroupedEmbed(nn.Module):
  """Compressed embeddings; replaces `nn.Embed`.

  `init` makes trainable variables from noise; `apply` takes those as well as
  frozen ones (`from_params`, `to_variables`). Arithmetic is in float32.

  Where a group's method has a commitment term, its mean over the words looked
  up is sown into the collection 'losses' if that is mutable; add a multiple
  of it to the loss.

  Attributes:
    scheme: who is compressed how.
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
    cls, scheme: Scheme, params: Params, **kwargs
  ) -> tuple[Self, dict[str, Params]]:
    """The module and its variables, from a compressed table.

    Args:
      scheme: the scheme.
      params: of the scheme, trainable or frozen.
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

  def setup(self):
    if not self.is_initializing() or self._params():
      return
    params = read.init(self.scheme, self.make_rng('params'))
    # The method's arrays differ from form to form (see `methods.storage`), so
    # no shapes are declared: whatever variables are given later are read.
    floats, integers = read.partition(params)
    for name, value in floats.items():
      self.put_variable('params', name, value)
    for name, value in integers.items():
      self.put_variable('buffers', name, value)

  @nn.nowrap
  def _params(self) -> Params:
    return to_params(self.variables)

  @nn.nowrap
  def _checked_params(self) -> Params:
    params = self._params()
    for index in range(len(self.scheme.groups)):
      if read.group_name(index) not in params:
        raise ValueError(
          f'variables lack {read.group_name(index)}, got {sorted(params)}; '
          "pass both collections, 'params' and 'buffers', of init, from_params "
          'or to_variables.'
        )
    return params

  def __call__(self, ids: Array) -> jax.Array:
    """Vectors of words.

    Args:
      ids: [...] integers.

    Returns:
      [..., D]. Inside jit an id out of range gives NaN.

    Raises:
      TypeError: if ids are not integers.
      ValueError: if an id is out of range, outside of jit.
    """
    params = self._checked_params()
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
      ValueError: if the last axis is not the scheme's features.
    """
    scores = read.logits(self.scheme, self._checked_params(), query)
    if self.padding_id is not None:
      is_padding = jnp.arange(self.num_embeddings) == self.padding_id
      lead = (1,) * (scores.ndim - 1)
      scores = jnp.where(is_padding.reshape(*lead, -1), 0, scores)
    return scores.astype(self.dtype or jnp.float32)
