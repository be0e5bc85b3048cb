"""Discrete choices made soft, so that gradients reach their logits.

Consecutive words lie in B bins. S split variables, each a distribution over the
B - 1 inner points between bins and one last outcome "unused", divide the bins
into at most G = S + 1 groups: a bin belongs to group g if g splits lie before
it. The number of splits before a bin is Poisson-binomial, so that the
probabilities of every group are in closed form and splits need no order among
themselves.

Samples are relaxed by Gumbel-softmax (Jang et al., ICLR 2017; Maddison et al.,
ICLR 2017). At one-hot inputs every function here gives the discrete result.
"""

import jax
import jax.numpy as jnp

from embedcomp.types import Array, PRNGKey


def gumbel_softmax(
  key: PRNGKey, logits: Array, temperature: Array | float
) -> jax.Array:
  """A relaxed sample of categorical variables.

  Args:
    key: random key.
    logits: [..., C] float, unnormalised.
    temperature: positive; samples become one-hot as it goes to zero.

  Returns:
    [..., C] float32 that sums to one over C.
  """
  noise = jax.random.gumbel(key, logits.shape, jnp.float32)
  return jax.nn.softmax((logits + noise) / temperature)


def entropy(logits: Array) -> jax.Array:
  """The entropy of categorical variables.

  Args:
    logits: [..., C] float.

  Returns:
    [...] float32, in nats.

  Example:
    >>> float(entropy(jnp.zeros(4)) / jnp.log(4))
    1.0
  """
  log_probs = jax.nn.log_softmax(logits)
  return -(jnp.exp(log_probs) * log_probs).sum(-1)


def _count_probabilities(yes: Array, no: Array) -> jax.Array:
  """Returns the probabilities that so many of S independent events happen.

  Args:
    yes: [S, B] probability of each event.
    no: [S, B] probability of its contrary; less than `1 - yes` leaves cases
      out.

  Returns:
    [S + 1, B] probabilities of 0, 1, ..., S events.
  """
  probabilities = jnp.ones((1, *yes.shape[1:]), yes.dtype)
  for event, contrary in zip(yes, no):
    none, last = jnp.zeros_like(probabilities[:1]), probabilities * event[None]
    stays = jnp.concatenate([probabilities * contrary[None], none])
    probabilities = stays + jnp.concatenate([none, last])
  return probabilities


def _probabilities_before(splits: Array) -> jax.Array:
  """[S, B] probability that a split lies before each bin."""
  return jnp.cumsum(jnp.pad(splits, ((0, 0), (1, 0)))[:, :-1], axis=1)


def _probabilities_behind(splits: Array) -> jax.Array:
  """[S, B] probability that a split lies behind the point after each bin.

  Summed from the other end: `1 - before - splits` would round small ones away.
  """
  return _probabilities_before(splits[:, ::-1])[:, ::-1]


def group_probabilities(splits: Array) -> jax.Array:
  """Returns the probability that each bin lies in each group.

  Args:
    splits: [S, B] probability that each split comes right after a bin; for the
      last bin, that it is not used.

  Returns:
    [B, G] float32 with G = S + 1, summing to one over G.

  Example:
    >>> group_probabilities(jnp.array([[0.5, 0.0, 0.5]]))[2].tolist()
    [0.5, 0.5]
  """
  before = _probabilities_before(splits)
  return _count_probabilities(before, splits + _probabilities_behind(splits)).T


def visit_probabilities(splits: Array) -> jax.Array:
  """Returns the probability that each group has any words.

  Two splits at the same point leave the group between them empty, and unused
  splits the last ones. A group is entered at bin b if it has b but not b - 1;
  these events exclude each other, so that their probabilities sum.

  Args:
    splits: [S, B] as for `group_probabilities`.

  Returns:
    [G] float32.
  """
  before, behind = _probabilities_before(splits), _probabilities_behind(splits)
  probabilities = _count_probabilities(before, splits + behind)  # [G, B]
  # In the group at b - 1, and no split between there and b.
  stays = _count_probabilities(before[:, :-1], behind[:, :-1])
  return probabilities[:, 0] + (probabilities[:, 1:] - stays).sum(-1)


def expected_bytes(
  splits: Array,
  options: Array,
  bin_sizes: Array,
  bytes_per_word: Array,
  shared_bytes: Array,
) -> jax.Array:
  """The bytes that relaxed splits and options take on average.

  Args:
    splits: [S, B] as for `group_probabilities`.
    options: [G, O] probabilities of each group's options.
    bin_sizes: [B] words in each bin.
    bytes_per_word: [O] what an option stores for a word.
    shared_bytes: [O] what it stores for the group as a whole.

  Returns:
    [] float32; at one-hot inputs the bytes of that very choice, but for the
    parts of bytes that a file fills up.
  """
  words = jnp.asarray(bin_sizes) @ group_probabilities(splits)  # [G]
  return words @ (options @ bytes_per_word) + visit_probabilities(splits) @ (
    options @ shared_bytes
  )
