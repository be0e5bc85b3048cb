"""Base of methods whose groups describe words on the same stored axes.

A word is coefficients times axes. All such groups of a scheme share axes, which
are stored once and sorted by what they explain; a group codes the coefficients
on as many of them as it can pay for and adds its mean.

Stored axes need be neither orthogonal nor of length 1. Groups of frequent words
also code what is orthogonal to all of them: the D - R further axes follow from
the stored ones and cost no bytes (`further_axes`). Groups are read together,
whatever their methods, by one product of coefficients and axes.
"""

import abc
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.methods import base, coded_sizes, gather, storage
from embedcomp.methods.coded_factor import CodedFactor
from embedcomp.methods.further_axes import full_axes, oriented
from embedcomp.methods.low_rank import weighted_basis
from embedcomp.methods.storage import Factor
from embedcomp.types import Array, Params, PRNGKey, Shape


class AxesMethod(base.Method):
  """A method of coefficients on stored axes.

  Attributes:
    rank: R, the axes that are stored, 0 to D; the same in all such groups of a
      scheme, as is `axes_storage`. Without any, axes are the features.
    storage: of what is added to codes.
    axes_storage: of the axes; integers keep one scale an axis.
    axes_bytes: of the axes' integers if these are entropy-coded, for which
      `axes_storage` is int8; 0 if they are not.
  """

  rank: int
  storage: str
  axes_storage: str
  axes_bytes: int

  def __post_init__(self) -> None:
    storage.check_storage(self.storage)
    storage.check_storage(self.axes_storage)

  @property
  @abc.abstractmethod
  def num_axes(self) -> int:
    """A, the axes that are coded, from the first one on."""

  @abc.abstractmethod
  def fit_on_axes(
    self,
    axes: np.ndarray,
    coefficients: np.ndarray,
    weights: np.ndarray,
    seed: int,
    costs: np.ndarray | None = None,
  ) -> Params:
    """Fits codes on given axes.

    Args:
      axes: [R, D] float32.
      coefficients: [W, A or more] float32 of the words, one an axis; they are
        overwritten.
      weights: [W] non-negative, not all zero.
      seed: of whatever is random.
      costs: [A or more] positive, what a squared error on each axis costs; the
        same on all axes if not given.

    Returns:
      Trainable params.
    """

  @classmethod
  @abc.abstractmethod
  def coded(cls, coders: 'Sequence[Coder]') -> jax.Array:
    """Coefficients of words of several groups, without their means.

    Args:
      coders: groups of this method.

    Returns:
      [T, A] float32, A the most axes that one of them codes; zero for tokens
      that are in none of the groups.
    """

  def _check_axes(self, shape: Shape) -> None:
    """Raises ValueError if there cannot be as many axes."""
    if not 0 <= self.rank <= shape.features:
      raise ValueError(
        f'rank must be 0 to the {shape.features} features, got {self.rank}.'
      )
    if not 0 <= self.num_axes <= shape.features:
      raise ValueError(
        f'{shape.features} features have at most as many coded axes, got '
        f'{self.num_axes} in {self}.'
      )
    if not self.axes_bytes:
      return
    least = coded_sizes.SMALLEST
    if self.axes_storage != 'int8' or not self.rank or self.axes_bytes < least:
      raise ValueError(
        f'axes_bytes must be 0, or {least} or more for int8 axes, got '
        f'{self.axes_bytes} for {self.rank} axes in {self.axes_storage}.'
      )

  def axes_part(self, features: int) -> Factor:
    """The axes, which groups share."""
    fields = 'axes', (self.rank, features), self.axes_storage, (0,), 'axes'
    if self.axes_bytes:
      return CodedFactor(*fields, shared=True, num_bytes=self.axes_bytes)
    return Factor(*fields, shared=True)

  def _axes_parts(self, shape: Shape) -> tuple[Factor, ...]:
    """Mean and axes: neither is there without stored axes."""
    if not self.rank:
      return ()
    mean = Factor('mean', (self.rank,), self.storage, (), 'means')
    return mean, self.axes_part(shape.features)

  def _init_axes(self, key: PRNGKey, shape: Shape) -> tuple[Any, ...]:
    """Mean and axes from noise, in the order of `_axes_parts`."""
    axes_key, mean_key = jax.random.split(key)
    axes = jax.random.orthogonal(axes_key, shape.features)[: self.rank]
    if self.num_axes or not self.rank:
      return np.zeros(self.rank, np.float32), axes
    mean = jax.random.normal(mean_key, (self.rank,))  # all that words have
    return mean / jnp.linalg.norm(mean), axes

  def _params(self, arrays: Sequence[Any], shape: Shape) -> Params:
    """Trainable params of as many arrays as there are parts, in order."""
    return {p.name: p.trainable(a) for p, a in zip(self.parts(shape), arrays)}

  def _fit_mean(self, coefficients, weights) -> np.ndarray:
    """[R] weighted mean, as it is read."""
    if not self.rank:
      return np.zeros(0, np.float32)
    part = Factor('mean', (self.rank,), self.storage, ())
    shares = (weights / weights.sum()).astype(np.float32)
    return part.round_trip(shares @ coefficients[:, : self.rank])

  def _without_mean(self, coefficients, mean, costs) -> np.ndarray:
    """[W, A] float32, what is coded, so that errors on all axes cost alike.

    Coefficients are overwritten.
    """
    rest = coefficients[:, : self.num_axes]
    rest[:, : self.rank] -= mean[: rest.shape[1]]
    rest *= self._units(costs)
    return rest

  def _units(self, costs) -> np.ndarray:
    """[A] float32 roots of costs."""
    if costs is None:
      return np.ones(self.num_axes, np.float32)
    return np.sqrt(costs[: self.num_axes]).astype(np.float32)

  def fit(self, table: np.ndarray, weights: np.ndarray, seed: int) -> Params:
    table = np.asarray(table, np.float32)
    axes = oriented(weighted_basis(table, weights, self.rank))
    coefficients = table @ np.linalg.inv(np.asarray(full_axes(axes)))
    return self.fit_on_axes(axes, coefficients, weights, seed)

  def lookup(self, params: Params, rows: Array, shape: Shape) -> jax.Array:
    flat = jnp.asarray(rows).reshape(-1)
    everywhere = np.ones(flat.shape, bool)
    coder = Coder(self, params, everywhere, flat)
    words = lookup_groups([coder], shape.features)
    return words.reshape(*rows.shape, shape.features)

  def logits(self, params: Params, hidden: Array, shape: Shape) -> jax.Array:
    num_axes = max(self.rank, self.num_axes)
    if not num_axes:  # all words are zero
      return jnp.zeros((*hidden.shape[:-1], shape.num_words), jnp.float32)
    axes = _read_axes(self, params, num_axes, shape.features)
    projected = jnp.matmul(hidden, axes.T, precision='highest')
    params = {k: v for k, v in params.items() if k != 'axes'}

    def decode(held: Params, rows: jax.Array) -> jax.Array:
      everywhere = np.ones(rows.shape, bool)
      return _coefficients([Coder(self, held, everywhere, rows)])

    return base.logits_by_block(decode, params, projected, shape.num_words)


class Coder(NamedTuple):
  """One group's words to be read beside those of other groups.

  Attributes:
    method: of the group, an `AxesMethod`.
    params: of the group, either form.
    inside: [T] bool, which tokens are words of the group.
    rows: [T] integers in [0, W), whatever `inside`.
  """

  method: Any
  params: Params
  inside: Array
  rows: Array


def lookup_groups(coders: Sequence[Coder], features: int) -> jax.Array:
  """Vectors of words of several groups on the same axes, by one product.

  Args:
    coders: groups of one scheme.
    features: D.

  Returns:
    [T, D] float32, zero for tokens that are in none of the groups.
  """
  coefficients = _coefficients(coders)
  method, params = coders[0].method, coders[0].params
  axes = _read_axes(method, params, coefficients.shape[-1], features)
  return jnp.matmul(coefficients, axes, precision='highest')


def group_of_token(coders: Sequence[Coder]) -> jax.Array:
  """[T] int32, which of the groups a token is in; their number if in none."""
  group = jnp.full(coders[0].rows.shape, len(coders), jnp.int32)
  for index, coder in enumerate(coders):
    group = jnp.where(coder.inside, index, group)
  return group


def _coefficients(coders: Sequence[Coder]) -> jax.Array:
  """[T, A] float32, A as in the group that has most axes."""
  kinds: dict[type[AxesMethod], list[Coder]] = {}
  for coder in coders:
    kinds.setdefault(type(coder.method), []).append(coder)
  coded = [kind.coded(own) for kind, own in kinds.items()]
  rank = coders[0].method.rank
  num_axes = max(rank, *(found.shape[1] for found in coded))
  total = functools.reduce(
    jnp.add, [_widened(found, num_axes) for found in coded]
  )
  if not rank:
    return total
  means = jnp.stack([*map(_read_mean, coders), np.zeros(rank, np.float32)])
  means = gather.take(_widened(means, num_axes), group_of_token(coders))
  return total + means


def _widened(rows: jax.Array, width: int) -> jax.Array:
  return jnp.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _read_mean(coder: Coder) -> jax.Array:
  return storage.read(coder.params['mean'], coder.method.storage)


def _read_axes(
  method: AxesMethod, params: Params, num: int, features: int
) -> jax.Array:
  """[num, D] float32, the first axes."""
  if not method.rank:
    return jnp.eye(num, features, dtype=jnp.float32)
  axes = storage.read(params['axes'], method.axes_storage)
  return axes if num <= method.rank else full_axes(axes)[:num]
