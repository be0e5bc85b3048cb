"""MiniLM-L6 with recursive attention, taught by itself with dense attention.

Documents of 20 Newsgroups of 2,048 word pieces and more, cut there, positions
interpolated for both; no label is read. What is compared, on test documents, is
the last hidden states (norm of the difference over the norm of the teacher's)
and the mean of them all.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from configs import bert_distil
from embedcomp.nn.bert.outputs import OUTPUTS_COLLECTION, ModelOutputs
from experiments import strategies
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import make_problem
from experiments.results import Outcome
from experiments.trainer import Trainer, steps_of

SEEDS = 1
_LENGTH, _BATCH_SIZE, _BATCHES = 2048, 4, 10
# Chunks and summaries, by label.
_SIZES: Mapping[str, tuple[int, int]] = {
  'recursive, C = 256': (256, 16),
  'recursive, C = 128': (128, 16),
}


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each size of chunks and seed.

  Args:
    smoke: whether to use a tiny BERT of random weights and short texts.
    seeds: of the order of documents.
  """
  sizes = {'recursive, C = 8': (8, 4)} if smoke else _SIZES
  return [
    Job(f'{label} {seed}', functools.partial(_run, smoke, label, size, seed))
    for seed in range(seeds)
    for label, size in sizes.items()
  ]


def _config(smoke: bool, size: tuple[int, int], seed: int) -> ConfigDict:
  config = bert_distil.get_config('long')
  length = 128 if smoke else _LENGTH
  chunk_size, num_summaries = size
  config.update_from_flattened_dict(
    {
      'seed': seed,
      'bert.chunk_size': chunk_size,
      'bert.num_summaries': num_summaries,
      'bert.max_length': length,
      'bert.positions': 'interpolated',
      'distil.attention': 'dense',
      'distil.positions': 'interpolated',
      'data.min_pieces': length,
      'data.buckets': (length,),
      'optim.batch_size': _BATCH_SIZE,
    }
  )
  if smoke:
    config.update_from_flattened_dict(
      {
        'bert.path': 'tiny',
        'data.name': 'r8',
        'data.max_documents': 64,
        'optim.learning_rate': 1e-3,
      }
    )
  return config


def _run(smoke: bool, label: str, size, seed: int) -> list[Row]:
  """A row before distillation, and one after it."""
  config = _config(smoke, size, seed)
  problem = make_problem(config, progress=False)
  rows = []
  for epochs in (0.0, config.optim.epochs):
    config = config.copy_and_resolve_references()
    config.optim.epochs = epochs
    outcome = strategies.dense(Trainer(problem, config, progress=False))
    rows += [
      {
        'attention': label,
        'seed': seed,
        'tokens': config.data.buckets[-1],
        'steps': steps_of(epochs, problem.train),
        'document': number,
        **found,
        'seconds': sum(outcome.seconds.values()),
      }
      for number, found in enumerate(_compared(outcome))
    ]
  return rows


def _compared(outcome: Outcome) -> list[Row]:
  """Measures the distance of student and teacher, by document."""
  problem = outcome.trainer.problem
  model = problem.task(outcome.embedder).model

  @jax.jit
  def apply(variables, ids):
    found = model.apply(variables, ids, mutable=[OUTPUTS_COLLECTION])
    return ModelOutputs.from_variables(*found)

  rows = []
  batches = problem.splits['test'].for_evaluation()
  for batch in itertools.islice(batches, _BATCHES):
    student, teacher = apply(outcome.variables, batch['ids']), batch['teacher']
    mask = jnp.asarray(batch['ids'] != problem.padding)[..., None]
    last = [mask * one.hidden_states[-1] for one in (student, teacher)]
    errors = _norms(last[0] - last[1]) / _norms(last[1])
    products = (student.output * teacher.output).sum(-1)
    cosines = products / _norms(student.output) / _norms(teacher.output)
    rows += [
      {'hidden_error': float(error), 'pooled_cosine': float(cosine)}
      for error, cosine, weight in zip(errors, cosines, batch['weights'])
      if weight
    ]
  return rows


def _norms(arrays: jax.Array) -> jax.Array:
  """[B] of all but the first axis."""
  return jnp.linalg.norm(arrays.reshape(len(arrays), -1), axis=1)


def summary(rows: Sequence[Row]) -> list[Row]:
  """Means and deviations over documents, before and after."""
  found: dict[tuple, list[Row]] = {}
  for row in rows:
    found.setdefault((row['attention'], row['steps']), []).append(row)
  return [
    {
      'attention': label,
      'tokens': f'{same[0]["tokens"]:,}',
      'steps': steps,
      'documents': len(same),
      **{
        field.replace('_', ' '): mean_and_deviation(
          [row[field] for row in same], 4
        )
        for field in ('hidden_error', 'pooled_cosine')
      },
      'seconds': round(same[0]['seconds']),
    }
    for (label, steps), same in found.items()
  ]
