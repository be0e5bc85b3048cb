"""One experiment from its config to its files."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import embedcomp
from embedcomp import methods, training
from embedcomp.compression import parse_budget
from embedcomp.compression.space import SearchSpace
from embedcomp.io.files import write_atomically
from embedcomp.nn import to_params
from experiments import deciles, learned, model_sizes, report, strategies
from experiments.problems import make_problem
from experiments.results import Outcome
from experiments.trainer import Trainer, steps_of

# Shares of the dense table that a tolerance is looked for among.
_TOLERANCE_SIZES = np.geomspace(0.002, 0.5, 9)


def run(
  config: ConfigDict, workdir: str | Path, *, progress: bool = True
) -> dict[str, Any]:
  """Runs an experiment, or goes on with it.

  Args:
    config: see `configs/common.py`.
    workdir: where its files go.
    progress: whether to show progress.

  Returns:
    What `result.json` holds.

  Raises:
    ValueError: for a config that cannot be, or a workdir of another one.
    NonFiniteLossError: if training diverges.
    OSError: if files cannot be written.
  """
  workdir = training.bind_workdir(
    workdir, json.loads(config.to_json_best_effort())
  )
  start = time.monotonic()
  problem = make_problem(config, progress=progress)
  trainer = Trainer(problem, config, workdir, progress)
  if config.method.name not in strategies.STRATEGIES:
    raise ValueError(
      f'method.name must be one of {sorted(strategies.STRATEGIES)}, '
      f'got {config.method.name!r}.'
    )
  if not config.optim.table_rate >= 0:  # which else the last stage would find
    raise ValueError(
      f'optim.table_rate must not be negative, got {config.optim.table_rate}.'
    )
  if config.method.name in ('search', 'bins', 'random', 'tpe'):
    learned.search_config(trainer)  # which else the search would find
  is_dense = config.method.name == 'dense'
  needs_dense = config.compare_dense or config.tolerance is not None
  reference = None
  if needs_dense and not is_dense:
    reference = strategies.dense(trainer)
  if is_dense:
    outcome = strategies.dense(trainer)
  elif config.tolerance is not None:
    outcome = _within_tolerance(trainer, reference)
  else:
    budget = parse_budget(config.budget, problem.dense_bytes)
    outcome = _compressed(trainer, budget)
  result = summary(outcome, reference)
  result['seconds'] = time.monotonic() - start
  result['command'] = ' '.join(['python -m experiments.main', *sys.argv[1:]])
  _write_files(workdir, outcome, reference, result)
  report.write_report(workdir)
  return result


def _compressed(trainer: Trainer, budget: int) -> Outcome:
  """The outcome of a strategy; a search leaves its history."""
  name = trainer.config.method.name
  if name not in ('search', 'bins'):
    return strategies.STRATEGIES[name](trainer, budget)
  return _searched(trainer, budget).finish()


def _searched(trainer: Trainer, budget: int) -> learned.Search:
  history = trainer.workdir / 'architecture.jsonl'
  lines: dict[int, str] = {}
  if history.exists():  # before a restart: what is not repeated is kept
    for line in history.read_text().splitlines():
      lines[json.loads(line)['step']] = line

  def keep(controller, step, architecture):
    probabilities = jax.device_get(controller.probabilities(architecture))
    splits = probabilities.get('splits')
    lines[step] = json.dumps(
      {
        'step': step,
        'mixture': np.asarray(controller.mixture(probabilities)).tolist(),
        'splits': None if splits is None else splits.tolist(),
        'expected_bytes': float(controller.expected_bytes(probabilities)),
      }
    )
    text = '\n'.join(lines[s] for s in sorted(lines)) + '\n'
    write_atomically(history, text.encode())

  is_search = trainer.config.method.name == 'search'
  setup = learned.set_up(trainer, learn_splits=is_search)
  space = _space(setup.searcher.controller.space, budget)
  _write_json(trainer.workdir / 'space.json', space)
  return setup.learn(budget, keep)


def _space(space: SearchSpace, budget: int) -> dict[str, Any]:
  return {
    'bins': list(space.bins),
    'options': [methods.describe(option) for option in space.options],
    'bytes_per_word': space.bytes_per_word.tolist(),
    'budget': budget,
  }


def _within_tolerance(trainer: Trainer, reference: Outcome) -> Outcome:
  """The smallest of some sizes that loses little enough, by bisection."""
  config, problem = trainer.config, trainer.problem
  if config.method.name != 'search':
    raise ValueError(
      "a tolerance needs method.name='search', which serves all sizes from one "
      f'search, got {config.method.name!r}; give a budget instead.'
    )
  wanted = reference.evaluate('validation')
  sizes = [int(s * problem.dense_bytes) for s in _TOLERANCE_SIZES]
  search = _searched(trainer, sizes[len(sizes) // 2])
  task = problem.task(reference.embedder)
  low, high, found = 0, len(sizes), None
  while low < high:
    middle = (low + high) // 2
    outcome = search.finish(sizes[middle], f'_{sizes[middle]}')
    value = outcome.evaluate('validation')
    if _drop(task, wanted, value) <= config.tolerance:
      high, found = middle, outcome
    else:
      low = middle + 1
  if found is None:
    raise ValueError(
      f'no size up to {sizes[-1]} bytes stays within a tolerance of '
      f'{config.tolerance}: allow a larger drop.'
    )
  return found


def _drop(task, wanted, value) -> float:
  """Returns the loss of a metric: a difference, of perplexities a ratio."""
  if task.higher_is_better:
    return wanted[task.metric] - value[task.metric]
  return value[task.metric] / wanted[task.metric] - 1


def summary(outcome: Outcome, reference: Outcome | None) -> dict[str, Any]:
  """The figures of an outcome; the test split is read here, once.

  Args:
    outcome: of a strategy.
    reference: the dense model, to compare with.
  """
  problem, config = outcome.trainer.problem, outcome.trainer.config
  task = problem.task(outcome.embedder)

  def value(of, split):
    if of is None:
      return None
    return of.evaluate(split)[task.metric]

  scheme = outcome.scheme
  num_bytes = scheme.num_bytes if scheme else problem.dense_bytes
  sizes = model_sizes.size_table(
    outcome.variables['params'], problem.dense_bytes, num_bytes
  )
  dense_params = problem.vocab_size * problem.features
  return {
    'task': config.data.name,
    'split': 'test',
    'metric': task.metric,
    'higher_is_better': task.higher_is_better,
    'value': value(outcome, 'test'),
    'validation': value(outcome, 'validation'),
    'dense_value': value(reference, 'test'),
    'dense_validation': value(reference, 'validation'),
    'method': config.method.name,
    'embedding_bytes': num_bytes,
    'dense_embedding_bytes': problem.dense_bytes,
    'embedding_params': scheme.num_params if scheme else dense_params,
    'model_bytes': sizes[-1]['after'],
    'dense_model_bytes': sizes[-1]['before'],
    'bytes_by_part': sizes,
    'ratio': num_bytes / problem.dense_bytes,
    'seed': config.seed,
    'steps': _num_steps(outcome),
    'seconds_by_stage': outcome.seconds,
    'device': jax.devices()[0].device_kind,
    'num_devices': jax.device_count(),
    'scheme': json.loads(scheme.to_json()) if scheme else None,
    **outcome.notes,
  }


def _num_steps(outcome: Outcome) -> int:
  """Counts optimizer steps of all training phases behind an outcome."""
  problem, config = outcome.trainer.problem, outcome.trainer.config
  phases = {
    'dense': (config.optim.epochs, problem.train),
    'train': (config.optim.epochs, problem.train),
    'start': (config.optim.epochs, problem.weights),
    'search': (config.search.epochs, problem.weights),
    'finetune': (config.finetune.epochs, problem.train),
  }
  ran = {name.partition('_')[0] for name in outcome.seconds} & set(phases)
  return sum(
    steps_of(epochs, batches)
    for epochs, batches in (phases[name] for name in ran)
  )


def _write_files(workdir, outcome, reference, result) -> None:
  """Everything that a report shows, and the table itself."""
  problem = outcome.trainer.problem
  problem.write(workdir, outcome.embedder, outcome.variables)
  if outcome.scheme is not None:
    text = outcome.scheme.to_json()
    write_atomically(workdir / 'scheme.json', text.encode())
    table = {
      name: collection['embedder']
      for name, collection in outcome.variables.items()
      if 'embedder' in collection
    }
    embedcomp.save(
      workdir / 'embedding.safetensors', outcome.scheme, to_params(table)
    )
  models = {'compressed': outcome, 'dense': reference}
  losses = {
    name: deciles.losses(of) if of is not None else None
    for name, of in models.items()
  }
  edges = deciles.token_deciles(problem.counts)[1]
  _write_json(
    workdir / 'deciles.json', {'metric': 'loss', 'edges': edges, **losses}
  )
  _write_json(workdir / 'result.json', result)


def _write_json(path: Path, content: Any) -> None:
  write_atomically(path, (json.dumps(content, indent=2) + '\n').encode())


def in_words(result: dict[str, Any], workdir: str | Path) -> str:
  """A few lines about a result, and where the rest is."""
  dense = ''
  if result['dense_value'] is not None:
    dense = f' (dense {result["dense_value"]:.4f})'
  return (
    f'{result["task"]}: test {result["metric"]} {result["value"]:.4f}{dense} '
    f'with a table of {result["embedding_bytes"]:,} bytes, '
    f'{result["ratio"]:.2%} of {result["dense_embedding_bytes"]:,}.\n'
    f'Report: {Path(workdir).resolve() / "report.html"}'
  )
