"""Sensitivity of a task to each word, from gradients of a dense model.

A word w of the model is moved along a direction d_w by a gate s_w = 0. To
second order, what the move by s_w = 1 adds to the loss is

  1/2 E[(dl / ds_w)^2],

with labels drawn from the model: the diagonal of the Fisher matrix, as in
"Optimal Brain Damage" (LeCun et al., NIPS 1989) and "Importance Estimation for
Neural Network Pruning" (Molchanov et al., CVPR 2019). An example has one gate
for each of its words, however often they occur in it, so that inputs and tied
outputs count together. Two kinds of directions are of use: towards the average
word, which is what dropping does, and random ones, for errors of any kind.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal.progress import track
from embedcomp.search.embeddings import Embedding
from embedcomp.types import Array, PRNGKey

# (params, embed, batch, key) -> [] the log-likelihood of a batch's labels,
# drawn by the key from what the model holds likely, and [] the weight of the
# labels that it sums over.
LogLikelihoodFn = Callable[
  [chex.ArrayTree, Embedding, Any, PRNGKey], tuple[jax.Array, jax.Array]
]

# Of the mean: what nothing was measured of costs as much, before it is blended.
_LEAST_COST = 1e-6
# What errors of a word that seems not to matter weigh, of the mean.
_LEAST_WEIGHT = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class GatedEmbedding:
  """A dense table whose words move along directions by gates.

  The rows of one of the B examples follow each other and share its gates: its
  texts, or the tokens that a model lays in one axis.

  Attributes:
    table: [V, D] float.
    directions: [V, D] float.
    gates: [B, V] float.
    counter: [V] float zeros. A gradient by it counts lookups of each word,
      whatever becomes of them.
  """

  table: Array
  directions: Array
  gates: Array
  counter: Array

  def _own_gates(self, num_rows: int) -> jax.Array:
    """[R, V] gates of so many rows."""
    if num_rows % len(self.gates):
      raise ValueError(
        'the sensitivity of a loss is measured by example, so that what it '
        'looks up or scores must have rows for each of the '
        f'{len(self.gates)} examples of a batch along its first axis, got '
        f"{num_rows} rows; or set order='frequency' and by_counts=1."
      )
    return jnp.repeat(self.gates, num_rows // len(self.gates), axis=0)

  def __call__(self, ids: Array) -> jax.Array:
    """[R, ..., D] vectors of [R, ...] ids."""
    ids = jnp.asarray(ids)
    flat = ids.reshape(len(ids), -1)
    moved = jnp.take_along_axis(self._own_gates(len(ids)), flat, axis=1)
    moved = moved.reshape(*ids.shape, 1) * self.directions[ids]
    return _counted(self.table[ids] + moved, self.counter, ids)

  def attend(self, query: Array) -> jax.Array:
    """[R, ..., V] inner products of [R, ..., D] queries with every word."""
    lead = (1,) * (query.ndim - 2)
    gates = self._own_gates(len(query)).reshape(len(query), *lead, -1)
    moves = gates * jnp.matmul(query, self.directions.T)
    return jnp.matmul(query, self.table.T) + moves


@jax.custom_vjp
def _counted(words: jax.Array, counter: Array, ids: Array) -> jax.Array:
  """Returns `words`; its gradient by `counter` counts the ids."""
  del counter, ids
  return words


def _counted_forward(words, counter, ids):
  return words, (counter, ids)


def _counted_backward(residuals, gradient):
  counter, ids = residuals
  return gradient, jnp.zeros_like(counter).at[ids].add(1), None


_counted.defvjp(_counted_forward, _counted_backward)


@dataclasses.dataclass(frozen=True, eq=False)
class Sensitivity:
  """Cost of errors of each word to a task, in nats an example.

  Attributes:
    weights: [V] float64, for each unit of squared error of its vector.
    drops: [V] float64, for being replaced by the average word.
  """

  weights: np.ndarray
  drops: np.ndarray

  @property
  def importance(self) -> np.ndarray:
    """[V] positive weights of errors; all alike if no word matters."""
    return self.weights + max(_LEAST_WEIGHT * self.weights.mean(), 1e-30)

  def order(self, fixed: int = 0) -> np.ndarray:
    """Sorts words by falling need to be told from the average word.

    Args:
      fixed: so many first words stay where they are.

    Returns:
      [V] int64, the id at each rank.
    """
    rest = np.argsort(-self.drops[fixed:], kind='stable') + fixed
    return np.concatenate([np.arange(fixed), rest])

  def reordered(self, order: np.ndarray) -> 'Sensitivity':
    """Returns the sensitivity to the words in another order."""
    return Sensitivity(self.weights[order], self.drops[order])

  def blended(self, importance: Array, share: float) -> 'Sensitivity':
    """Draws what words cost towards what is known without measuring.

    What is measured on few data is noise for the many words that are rare
    there, and says nothing of those that only other texts have. Costs spread
    over many powers of ten, so the mean of both is that of their logarithms.

    Args:
      importance: [V] positive, what words cost in proportion.
      share: in [0, 1], how much that counts.

    Returns:
      The sensitivity; all words together cost the same.

    Example:
      >>> measured = Sensitivity(np.array([8.0, 2.0]), np.array([4.0, 1.0]))
      >>> measured.blended([1, 1], 0.5).drops.round(2)
      array([3.33, 1.67])
    """
    if share == 0:
      return self
    spread = np.asarray(importance, np.float64) / np.sum(importance)

    def blend(values):
      total = values.sum()
      known = values + _LEAST_COST * values.mean()
      mixed = known ** (1 - share) * (total * spread) ** share
      return mixed * (total / max(mixed.sum(), np.finfo(float).tiny))

    return Sensitivity(blend(self.weights), blend(self.drops))

  def extrapolate(self, seen: Array, counts: Array) -> 'Sensitivity':
    """Extrapolates from a part of the data to all of it.

    An occurrence of a word matters as much as those that were seen, and as one
    more of the average word: words that were never seen count by how often
    they occur, and those that were seen by luck do not come first.

    Args:
      seen: [V] how often each word occurs in the part.
      counts: [V] how often in all.

    Returns:
      The sensitivity to expect.

    Raises:
      ValueError: if nothing was seen.
    """
    num_seen, num_all = np.sum(seen), np.sum(counts)
    if not min(num_seen, num_all) > 0:
      raise ValueError(
        f'occurrences must be positive, got {num_seen} seen of {num_all}.'
      )

    def expected(values):
      for_each = (num_seen * values + values.sum()) / (np.asarray(seen) + 1.0)
      return np.asarray(counts) / num_all * for_each

    return Sensitivity(expected(self.weights), expected(self.drops))


def measure_sensitivity(
  log_likelihood_fn: LogLikelihoodFn,
  params: chex.ArrayTree,
  table: Array,
  batches: Iterable[Any],
  counts: Array,
  *,
  num_directions: int = 2,
  seed: int = 0,
  progress: bool = True,
) -> tuple[Sensitivity, np.ndarray]:
  """Measures what a model's words are worth to it.

  Costs about 1 + `num_directions` epochs of training over `batches`.

  Args:
    log_likelihood_fn: see `LogLikelihoodFn`.
    params: of the model but for its table.
    table: [V, D] float, of the model.
    batches: pytrees of arrays whose first axis is that of the examples.
    counts: [V] how often words occur, for the average word.
    num_directions: random directions for each batch.
    seed: of directions and labels.
    progress: whether to show a progress bar.

  Returns:
    The sensitivity, and [V] how often words occur in `batches`.

  Raises:
    ValueError: if no label has any weight.
  """
  table = np.asarray(table, np.float32)
  share = np.asarray(counts, np.float64) / max(np.sum(counts), 1)
  to_average = jnp.asarray(table - (share @ table)[None], jnp.float32)

  @jax.jit
  def probe(params, table, to_average, batch, key):
    sign_key, *label_keys = jax.random.split(key, 2 + num_directions)
    num_examples = len(jax.tree.leaves(batch)[0])

    def gradients(directions, key):
      def log_likelihood(gates, counter):
        embed = GatedEmbedding(table, directions, gates, counter)
        return log_likelihood_fn(params, embed, batch, key)

      gates = jnp.zeros((num_examples, len(table)))
      slopes, weight = jax.grad(log_likelihood, argnums=(0, 1), has_aux=True)(
        gates, jnp.zeros(len(table))
      )
      return jnp.square(slopes[0]).sum(axis=0), slopes[1], weight

    to_drop, seen, weight = gradients(to_average, label_keys[0])
    # Random signs meet a gradient with its squared length, on average.
    shape = (num_directions, table.shape[1])
    signs = jax.random.rademacher(sign_key, shape, jnp.float32)
    at_random = sum(
      gradients(jnp.broadcast_to(own, table.shape), labels)[0]
      for own, labels in zip(signs, label_keys[1:])
    )
    return to_drop, at_random / (num_directions * table.shape[1]), seen, weight

  drops, weights, seen = np.zeros((3, len(table)))
  total, key, device_table = 0.0, jax.random.key(seed), jnp.asarray(table)
  for number, batch in enumerate(
    track(batches, 'measuring words', enabled=progress)
  ):
    found = jax.device_get(
      probe(
        params,
        device_table,
        to_average,
        jax.tree.map(jnp.asarray, batch),
        jax.random.fold_in(key, number),
      )
    )
    drops += found[0]
    weights += found[1]
    seen += found[2]
    total += float(found[3])
  if not total > 0:
    raise ValueError('sensitivity needs labels, but all weights are zero.')
  return Sensitivity(weights / (2 * total), drops / (2 * total)), seen
