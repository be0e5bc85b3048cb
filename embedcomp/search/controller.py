"""Logits of splits and options, and the price of a byte.

The logits of splits and options minimise, on held-out data,

  loss + multiplier * g + penalty / 2 * max(g, 0)^2 + entropy terms,
  g = log(expected bytes / budget),

an augmented Lagrangian (Nocedal & Wright, "Numerical Optimization", chapter 17)
whose multiplier follows g: it rises while the budget is exceeded and falls,
to zero at least, while bytes are left. So it finds the price of a byte on any
data by itself, and stops pressing once the budget is met.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp.compression.space import SearchSpace
from embedcomp.search import relaxation
from embedcomp.types import Array, Params, PRNGKey

# How much likelier a split starts at its own even share of the bins.
_SPLIT_HEADSTART = 1.0


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Schedule of a search over its steps.

  Attributes:
    num_steps: of the whole search.
    warmup: share of the steps in which only weights learn, under sizes drawn
      at random.
    plain: share of the warm-up in which all words take the largest option, as
      in plain training; for weights that start from noise.
    every: steps from one update of the logits to the next: an update costs
      about as much as an eighth of a step.
    temperature: of samples, at the start and the end of what follows; falls
      geometrically.
    entropy: weight of the entropy of splits and options at the end; rises
      linearly from zero over the second half.
    penalty: weight of the squared excess over the budget.
    multiplier_rate: how fast the multiplier follows g, each step.
    multiplier_cap: the largest multiplier.
  """

  num_steps: int = 1000
  warmup: float = 0.0
  plain: float = 0.0
  every: int = 1
  temperature: tuple[float, float] = (1.0, 0.2)
  entropy: float = 0.02
  penalty: float = 1.0
  multiplier_rate: float = 0.01
  multiplier_cap: float = 10.0

  def __post_init__(self) -> None:
    if self.num_steps < 1:
      raise ValueError(f'num_steps must be at least 1, got {self.num_steps}.')
    if not 0 <= self.warmup <= 1:
      raise ValueError(f'warmup must be in [0, 1], got {self.warmup}.')
    if not 0 <= self.plain <= 1:
      raise ValueError(f'plain must be in [0, 1], got {self.plain}.')
    if self.every < 1:
      raise ValueError(f'every must be at least 1, got {self.every}.')
    if not 0 < self.temperature[1] <= self.temperature[0]:
      raise ValueError(
        f'temperatures must fall and be positive, got {self.temperature}.'
      )

  @property
  def warmup_steps(self) -> int:
    """Steps in which only weights learn."""
    return round(self.warmup * self.num_steps)

  def progress(self, step: Array) -> jax.Array:
    """[] float32 in [0, 1], how far the search is after its warm-up."""
    rest = max(self.num_steps - self.warmup_steps, 1)
    return jnp.clip((step - self.warmup_steps) / rest, 0.0, 1.0)

  def temperature_at(self, step: Array) -> jax.Array:
    """[] float32."""
    first, last = self.temperature
    return first * (last / first) ** self.progress(step)

  def entropy_at(self, step: Array) -> jax.Array:
    """[] float32."""
    return self.entropy * jnp.clip(2 * self.progress(step) - 1, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Controller:
  """Distribution over the splits and options of a space.

  Attributes:
    space: what may be chosen.
    learn_splits: False gives every bin an option of its own, as searches over
      bins do (NIS, Joglekar et al., KDD 2020).
  """

  space: SearchSpace
  learn_splits: bool = True

  def init(self) -> Params:
    """Returns logits for the first step: options alike, splits evenly spread.

    Returns:
      `options` [G, O] float32 logits of each group and, where splits are
      learned, `splits` [G - 1, B] of each split, the last outcome "unused".
    """
    num_bins, num_options = self.space.num_bins, len(self.space.options)
    if not self.learn_splits:
      return {'options': jnp.zeros((num_bins, num_options))}
    num_groups = min(self.space.max_groups, num_bins)
    splits = np.zeros((num_groups - 1, num_bins), np.float32)
    for index in range(num_groups - 1):
      even = round((index + 1) * num_bins / num_groups) - 1
      splits[index, even] = _SPLIT_HEADSTART
    return {
      'options': jnp.zeros((num_groups, num_options)),
      'splits': jnp.asarray(splits),
    }

  def _splits(self, sample: Params) -> jax.Array:
    """[S, B] probabilities; where bins are groups, a split after every one."""
    if self.learn_splits:
      return sample['splits']
    return jnp.eye(self.space.num_bins)[:-1]

  def probabilities(self, architecture: Params) -> Params:
    """Returns probabilities, without noise, in the form of `architecture`."""
    return jax.tree.map(jax.nn.softmax, architecture)

  def sample(
    self, architecture: Params, key: PRNGKey, temperature: Array | float
  ) -> Params:
    """Relaxed samples in the form of `architecture`; see `gumbel_softmax`."""
    keys = dict(zip(sorted(architecture), jax.random.split(key)))
    return {
      name: relaxation.gumbel_softmax(keys[name], logits, temperature)
      for name, logits in architecture.items()
    }

  def mixture(self, sample: Params) -> jax.Array:
    """Returns [B, O], the probabilities of the options in each bin."""
    groups = relaxation.group_probabilities(self._splits(sample))
    return groups @ sample['options']

  def expected_bytes(self, sample: Params) -> jax.Array:
    """[] float32 bytes of a sample, or of probabilities, on average.

    An order map is counted as for all groups, even if some have no words.
    """
    num_bytes = relaxation.expected_bytes(
      self._splits(sample),
      sample['options'],
      jnp.asarray(self.space.bin_sizes, jnp.float32),
      jnp.asarray(self.space.bytes_per_word, jnp.float32),
      jnp.asarray(self.space.shared_bytes, jnp.float32),
    )
    num_groups = sample['options'].shape[0]
    return num_bytes + self.space.order_bytes(num_groups)

  def excess(self, architecture: Params, budget: Array | float) -> jax.Array:
    """[] float32, g = log(expected bytes / budget)."""
    num_bytes = self.expected_bytes(self.probabilities(architecture))
    return jnp.log(num_bytes / jnp.asarray(budget, jnp.float32))

  def entropy(self, architecture: Params) -> jax.Array:
    """[] float32, of all splits and options, as a share of the largest."""
    terms = [
      (relaxation.entropy(logits) / np.log(max(logits.shape[-1], 2))).mean()
      for logits in architecture.values()
      if logits.size
    ]
    return jnp.stack(terms).mean()

  def random_choice(
    self, key: PRNGKey, step: Array, schedule: Schedule
  ) -> jax.Array:
    """Draws the options that weights learn under during the warm-up.

    At first (`schedule.plain`) all bins take the largest option.
    Then every third step does, and the others draw an option for each bin: the
    sandwich rule (Yu & Huang, ICCV 2019) without its smallest option, for
    dropping all words teaches nothing.

    Args:
      key: random key.
      step: [] int32.
      schedule: of the search.

    Returns:
      [B] int32.
    """
    num_bins, num_options = self.space.num_bins, len(self.space.options)
    largest = int(self.space.bytes_per_word.argmax())
    drawn = jax.random.randint(key, (num_bins,), 0, num_options)
    is_plain = (step < schedule.plain * schedule.warmup_steps) | (step % 3 == 0)
    return jnp.where(is_plain, largest, drawn)

  def drawn_choice(self, architecture: Params, key: PRNGKey) -> jax.Array:
    """Draws a discrete sample.

    Args:
      architecture: logits.
      key: random key.

    Returns:
      [B] int32, the option of each bin.
    """
    sample = self.sample(architecture, key, 1.0)
    hard = jax.tree.map(
      lambda soft: jax.nn.one_hot(soft.argmax(-1), soft.shape[-1]), sample
    )
    return self.mixture(hard).argmax(-1).astype(jnp.int32)

  def log_probs(self, architecture: Params) -> np.ndarray:
    """[B, O] float64 log-probability of each option in each bin."""
    mixture = np.asarray(
      self.mixture(self.probabilities(architecture)), np.float64
    )
    return np.log(np.maximum(mixture, 1e-30))


def update_multiplier(
  multiplier: Array, excess: Array, schedule: Schedule
) -> jax.Array:
  """Returns the price of a byte after a step of dual ascent.

  Args:
    multiplier: [] float32, not negative.
    excess: [] float32, g.
    schedule: of the search.

  Returns:
    [] float32 in [0, multiplier_cap].
  """
  moved = multiplier + schedule.multiplier_rate * excess
  return jnp.clip(moved, 0.0, schedule.multiplier_cap)


def objective(
  controller: Controller,
  schedule: Schedule,
  architecture: Params,
  multiplier: Array,
  budget: Array | float,
  step: Array,
) -> jax.Array:
  """[] float32, what is added to the held-out loss; see the module's text."""
  excess = controller.excess(architecture, budget)
  price = jnp.asarray(multiplier) * excess
  price += 0.5 * schedule.penalty * jnp.square(jnp.maximum(excess, 0.0))
  return price + schedule.entropy_at(step) * controller.entropy(architecture)
