"""The search among options: splits, sizes and methods, learned with the task.

Gradients of a dense model say how much the task needs each word: words are
sorted by that, and options are measured on runs of them. From this prior the
logits of splits and options start; they learn from held-out data, while a
supernet learns to live with what they draw. Dynamic programming decides by
prior and logits, and the supernet's weights carry over into the scheme.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from embedcomp.compression import fitting, frequency
from embedcomp.compression.budget import parse_budget
from embedcomp.compression.distortion import measure_segments
from embedcomp.compression.rate_distortion import RateDistortionCurve
from embedcomp.compression.space import SearchSpace
from embedcomp.compression.weighted_table import WeightedTable
from embedcomp.methods.forms import Stored
from embedcomp.search import discretize
from embedcomp.search import step as step_lib
from embedcomp.search.controller import Controller
from embedcomp.search.embeddings import (
  DenseEmbedding,
  Embedding,
  SupernetEmbedding,
)
from embedcomp.search.prior import Prior
from embedcomp.search.search_config import SearchConfig
from embedcomp.search.searcher import (
  WARMUP,
  Decision,
  LossFn,
  SearchProblem,
  Sums,
  as_sums,
  set_up,
)
from embedcomp.search.sensitivity import Sensitivity, measure_sensitivity
from embedcomp.search.supernet import Supernet
from embedcomp.table import group_params
from embedcomp.table.scheme import Scheme
from embedcomp.training import optimizers
from embedcomp.training.state import TrainState
from embedcomp.types import Params, PRNGKey


@dataclasses.dataclass(frozen=True, eq=False)
class StartingPoint:
  """A dense model, and what is known of its words.

  Attributes:
    params: of the model but for its table.
    table: [V, D] float.
    importance: [V] positive, what errors of each id weigh.
    mass: [V] what the word at each rank counts for in dividing ranks into bins.
    ids: [V] the id at each rank; None if ids are ranks.
  """

  params: chex.ArrayTree
  table: np.ndarray
  importance: np.ndarray
  mass: np.ndarray
  ids: np.ndarray | None = None

  @functools.cached_property
  def words(self) -> WeightedTable:
    """The table in the order of the ranks."""
    words = WeightedTable.create(self.table, importance=self.importance)
    if self.ids is None:
      return words.in_id_order()
    return dataclasses.replace(words, ids=self.ids, order='stored')

  @functools.cached_property
  def ranks(self) -> np.ndarray | None:
    """[V] int32 rank of each id; None if ids are ranks."""
    return None if self.ids is None else np.argsort(self.ids).astype(np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class OptionSearch:
  """A search among options that is set up; a `Searcher`.

  Attributes:
    config: of the search.
    loss_fn: as sums, see `searcher.as_sums`.
    start: the dense model.
    controller: of the logits of splits and options.
    supernet: of the weights; None if the prior decides alone.
    prior: measured options, if there are any.
    weights_optimizer: of model and supernet, `{'model': ..., 'embedder': ...}`.
  """

  config: SearchConfig
  loss_fn: Callable[..., Sums]
  start: StartingPoint
  controller: Controller
  supernet: Supernet | None
  prior: Prior | None
  weights_optimizer: optax.GradientTransformation

  @classmethod
  def build(
    cls,
    loss_fn: LossFn,
    start: StartingPoint,
    config: SearchConfig,
    *,
    weights_optimizer: optax.GradientTransformation | None = None,
    progress: bool = True,
  ) -> 'OptionSearch':
    """Measures options on a table; `set_up` measures its words before that.

    Args:
      loss_fn: see `searcher.LossFn`.
      start: the dense model.
      config: of the search.
      weights_optimizer: of `{'model': params, 'embedder': supernet}`; Adam as
        the config says if not given.
      progress: whether to show progress bars.
    """
    space = search_space(start, config)
    prior = supernet = None
    if config.score != 'learned':
      segments = measure_segments(
        start.words, space, seed=config.seed, progress=progress
      )
      curve = RateDistortionCurve(start.words, space, segments, config.seed)
      prior = Prior(curve, config.prior)
    if config.score != 'prior':
      supernet = Supernet(space, space.features)
    if weights_optimizer is None:
      weights_optimizer = optimizers.adam(
        config.weights_learning_rate, config.schedule.num_steps, warmup=WARMUP
      )
    controller = Controller(space, config.learn_splits)
    sums = as_sums(loss_fn)
    return cls(
      config, sums, start, controller, supernet, prior, weights_optimizer
    )

  @property
  def num_steps(self) -> int:
    """Steps of the search; 0 where the prior decides alone."""
    return self.config.schedule.num_steps if self.supernet is not None else 0

  @property
  def refresh_every(self) -> int:
    """Steps between two assignments of codes."""
    return self.config.refresh_every

  @functools.cached_property
  def _optimizer(self) -> optax.GradientTransformationExtraArgs:
    # A large eps, or vanished gradients still move logits by whole steps.
    logits = optax.adam(self.config.learning_rate, b1=0.5, eps=0.01)
    return step_lib.make_optimizer(self.weights_optimizer, logits)

  def init(self, key: PRNGKey, budget: float | int | str) -> TrainState:
    """Returns the state before the first step.

    Args:
      key: typed, of all noise of the search.
      budget: a share of the dense table, bytes or a factor, see
        `embedcomp.compress`.

    Returns:
      A state whose params are `weights`, those of `model` and of the supernet
      as `embedder`, and logits as `architecture`.
    """
    size = parse_budget(budget, self.controller.space.dense_bytes)
    logits = self.controller.init()
    if self.prior is not None:
      logits = jax.tree.map(jnp.asarray, self.prior.logits(size))
    weights: Params = {'model': self.start.params}
    buffers: Params = {}
    if self.supernet is not None:
      if self.config.start == 'noise':
        embedder, _ = self.supernet.init(jax.random.fold_in(key, 1))
        codes = self.supernet.refresh(embedder)
      else:
        embedder, codes = self.supernet.from_table(*self._by_rank())
      weights['embedder'], buffers['embedder'] = embedder, codes
      if self.start.ranks is not None:
        buffers['ranks'] = jnp.asarray(self.start.ranks)
    return TrainState.create(
      {step_lib.WEIGHTS: weights, step_lib.ARCHITECTURE: logits},
      self._optimizer,
      key,
      buffers=buffers,
      extra={**step_lib.init_search_state(size), 'first_logits': logits},
    )

  def _by_rank(self) -> tuple[np.ndarray, np.ndarray]:
    """The table and the importance of its words by rank."""
    table, importance = np.asarray(self.start.table), self.start.importance
    if self.start.ids is None:
      return table, importance
    return table[self.start.ids], importance[self.start.ids]

  @functools.cached_property
  def step(self) -> Callable[..., Any]:
    """A pure `step(state, batch, held_out_batch, axis_name=None)`."""
    if self.supernet is None:
      raise ValueError("score='prior' has no steps to take: decide at once.")

    def loss_fn(weights, buffers, mixture, batch, key):
      embed = self._embedding(weights, buffers, mixture)
      return self.loss_fn(weights['model'], embed, batch, key)

    return step_lib.make_search_step(
      loss_fn, self._optimizer, self.controller, self.config.schedule
    )

  def _embedding(self, weights, buffers, mixture) -> SupernetEmbedding:
    assert self.supernet is not None  # else there is no mixture
    return SupernetEmbedding(
      self.supernet,
      weights['embedder'],
      buffers['embedder'],
      mixture,
      buffers.get('ranks'),
    )

  def refresh(self, state: TrainState) -> TrainState:
    """Assigns codes to the present weights, on the host."""
    if self.supernet is None:
      return state
    weights = jax.device_get(state.params[step_lib.WEIGHTS]['embedder'])
    codes = self.supernet.refresh(weights, state.buffers['embedder'])
    return state.replace(buffers={**state.buffers, 'embedder': codes})

  def probabilities(self, state: TrainState) -> Params:
    """Returns the probabilities of splits and options."""
    return self.controller.probabilities(state.params[step_lib.ARCHITECTURE])

  def embedding(self, state: TrainState) -> Embedding:
    """Returns the expected table, the average over all options."""
    if self.supernet is None:
      return DenseEmbedding(self.start.table)
    mixture = self.controller.mixture(self.probabilities(state))
    weights = state.params[step_lib.WEIGHTS]
    return self._embedding(weights, state.buffers, mixture)

  def expected_bytes(self, state: TrainState) -> float:
    """Returns the bytes of a state on average over its probabilities."""
    return float(self.controller.expected_bytes(self.probabilities(state)))

  def evidence(self, state: TrainState) -> np.ndarray:
    """Returns [B, O], the log-probabilities learned beyond the prior."""
    logits = jax.device_get(state.params[step_lib.ARCHITECTURE])
    learned = self.controller.log_probs(logits)
    if self.prior is None:
      return learned
    first = jax.device_get(state.extra['first_logits'])
    return learned - self.controller.log_probs(first)

  def scheme(self, state: TrainState, budget: float | int | str) -> Scheme:
    """Returns the scheme that is decided for.

    What logits have learned counts less for other budgets than theirs, in
    proportion.
    """
    space = self.controller.space
    size = parse_budget(budget, space.dense_bytes)
    evidence = self.evidence(state)
    if self.prior is None:
      if self.config.discretize == 'argmax':
        return discretize.decide_greedily(space, evidence, size)
      return discretize.decide(
        space, -evidence, size, merge_bins=self.config.learn_splits
      )
    own = float(state.extra['budget'])
    share = min(np.float32(size) / own, own / np.float32(size))
    learned = -evidence * share * self.prior.temperature(size)
    return self.prior.curve.adjusted(learned).scheme(size)

  def decide(self, state: TrainState, budget: float | int | str) -> Decision:
    """Takes a scheme within any budget out of a state, and its weights."""
    scheme = self.scheme(state, budget)
    if self.config.carry == 'dense':
      stored = fitting.fit_groups(
        self.start.words, scheme, seed=self.config.seed, progress=False
      )
      return Decision(
        scheme,
        group_params.dequantize_params(scheme, stored),
        self.start.params,
      )
    weights = jax.device_get(state.params[step_lib.WEIGHTS])
    table = self._extract(weights['embedder'], scheme)
    return Decision(scheme, jax.tree.map(jnp.asarray, table), weights['model'])

  def _extract(self, embedder: Params, scheme: Scheme) -> Params:
    """The supernet's weights of a scheme, ids sorted inside each group."""
    assert self.supernet is not None  # that is whose `embedder` it is
    importance, seed = self.start.importance, self.config.seed
    if self.start.ids is None or self.start.ranks is None:
      return self.supernet.extract(embedder, scheme, importance, seed)
    ids = np.concatenate(
      [
        np.sort(self.start.ids[start:stop])
        for start, stop in itertools.pairwise(scheme.splits)
      ]
    )
    rows = embedder['coefficients'][self.start.ranks[ids]]
    table = self.supernet.extract(
      {**embedder, 'coefficients': rows}, scheme, importance[ids], seed
    )
    if scheme.order == 'stored':
      table['order'] = Stored(jnp.asarray(np.argsort(ids), jnp.int32))
    return table


def search_space(start: StartingPoint, config: SearchConfig) -> SearchSpace:
  """Returns the bins and options that a config allows for a table."""
  vocab_size, features = start.table.shape
  smallest = min(config.smallest_bin, vocab_size)
  return SearchSpace(
    features,
    frequency.log_bins(start.mass, config.num_bins, min_size=smallest),
    config.options_for(vocab_size, features),
    config.max_groups if config.learn_splits else config.num_bins,
    start.words.order,
    start.words.dtype,
  )


@set_up.register
def _(
  config: SearchConfig, problem: SearchProblem, *, progress: bool = True
) -> OptionSearch:
  counts = frequency.check_counts(problem.counts)
  table = np.asarray(problem.table)
  ids, importance, mass = frequency.rank_order(counts), counts + 1, None
  if config.start == 'dense':
    sensitivity = _sensitivity(config, problem, counts, progress)
    importance = sensitivity.importance
    if config.order == 'sensitivity':
      ids = sensitivity.order()
      mass = sensitivity.drops[ids]
  start = StartingPoint(
    problem.params,
    table,
    importance,
    counts[ids] if mass is None else mass,
    None if (np.diff(ids) > 0).all() else ids,
  )
  return OptionSearch.build(problem.loss_fn, start, config, progress=progress)


def _sensitivity(
  config: SearchConfig, problem: SearchProblem, counts: np.ndarray, progress
) -> Sensitivity:
  """Measures what words are worth, unless counts say all of it."""
  if config.by_counts == 1:
    return Sensitivity(counts + 1, counts + 1)

  def log_likelihood_fn(params, embed, batch, key):
    del key  # without one there is no dropout
    loss, weight, _ = as_sums(problem.loss_fn)(params, embed, batch, None)
    return -loss, weight

  batches = problem.data.some(config.measured_batches)
  sensitivity, seen = measure_sensitivity(
    config.log_likelihood_fn or log_likelihood_fn,
    problem.params,
    table=np.asarray(problem.table),
    batches=batches,
    counts=counts,
    seed=config.seed,
    progress=progress,
  )
  if not sensitivity.drops.any():
    raise ValueError(
      'loss_fn must depend on the words of its batches, but no gradient '
      'reaches them: look them up with embed(ids).'
    )
  if callable(problem.data.train) or len(batches) < len(problem.data.train):
    # What the counts do not know, such as padding, was not seen either.
    seen = np.where(counts > 0, seen, 0)
    sensitivity = sensitivity.extrapolate(seen, counts)
  return sensitivity.blended(counts + 1, config.by_counts)
