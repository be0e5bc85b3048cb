"""How much a task depends on each word, from gradients of a dense model.

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
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal.progress import track
from embedcomp.types import Array, PRNGKey

# (variables, batch, key) -> [] the log-likelihood of a batch's labels, drawn by
# the key from what the model holds likely; summed, each by its weight.
LogLikelihoodFn = Callable[
  [Mapping[str, Any], Mapping[str, jax.Array], PRNGKey], jax.Array
]

# Of the mean: what nothing was measured of costs as much, before it is blended.
_LEAST_COST = 1e-6


class GatedEmbed(nn.Module):
  """A dense table whose words move along directions by gates.

  Reads `embedding` [V, D] of 'params', as `flax.linen.Embed`, and `gates`
  [B, V] and `directions` [V, D] of 'probe'; B examples have gates of their own.
  """

  @nn.nowrap
  def _arrays(self, num_rows: int):
    """The table, the directions and the gates of so many rows.

    Rows of one example follow each other and share its gates: its texts, or the
    tokens that a model lays in one axis.
    """
    gates = self.get_variable('probe', 'gates')
    return (
      self.get_variable('params', 'embedding'),
      self.get_variable('probe', 'directions'),
      jnp.repeat(gates, num_rows // len(gates), axis=0),
    )

  @nn.compact
  def __call__(self, ids: Array) -> jax.Array:
    """[B, T, D] vectors of [B, T] ids, B examples or a multiple of them."""
    table, directions, gates = self._arrays(len(ids))
    moved = jnp.take_along_axis(gates, ids, axis=1)  # [B, T]
    return table[ids] + moved[..., None] * directions[ids]

  @nn.compact
  def attend(self, query: Array) -> jax.Array:
    """[..., V] inner products of [..., D] queries with every word.

    The first axis holds examples, or a multiple of them.
    """
    table, directions, gates = self._arrays(len(query))
    lead = (1,) * (query.ndim - 2)
    gates = gates.reshape(len(query), *lead, -1)
    return query @ table.T + gates * (query @ directions.T)


@dataclasses.dataclass(frozen=True, eq=False)
class Sensitivity:
  """What errors of each word cost a task, in nats an example.

  Attributes:
    weights: [V] float64, for each unit of squared error of its vector.
    drops: [V] float64, for being replaced by the average word.
  """

  weights: np.ndarray
  drops: np.ndarray

  def order(self, fixed: int = 0) -> np.ndarray:
    """Words by falling need to be told from the average word.

    Args:
      fixed: so many first words stay where they are.

    Returns:
      [V] int64, the id at each rank.
    """
    rest = np.argsort(-self.drops[fixed:], kind='stable') + fixed
    return np.concatenate([np.arange(fixed), rest])

  def reordered(self, order: np.ndarray) -> 'Sensitivity':
    """That of the words in another order."""
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
    """What measuring a part of the data says of all of it.

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
  variables: Mapping[str, Any],
  batches: Iterable[Mapping[str, Array]],
  counts: Array,
  *,
  num_directions: int = 2,
  seed: int = 0,
  progress: bool = True,
) -> Sensitivity:
  """Measures what a model's words are worth to it.

  Costs about 1 + `num_directions` epochs of training over `batches`.

  Args:
    log_likelihood_fn: see `LogLikelihoodFn`, of a model whose `embedder` is a
      `GatedEmbed`.
    variables: of the same model around a `flax.linen.Embed`.
    batches: `ids` [B, T], `weights`, one for each label, and what else the
      function reads.
    counts: [V] how often words occur, for the average word.
    num_directions: random directions for each batch.
    seed: of directions and labels.
    progress: whether to show a progress bar.

  Returns:
    The sensitivity.

  Raises:
    ValueError: if no label has any weight.
  """
  table = np.asarray(variables['params']['embedder']['embedding'], np.float32)
  share = np.asarray(counts, np.float64) / max(np.sum(counts), 1)
  to_average = jnp.asarray(table - (share @ table)[None], jnp.float32)

  @jax.jit
  def probe(variables, to_average, batch, key):
    sign_key, *label_keys = jax.random.split(key, 2 + num_directions)

    def gradients(directions, key):
      gates = jnp.zeros((len(batch['ids']), len(table)))

      def log_likelihood(gates):
        probe = {'embedder': {'gates': gates, 'directions': directions}}
        return log_likelihood_fn({**variables, 'probe': probe}, batch, key)

      return jnp.square(jax.grad(log_likelihood)(gates)).sum(axis=0)

    to_drop = gradients(to_average, label_keys[0])
    # Random signs meet a gradient with its squared length, on average.
    shape = (num_directions, table.shape[1])
    signs = jax.random.rademacher(sign_key, shape, jnp.float32)
    at_random = sum(
      gradients(jnp.broadcast_to(own, table.shape), labels)
      for own, labels in zip(signs, label_keys[1:])
    )
    return to_drop, at_random / (num_directions * table.shape[1])

  drops, weights = np.zeros((2, len(table)))
  total, key = 0.0, jax.random.key(seed)
  for number, batch in enumerate(
    track(batches, 'measuring words', enabled=progress)
  ):
    arrays = jax.tree.map(jnp.asarray, batch)
    found = probe(
      variables, to_average, arrays, jax.random.fold_in(key, number)
    )
    drops += np.asarray(found[0], np.float64)
    weights += np.asarray(found[1], np.float64)
    total += float(np.sum(batch['weights']))
  if not total > 0:
    raise ValueError('sensitivity needs labels, but all weights are zero.')
  return Sensitivity(weights / (2 * total), drops / (2 * total))
