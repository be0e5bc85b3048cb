r"""The metric of word vectors in which a model notices errors.

Let x be the vector of a token and f the outputs of a model, J = df / dx. Errors
e of x move the outputs by J e, to first order, and these by

  |J e|^2 = e' J'J e.

With u normal, g = J'u is the gradient of u . f by x, and E[g g'] = J'J (Martens
et al., "Estimating the Hessian by Back-propagating Curvature", ICML 2012): one
backward pass gives an estimate for every token of a batch. The metric H is the
mean over tokens. It needs no labels and, as all tokens share it, few texts.

Where the outputs are unit vectors, e' J'J e / 2 is what an error takes from the
cosine with the vector that was.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal.checks import check_int
from embedcomp._internal.progress import track
from embedcomp.compression.weighted_table import check_table
from embedcomp.search.embeddings import DenseEmbedding, Embedding
from embedcomp.types import Array, PRNGKey

# (params, embed, batch) -> a pytree of float outputs of any shapes.
OutputFn = Callable[[chex.ArrayTree, Embedding, Any], chex.ArrayTree]


@dataclasses.dataclass(frozen=True, eq=False)
class WatchedEmbedding:
  """A dense table that tells the gradients of the words that it looks up.

  Attributes:
    table: [V, D] float.
    outer: [D, D] float32 zeros. A gradient by it is the sum, over all words
      that were looked up, of g g', with g the gradient by the word's vector.
  """

  table: Array
  outer: Array

  def __call__(self, ids: Array) -> jax.Array:
    """[..., D] vectors of [...] ids; NaN where there is no such id."""
    return _watched(DenseEmbedding(self.table)(ids), self.outer)

  def attend(self, hidden: Array) -> jax.Array:
    """[..., V] inner products, in which no word is watched."""
    return DenseEmbedding(self.table).attend(hidden)


@jax.custom_vjp
def _watched(words: jax.Array, outer: Array) -> jax.Array:
  """Returns `words`; its gradient by `outer` sums outer products."""
  del outer
  return words


def _watched_forward(words, outer):
  del outer
  return words, None


def _watched_backward(_, gradient):
  flat = gradient.reshape(-1, gradient.shape[-1]).astype(jnp.float32)
  return gradient, jnp.matmul(flat.T, flat, precision=jax.lax.Precision.HIGHEST)


_watched.defvjp(_watched_forward, _watched_backward)


def measure_metric(
  output_fn: OutputFn,
  params: chex.ArrayTree,
  table: Array,
  batches: Iterable[Any],
  *,
  compressed: Array | None = None,
  seed: int = 0,
  progress: bool = True,
) -> np.ndarray:
  """Measures in which directions a model notices errors of word vectors.

  H = E[g g'], the mean over tokens, g the gradient of u . outputs by the vector
  of a token and u normal. Costs one epoch of training over `batches`: some
  17,000 tokens are enough for D = 384.

  Args:
    output_fn: `output_fn(params, embed, batch)` gives the outputs of a batch
      that matter, a float array or several, of any shapes: sentence vectors of
      length one, say. `embed(ids)` looks words up; a linen model takes
      `EmbedModule(embed)` in the place of its `nn.Embed`. Words that
      `embed.attend` scores do not count.
    params: pytree of the model's params but for its table.
    table: [V, D] float, of the model.
    batches: pytrees of arrays. Those of one shape are compiled once. Padding
      counts for nothing where the outputs do not depend on it.
    compressed: [V, D] float, what the table has become. Gradients are then
      taken half-way, where J e is the whole move up to terms of third order.
    seed: of u.
    progress: whether to show a progress bar.

  Returns:
    [D, D] float64, symmetric, without negative eigenvalues but for rounding, of
    trace D. It may be singular, see `embedcomp.ridge_metric`.

  Raises:
    ValueError: for tables that are not valid, outputs that are no floats, and
      if there is no batch, nothing depends on words, or gradients are infinite
      or NaN.

  Example:
    >>> table = np.eye(3, 2, dtype=np.float32)
    >>> output_fn = lambda kernel, embed, ids: embed(ids) @ kernel
    >>> kernel = np.array([[2.0], [0.0]], np.float32)
    >>> batches = [np.array([[0, 2, 1]])]
    >>> measure_metric(output_fn, kernel, table, batches, progress=False)
    array([[2., 0.],
           [0., 0.]])
  """
  vectors = _midpoint(table, compressed)
  key = jax.random.key(check_int('seed', seed, 0))
  features = vectors.shape[1]

  @jax.jit
  def sum_of_outer_products(params, vectors, batch, key):
    def projected(outer):
      embed = WatchedEmbedding(vectors, outer)
      return _projected(output_fn(params, embed, batch), key)

    return jax.grad(projected)(jnp.zeros((features, features)))

  total, device_table = np.zeros((features, features)), jnp.asarray(vectors)
  number = -1
  for number, batch in enumerate(
    track(batches, 'measuring the metric', enabled=progress)
  ):
    batch = jax.tree.map(jnp.asarray, batch)
    batch_key = jax.random.fold_in(key, number)
    total += jax.device_get(
      sum_of_outer_products(params, device_table, batch, batch_key)
    )
  if number < 0:
    raise ValueError('a metric needs batches to be measured on, got none.')
  return _normalised(total)


def _midpoint(table: Array, compressed: Array | None) -> np.ndarray:
  """[V, D] float32 vectors at which gradients are taken."""
  vectors = check_table(table).astype(np.float32)
  if compressed is None:
    return vectors
  other = check_table(compressed).astype(np.float32)
  if other.shape != vectors.shape:
    raise ValueError(
      f'compressed must have the shape of the table, {vectors.shape}, '
      f'got {other.shape}: unpack it (embedcomp.reconstruct).'
    )
  return (vectors + other) / 2


def _projected(outputs: chex.ArrayTree, key: PRNGKey) -> jax.Array:
  """The sum of all outputs, each times a normal number of its own."""
  leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(outputs)]
  for leaf in leaves:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
      raise ValueError(f'outputs must be floats, got {leaf.dtype}.')
  keys = jax.random.split(key, max(len(leaves), 1))
  return sum(
    (
      jnp.vdot(jax.random.normal(own, leaf.shape), leaf.astype(jnp.float32))
      for own, leaf in zip(keys, leaves)
    ),
    start=jnp.zeros(()),
  )


def _normalised(total: np.ndarray) -> np.ndarray:
  """A sum of outer products, exactly symmetric and of trace D."""
  trace = np.trace(total)
  if not np.isfinite(total).all():
    raise ValueError(
      'gradients must be finite, got NaN or infinity: look for ids that the '
      'table does not have, and for lengths of 0 that outputs are divided by.'
    )
  if not trace > 0:
    raise ValueError(
      'outputs must depend on the words that are looked up, got gradients of '
      f'{trace:.3g} alone.'
    )
  total = total * (len(total) / trace)
  return (total + total.T) / 2
