"""Parts that all searches share: a problem, and the functions that solve it.

A search is a handful of functions, as an optax optimizer is: `init` makes a
state, `step` replaces it, `decide` takes a scheme and its weights out of it.
How sizes are decided is a search's own affair.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal.checks import take_plain_ints
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.search.embeddings import DenseEmbedding, Embedding
from embedcomp.table.scheme import Scheme
from embedcomp.training.data_parallel import CompiledStep
from embedcomp.training.state import TrainState
from embedcomp.training.steps import Batch, Metrics
from embedcomp.types import Array, Params, PRNGKey

# Share of the steps in which the learning rate of weights rises.
WARMUP = 0.05

Sums = tuple[jax.Array, jax.Array, Metrics]
# (params, embed, batch, key) -> [] the mean loss of a batch; or the sum of
# losses, the sum of their weights, and a dict of sums to report, which is what
# batches of unequal weight want. Without a key there is no dropout.
LossFn = Callable[
  [chex.ArrayTree, Embedding, Batch, PRNGKey | None], jax.Array | Sums
]
# A sequence, taken in turns, or a function from the number of a step.
Batches = Sequence[Batch] | Callable[[int], Batch]


def as_sums(loss_fn: LossFn) -> Callable[..., Sums]:
  """Returns the loss as sums, with one weight for each example of a mean."""

  def sums(params, embed, batch, key):
    found = loss_fn(params, embed, batch, key)
    if isinstance(found, tuple):
      return found
    num_examples = np.float32(len(jax.tree.leaves(batch)[0]))
    return found * num_examples, jnp.asarray(num_examples), {}

  return sums


@dataclasses.dataclass(frozen=True, eq=False)
class SearchData:
  """Batches for a search, pytrees of arrays whose first axis is the examples'.

  Attributes:
    train: what weights learn from.
    held_out: what sizes learn from; no weight does.
  """

  train: Batches
  held_out: Batches

  def __post_init__(self) -> None:
    for name in ('train', 'held_out'):
      batches = getattr(self, name)
      if callable(batches):
        continue
      if isinstance(batches, Mapping) or not (
        hasattr(batches, '__len__') and hasattr(batches, '__getitem__')
      ):
        raise TypeError(
          f'{name} must be a sequence of batches or a function from a step to '
          f'its batch, got {type(batches).__name__}; make an iterator a list.'
        )
      if not len(batches):
        raise ValueError(f'{name} must hold at least one batch, got none.')

  def some(self, num: int) -> list[Batch]:
    """Returns up to so many training batches, spread over all there are."""
    if callable(self.train):
      return [self.train(step) for step in range(num)]
    rows = np.linspace(0, len(self.train) - 1, num).round().astype(int)
    return [self.train[row] for row in np.unique(rows).tolist()]


def batch_at(batches: Batches, step: int) -> Batch:
  """Returns the batch of a step."""
  return batches(step) if callable(batches) else batches[step % len(batches)]


@dataclasses.dataclass(frozen=True, eq=False)
class SearchProblem:
  """A model whose table is to be compressed, and its data.

  Attributes:
    loss_fn: see `LossFn`.
    params: pytree of floats, of the model but for its table.
    table: [V, D] float.
    data: to learn from.
    counts: [V] how often each id occurs in the training data.

  Raises:
    TypeError: for params that are not floats, or another loss.
    ValueError: naming the value and the rule that it breaks.
  """

  loss_fn: LossFn
  params: chex.ArrayTree
  table: Array
  data: SearchData
  counts: Array

  def __post_init__(self) -> None:
    WeightedTable.create(self.table, self.counts)  # raises
    for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
      if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        raise TypeError(
          'params must be floats, which a gradient moves, got '
          f'{jnp.result_type(leaf)} at {jax.tree_util.keystr(path)}; close '
          'loss_fn over what is not trained.'
        )
    for name in ('train', 'held_out'):
      batch = batch_at(getattr(self.data, name), 0)
      leaves = jax.tree.leaves(batch)
      if not leaves or np.ndim(leaves[0]) == 0:
        raise ValueError(
          f'batches of {name} must hold arrays whose first axis is that of the '
          'examples.'
        )
      for key in (jax.random.key(0), None):
        self._check_loss(batch, key)

  def _check_loss(self, batch: Batch, key: PRNGKey | None) -> None:
    def sums(params, table, batch):
      embed = DenseEmbedding(table)
      return as_sums(self.loss_fn)(params, embed, batch, key)

    arguments = (self.params, np.asarray(self.table), batch)
    loss, *_ = jax.eval_shape(sums, *arguments)
    if loss.shape or not jnp.issubdtype(loss.dtype, jnp.floating):
      raise TypeError(
        'loss_fn must return one float, the mean loss of a batch, or (sum, '
        f'weight, dict of sums), got {loss.dtype}{list(loss.shape)}.'
      )

  @property
  def dense_bytes(self) -> int:
    """Bytes of the table as it is; float64 counts as float32."""
    table = np.asarray(self.table)
    return table.size * min(table.itemsize, 4)


class Decision(NamedTuple):
  """A scheme, and weights to go on training with.

  Attributes:
    scheme: of the table.
    table: its params in trainable form.
    params: of the rest of the model.
  """

  scheme: Scheme
  table: Params
  params: chex.ArrayTree


class Searcher(Protocol):
  """A search that is set up for a problem.

  Attributes:
    num_steps: how many it wants; 0 decides from what was measured alone.
    refresh_every: steps from one `refresh` to the next.
  """

  @property
  def num_steps(self) -> int: ...

  @property
  def refresh_every(self) -> int: ...

  def init(self, key: PRNGKey, budget: float | int | str) -> TrainState:
    """Returns the state before the first step, for a budget."""

  def step(
    self,
    state: TrainState,
    batch: Batch,
    held_out_batch: Batch,
    axis_name: str | None = None,
  ) -> tuple[TrainState, Metrics]:
    """Takes a step; pure, to be compiled, `axis_name` that of `jax.pmap`."""

  def refresh(self, state: TrainState) -> TrainState:
    """Does what a search has to do between steps, outside of `jax.jit`."""

  def decide(self, state: TrainState, budget: float | int | str) -> Decision:
    """Takes a scheme within any budget out of a state, and its weights."""

  def embedding(self, state: TrainState) -> Embedding:
    """Returns the table of a state before anything is decided."""

  def expected_bytes(self, state: TrainState) -> float:
    """Returns the bytes that a state amounts to before that."""


@dataclasses.dataclass(frozen=True)
class Finetuning:
  """Training of a decided scheme with the rest of the model.

  Attributes:
    num_steps: 0 leaves the weights as they were carried over.
    learning_rate: the highest, of Adam; warm-up, then linearly to zero.
  """

  num_steps: int = 1000
  learning_rate: float = 1e-3

  def __post_init__(self) -> None:
    take_plain_ints(self)
    if type(self.num_steps) is not int or self.num_steps < 0:
      raise ValueError(
        f'num_steps must be an int from 0 on, got {self.num_steps!r}.'
      )
    if not self.learning_rate > 0:
      raise ValueError(
        f'learning_rate must be positive, got {self.learning_rate!r}.'
      )


class SearcherConfig(Protocol):
  """The plan of a search, whatever it searches; see `set_up`.

  Attributes:
    seed: of all that is random.
    finetuning: what follows the decision.
  """

  @property
  def seed(self) -> int: ...

  @property
  def finetuning(self) -> Finetuning: ...

  def smallest_bytes(self, vocab_size: int, features: int) -> int:
    """Returns the smallest size that a table can be given."""


@functools.singledispatch
def set_up(
  config: SearcherConfig, problem: SearchProblem, *, progress: bool = True
) -> Searcher:
  """Does the work that the searches of a problem for all budgets share.

  Args:
    config: the plan, whose type tells the search: `SearchConfig`.
    problem: to solve.
    progress: whether to show progress bars.

  Returns:
    The search.

  Raises:
    TypeError: for a plan of no known search.
  """
  raise TypeError(
    f'config must be a SearchConfig, got {type(config).__name__}.'
  )


class RefreshedStep:
  """A compiled step of a search that refreshes its state between steps."""

  def __init__(self, step: CompiledStep, searcher: Searcher):
    self._step, self._searcher = step, searcher
    self._next: int | None = None
    self.place, self.shard = step.place, step.shard

  def __call__(
    self, state: TrainState, *batches: Batch
  ) -> tuple[TrainState, Metrics]:
    if self._next is None:
      self._next = int(state.step)  # the only time that it is waited for
    if self._next and self._next % self._searcher.refresh_every == 0:
      state = self.refresh(state)
    self._next += 1
    return self._step(state, *batches)

  def refresh(self, state: TrainState) -> TrainState:
    """Returns the refreshed state, on all devices."""
    return self.place(self._searcher.refresh(state))
