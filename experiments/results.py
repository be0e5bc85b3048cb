"""Parts of every strategy: a dense model, a fit, the final training."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import embedcomp
from embedcomp import methods
from embedcomp._internal.timer import Timer
from embedcomp.nn import GroupedEmbed, to_params, to_variables
from embedcomp.table.scheme import Scheme
from embedcomp.types import Params
from experiments.trainer import Trainer, Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
  """Result of a strategy.

  Attributes:
    trainer: of the final model, whose words may have other ids than others'.
    embedder: of the final model.
    variables: of the final model, its table as it is stored.
    scheme: of the table; None if it is dense.
    seconds: by training phase.
    notes: figures of the strategy's own, for its row.
  """

  trainer: Trainer
  embedder: nn.Module
  variables: Variables
  scheme: Scheme | None
  seconds: dict[str, float]
  notes: dict[str, Any] = dataclasses.field(default_factory=dict)

  def evaluate(self, split: str) -> dict[str, float]:
    """Loss and metric on a split."""
    return self.trainer.evaluate(self.embedder, self.variables, split)


def dense(
  trainer: Trainer, stage: str = 'dense', batches: Any = None
) -> Outcome:
  """The model with its table as it is; made once, see `Trainer.models`.

  Args:
    trainer: of the experiment.
    stage: name, for files and progress.
    batches: to train on; all training data if not given.
  """
  problem, key = trainer.problem, (trainer.problem, stage, batches)
  embedder = nn.Embed(problem.vocab_size, problem.features)
  if key not in trainer.models:
    timer = Timer()
    job = trainer.plan_training(stage, embedder, batches=batches)
    variables = timer.time(stage, trainer.train, job)
    trainer.models[key] = variables, timer.seconds
  variables, seconds = trainer.models[key]
  return Outcome(trainer, embedder, variables, None, dict(seconds))


def untrained(trainer: Trainer) -> Outcome:
  """The dense model as it is before any training."""
  problem = trainer.problem
  embedder = nn.Embed(problem.vocab_size, problem.features)
  variables = trainer.init(problem.task(embedder))
  return Outcome(trainer, embedder, variables, None, {})


def final(
  trainer: Trainer,
  scheme: Scheme,
  timer: Timer,
  variables: Variables | None = None,
  notes: dict[str, Any] | None = None,
  suffix: str = '',
) -> Outcome:
  """Trains a scheme, from carried-over variables or noise, and rounds it."""
  embedder, config = GroupedEmbed(scheme), trainer.config
  started = {}
  if variables is not None:
    started = {
      'variables': variables,
      'epochs': config.finetune.epochs,
      'learning_rate': config.finetune.learning_rate,
    }
  stage = ('finetune' if started else 'train') + suffix
  job = trainer.plan_training(stage, embedder, **started)
  trained = timer.time(stage, trainer.train, job)
  embedder, stored = with_table(trained, scheme, stored_table(scheme, trained))
  return Outcome(trainer, embedder, stored, scheme, timer.seconds, notes or {})


def fitted(
  trainer: Trainer, start: Outcome, scheme: Scheme
) -> tuple[GroupedEmbed, Variables]:
  """A dense model whose table is stored by a scheme, before fine-tuning."""
  params = embedcomp.fit(
    np.asarray(start.variables['params']['embedder']['embedding']),
    scheme,
    importance=trainer.problem.importance,
    seed=trainer.config.seed,
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
