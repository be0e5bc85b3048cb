"""A table's scheme and weights, learned with the user's own loss.

A search is set up (words and options are measured), takes its steps, decides
for a scheme within the budget, and the scheme is fine-tuned together with the
rest of the model. People with a training loop of their own take the functions
of `embedcomp.search.Searcher` instead.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal.timer import Timer
from embedcomp.compression import frequency
from embedcomp.compression.budget import parse_budget
from embedcomp.methods.forms import merge_params, split_params
from embedcomp.search.embeddings import CompressedEmbedding
from embedcomp.search.search_config import SearchConfig
from embedcomp.search.searcher import (
  WARMUP,
  Decision,
  LossFn,
  RefreshedStep,
  SearchData,
  Searcher,
  SearcherConfig,
  SearchProblem,
  as_sums,
  batch_at,
  set_up,
)
from embedcomp.table import group_params, read
from embedcomp.table.scheme import Scheme
from embedcomp.training import data_parallel, loop, optimizers, steps
from embedcomp.training.state import TrainState
from embedcomp.types import Array, Params

# Lines of metrics that a phase leaves.
_NUM_LINES = 50
# Weight of what methods with learned codes want added to a loss.
_COMMITMENT = 0.25


@dataclasses.dataclass(frozen=True, eq=False)
class Searched:
  """A search after its last step, which serves all budgets.

  Attributes:
    problem: that was solved.
    config: of the search.
    searcher: that was set up; its `decide(state, budget)` takes schemes out,
      weights as they are carried over.
    state: after the last step.
    history: metrics by `phase` and `step`, means over some steps each.
    seconds: by phase.
  """

  problem: SearchProblem
  config: SearcherConfig
  searcher: Searcher
  state: TrainState
  history: list[dict[str, Any]]
  seconds: dict[str, float]

  def at(
    self, budget: float | int | str, *, progress: bool = True
  ) -> 'SearchResult':
    """Decides for a budget and fine-tunes.

    Args:
      budget: as for `learn`.
      progress: whether to show progress bars.

    Returns:
      The result for that budget.
    """
    timer = Timer()
    timer.seconds.update(self.seconds)
    size = _parsed(budget, self.problem, self.config)
    decision = timer.time('decide', self.searcher.decide, self.state, size)
    table, params, lines = timer.time(
      'finetune', _finetune, decision, self.problem, self.config, progress
    )
    return SearchResult(
      scheme=decision.scheme,
      table=table,
      params=params,
      history=self.history + lines,
      seconds=timer.seconds,
      expected_bytes=self.searcher.expected_bytes(self.state),
      searched=self,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResult:
  """A scheme within a budget and its weights, with what led to them.

  Attributes:
    scheme: of the table.
    table: its params in stored form, for `lookup`, `GroupedEmbed` and `save`.
    params: of the rest of the model.
    history: metrics by `phase` and `step`, means over some steps each.
    seconds: by phase.
    expected_bytes: of the search before it was made discrete.
    searched: the search, whose `at(budget)` serves other budgets.
  """

  scheme: Scheme
  table: Params
  params: chex.ArrayTree
  history: list[dict[str, Any]]
  seconds: dict[str, float]
  expected_bytes: float
  searched: Searched

  @property
  def num_bytes(self) -> int:
    """Bytes of the table, exactly; never above the budget."""
    return self.scheme.num_bytes


def learn(
  loss_fn: LossFn,
  params: chex.ArrayTree,
  table: Array,
  data: SearchData,
  counts: Array,
  budget: float | int | str,
  config: SearcherConfig | None = None,
  *,
  progress: bool = True,
) -> SearchResult:
  """Learns the scheme and the weights of an embedding table for a budget.

  Start from a trained model. It is searched on one device; see `Searcher` for
  steps to be compiled otherwise.

  Args:
    loss_fn: `loss_fn(params, embed, batch, key)` gives the mean loss of a
      batch, a float. `embed(ids)` looks words up, `embed.attend(hidden)` scores
      all of them; a linen model takes `EmbedModule(embed)` in the place of its
      `nn.Embed`. `key` is for dropout; None asks for none.
    params: pytree of floats, all params of the model but for its table.
    table: [V, D] float, a row for each id.
    data: batches to train on and held-out ones, see `SearchData`.
    counts: [V] how often each id occurs in the training data, in any order:
      ids stay the caller's own, and a scheme stores their order if it must.
    budget: largest size of the table, as for `embedcomp.compress`: a share of
      the dense table, bytes, or a factor (`'40x'`). Never exceeded.
    config: plan of the search, `SearchConfig()` if not given.
    progress: whether to show progress bars.

  Returns:
    The scheme, the weights, and what happened; equal inputs give equal results.

  Raises:
    TypeError: for arguments of another kind.
    ValueError: naming the value and the rule that it breaks; before any work.
    NonFiniteLossError: if training diverges.
  """
  config = SearchConfig() if config is None else config
  problem = SearchProblem(loss_fn, params, table, data, counts)
  if set_up.dispatch(type(config)) is set_up.dispatch(object):
    set_up(config, problem)  # refuses what is no config
  size = _parsed(budget, problem, config)
  timer = Timer()
  searcher = timer.time('measure', set_up, config, problem, progress=progress)
  state, history = timer.time(
    'search', _search, searcher, config.seed, size, problem, progress
  )
  searched = Searched(problem, config, searcher, state, history, timer.seconds)
  return searched.at(size, progress=progress)


def _parsed(
  budget: float | int | str, problem: SearchProblem, config: SearcherConfig
) -> int:
  """Bytes of a budget that something fits into."""
  size = parse_budget(budget, problem.dense_bytes)
  smallest = config.smallest_bytes(*np.shape(problem.table))
  if size < smallest:
    raise ValueError(
      f'budget must be at least the {smallest} bytes of the smallest scheme, '
      f'got {budget!r}, {size} bytes.'
    )
  return size


class _History:
  """A log in memory, with the face of `training.MetricsLog`."""

  def __init__(self, phase: str):
    self._phase = phase
    self.lines: list[dict[str, Any]] = []

  def resume(self, step: int) -> None:
    """Nothing was logged before."""

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Keeps a line."""
    self.lines.append({'phase': self._phase, 'step': step, **metrics})


def _run(phase, step, state, make_batches, num_steps, progress):
  """Runs a phase; returns the state and lines of metrics."""
  history = _History(phase)
  every = max(1, num_steps // _NUM_LINES)

  def describe(metrics):
    return f'{phase}, {loop.in_words(metrics)}'

  state = loop.run(
    step,
    state,
    make_batches,
    loop.Cadence(num_steps, log_every=every, checkpoint_every=every),
    log=history,
    describe=describe if progress else None,
  )
  return state, history.lines


class _OneDevice:
  """A compiled step on one device, which takes batches of any form."""

  def __init__(self, step: Callable[..., Any]):
    mesh = data_parallel.data_mesh(jax.devices()[:1])
    self._step = data_parallel.jit_step(step, mesh)
    self.place = self._step.place

  def __call__(self, state: TrainState, *batches: steps.Batch):
    return self._step(state, *batches)

  def shard(self, batch: steps.Batch) -> steps.Batch:
    """Makes arrays of a batch."""
    return jax.tree.map(jnp.asarray, batch)


def _search(searcher: Searcher, seed: int, size: int, problem, progress):
  """Takes all steps of a search."""
  state = searcher.init(jax.random.key(seed), size)
  if not searcher.num_steps:
    return state, []
  data = problem.data
  step = RefreshedStep(_OneDevice(searcher.step), searcher)
  state, lines = _run(
    'search',
    step,
    state,
    lambda i: (batch_at(data.train, i), batch_at(data.held_out, i)),
    searcher.num_steps,
    progress,
  )
  return step.refresh(state), lines


def _finetune(
  decision: Decision, problem: SearchProblem, config: SearcherConfig, progress
) -> tuple[Params, chex.ArrayTree, list[dict[str, Any]]]:
  """Trains a scheme with its model; returns the table as it is stored."""
  scheme, plan = decision.scheme, config.finetuning
  if not plan.num_steps:
    return (
      group_params.quantize_params(scheme, decision.table),
      decision.params,
      [],
    )
  counts = frequency.check_counts(problem.counts)
  share = jnp.asarray(counts / counts.sum(), jnp.float32)
  trainable, stored = split_params(decision.table)
  loss_of_table = as_sums(problem.loss_fn)

  def loss_fn(params, buffers, batch, key):
    table = merge_params(params['embedder'], buffers)
    embed = CompressedEmbedding(scheme, table)
    loss, weight, metrics = loss_of_table(params['model'], embed, batch, key)
    terms = read.commitment(scheme, table, jnp.arange(scheme.vocab_size))
    if terms is not None:
      loss += _COMMITMENT * weight * (share @ terms)
    return loss, weight, metrics

  optimizer = optimizers.adam(plan.learning_rate, plan.num_steps, warmup=WARMUP)
  state = TrainState.create(
    {'model': decision.params, 'embedder': trainable},
    optimizer,
    jax.random.fold_in(jax.random.key(config.seed), 1),
    buffers=stored,
  )
  state, lines = _run(
    'finetune',
    _OneDevice(steps.make_train_step(loss_fn, optimizer)),
    state,
    lambda i: (batch_at(problem.data.train, i),),
    plan.num_steps,
    progress,
  )
  table = merge_params(state.params['embedder'], state.buffers)
  return (
    group_params.quantize_params(scheme, table),
    state.params['model'],
    lines,
  )
