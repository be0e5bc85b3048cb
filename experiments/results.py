"""What every strategy is made of: a dense model, a fit, the final training."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import embedcomp
from embedcomp import methods
from embedcomp.nn import GroupedEmbed, to_params, to_variables
from embedcomp.table.scheme import Scheme
from embedcomp.types import Params
from experiments.trainer import Stages, Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
  """What a strategy ends with.

  Attributes:
    stages: of the final model, whose words may have other ids than others'.
    embedder: of the final model.
    variables: of the final model, its table as it is stored.
    scheme: of the table; None if it is dense.
    seconds: by stage.
    notes: figures of the strategy's own, for its row.
  """

  stages: Stages
  embedder: nn.Module
  variables: Variables
  scheme: Scheme | None
  seconds: dict[str, float]
  notes: dict[str, Any] = dataclasses.field(default_factory=dict)

  def evaluate(self, split: str) -> dict[str, float]:
    """Loss and metric on a split."""
    return self.stages.evaluate(self.embedder, self.variables, split)


class Clock:
  """Seconds of stages."""

  def __init__(self):
    self.seconds: dict[str, float] = {}

  def copy(self) -> 'Clock':
    """A clock that goes on from here by itself."""
    clock = Clock()
    clock.seconds.update(self.seconds)
    return clock

  def time(self, stage: str, function: Callable, *args, **kwargs) -> Any:
    """Calls a function and adds the time to its stage."""
    start = time.monotonic()
    result = jax.block_until_ready(function(*args, **kwargs))
    spent = time.monotonic() - start
    self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
    return result


def dense(stages: Stages, stage: str = 'dense', batches: Any = None) -> Outcome:
  """The model with its table as it is; made once, see `Stages.models`.

  Args:
    stages: of the experiment.
    stage: name, for files and progress.
    batches: to train on; all training data if not given.
  """
  problem, key = stages.problem, (stages.problem, stage, batches)
  embedder = nn.Embed(problem.vocab_size, problem.features)
  if key not in stages.models:
    clock = Clock()
    work = stages.plan_training(stage, embedder, batches=batches)
    variables = clock.time(stage, stages.train, work)
    stages.models[key] = variables, clock.seconds
  variables, seconds = stages.models[key]
  return Outcome(stages, embedder, variables, None, dict(seconds))


def final(
  stages: Stages,
  scheme: Scheme,
  clock: Clock,
  variables: Variables | None = None,
  notes: dict[str, Any] | None = None,
  suffix: str = '',
) -> Outcome:
  """Trains a scheme, from carried-over variables or noise, and quantizes it."""
  embedder, config = GroupedEmbed(scheme), stages.config
  started = {}
  if variables is not None:
    started = {
      'variables': variables,
      'epochs': config.finetune.epochs,
      'learning_rate': config.finetune.learning_rate,
    }
  stage = ('finetune' if started else 'train') + suffix
  work = stages.plan_training(stage, embedder, **started)
  trained = clock.time(stage, stages.train, work)
  embedder, stored = with_table(trained, scheme, stored_table(scheme, trained))
  return Outcome(stages, embedder, stored, scheme, clock.seconds, notes or {})


def fitted(
  stages: Stages, start: Outcome, scheme: Scheme
) -> tuple[GroupedEmbed, Variables]:
  """A dense model whose table is stored by a scheme, before fine-tuning."""
  params = embedcomp.fit(
    np.asarray(start.variables['params']['embedder']['embedding']),
    scheme,
    importance=stages.problem.importance,
    seed=stages.config.seed,
    progress=False,
  )
  return with_table(
    start.variables, scheme, embedcomp.dequantize_params(scheme, params)
  )


def with_table(
  variables: Variables, scheme: Scheme, params: Params
) -> tuple[GroupedEmbed, Variables]:
  """A model whose embedder is a compressed table.

  Args:
    variables: of the model, around any embedder.
    scheme: of the table.
    params: of the scheme, either form.

  Returns:
    The embedder and the variables of the model around it.
  """
  table = jax.tree.map(jnp.asarray, params)
  model = {**to_params(variables), 'embedder': table}
  return GroupedEmbed(scheme), to_variables(model)


def groups_in_words(scheme: Scheme) -> str:
  """Sizes and methods of the groups of a scheme, for a row of figures."""
  return ', '.join(
    f'{group.size} {methods.describe(group.method)}' for group in scheme.groups
  )


def stored_table(scheme: Scheme, variables: Variables) -> Params:
  """The stored form of the table that a model was trained with."""
  table = {
    name: collection['embedder']
    for name, collection in variables.items()
    if 'embedder' in collection
  }
  return embedcomp.quantize_params(scheme, to_params(table))
