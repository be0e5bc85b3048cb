"""MiniLM-L6 with compressed words, before and after it taught itself: STS-B.

All know plain text alone: the sentences of STS-B's training split, without
scores, and as many of 20 Newsgroups. What is measured is the directory that a
run writes. Words are compressed and sorted by all that text, so that figures
are not those of `bert_table`. See there for where STS-B is.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import embedcomp
from configs import bert_distil
from embedcomp import data as data_lib
from embedcomp._internal.timer import Timer
from embedcomp.data.batches import long_documents
from embedcomp.io.files import write_atomically
from embedcomp.workflows import evaluate
from experiments import learned, strategies
from experiments.benchmarks import sts
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import Problem, make_problem
from experiments.results import (
  Outcome,
  final,
  groups_in_words,
  stored_table,
  with_table,
)
from experiments.trainer import Trainer, steps_of

_FACTORS = (20, 40, 64, 100)
_FROM_DENSE = {'method.start': 'dense', 'method.storage': 'int8'}
_SEARCH = {'method.name': 'search'}
_ALL = {**_SEARCH, 'distil.relations': 1.0}
_HALF = {'finetune.epochs': 0.5}
_LOSSES = ('embeddings', 'hidden', 'relations', 'sentence', 'similarities')


@dataclasses.dataclass(frozen=True)
class Contestant:
  """One way to a smaller model.

  Attributes:
    fields: of the config that differ.
    teaching: weights of losses that differ once the words are compressed; if
      there are any, what the model was before is not measured once more.
    factors: how many times smaller the table is to be.
    repeated: of these, those that are measured for every seed; the first is
      enough for the others.
  """

  fields: Mapping[str, Any]
  teaching: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  factors: tuple[int, ...] = _FACTORS
  repeated: tuple[int, ...] = ()


def _alone(loss: str) -> Contestant:
  others = {f'distil.{name}': 0.0 for name in _LOSSES if name != loss}
  weights = {**others, f'distil.{loss}': 1.0}
  return Contestant(_ALL, {**_HALF, **weights}, (100,))


BY_SIZE = {
  'search': Contestant(_SEARCH, repeated=(40,)),
  'pq': Contestant(
    {'method.name': 'uniform', 'method.option': 'pq', **_FROM_DENSE},
    repeated=(40,),
  ),
  # The bytes of `pq`; words change their codewords while they are taught.
  'pq, learned codes': Contestant(
    {
      'method.name': 'uniform',
      'method.option': 'dpq_vq(books=48, codewords=64, storage=int8)',
      **_FROM_DENSE,
    },
    factors=(40,),
  ),
  'hand-split': Contestant({'method.name': 'hand_split', **_FROM_DENSE}),
}
BY_DEPTH = {
  'search, 3 layers': Contestant(
    {**_SEARCH, 'distil.layers': 3, 'distil.layer_map': 'uniform'},
    factors=(40,),
  ),
}
BY_LOSS = {
  'all': Contestant({**_ALL, **_HALF}, factors=(100,)),
  'all but relations': Contestant(
    _ALL, {**_HALF, 'distil.relations': 0.0}, (100,)
  ),
  **{f'{loss} alone': _alone(loss) for loss in _LOSSES},
}


class DistilledTable:
  """A benchmark (see `record`) of students of plain text.

  Attributes:
    SEEDS: of all that is random, if the command does not say.
  """

  SEEDS = 2

  def __init__(self, contestants: Mapping[str, Contestant], what: str):
    """Loads nothing yet.

    Args:
      contestants: by label.
      what: differs between them, in words.
    """
    self.__doc__ = f'MiniLM-L6 with fewer bytes of words, taught: {what}.'
    self._contestants = contestants

  def jobs(self, *, smoke: bool, seeds: int) -> Sequence[Job]:
    """One job for each size, contestant and seed.

    Args:
      smoke: whether to use a tiny BERT of random weights and made-up sentences.
      seeds: of all that is random.
    """
    found = list(self._contestants.items())
    if smoke:
      found = [
        (label, dataclasses.replace(one, factors=(4,), repeated=(4,)))
        for label, one in found[:2]
      ]
    return [
      Job(
        f'{label} {factor}x {seed}',
        functools.partial(self._run, smoke, label, factor, seed),
      )
      for seed in range(seeds)
      for label, one in found
      for factor in (one.repeated if seed else one.factors)
    ]

  def _run(self, smoke: bool, label: str, factor: int, seed: int) -> list[Row]:
    """A row before distillation, and one after it."""
    contestant = self._contestants[label]
    fields = {**contestant.fields, 'seed': seed}
    before = _untaught(smoke, tuple(fields.items()), factor)
    outcomes = [] if contestant.teaching else [before]
    outcomes.append(_taught(smoke, {**fields, **contestant.teaching}, before))
    return [
      {
        'contestant': label,
        'factor': factor,
        'seed': seed,
        'taught': outcome is not before,
        'bytes': outcome.scheme.num_bytes,
        'cosine': outcome.evaluate('validation')['cosine'],
        **_measured(outcome, smoke),
        **outcome.notes,
        'scheme': groups_in_words(outcome.scheme),
      }
      for outcome in outcomes
    ]

  def summary(self, rows: Sequence[Row]) -> list[Row]:
    """Correlations by size, before and after; mean, deviation over seeds."""
    found: dict[tuple, list[Row]] = {}
    for row in rows:
      key = row['contestant'], row['factor'], row['taught']
      found.setdefault(key, []).append(row)
    return [
      {
        'contestant': label,
        'size': f'{factor}x',
        'taught': 'yes' if taught else 'no',
        'seeds': len(same),
        'bytes': round(np.mean([row['bytes'] for row in same])),
        'cosine': mean_and_deviation([row['cosine'] for row in same], 3),
        **{
          name: mean_and_deviation([row[name] for row in same], 2)
          for name in ('validation', 'test', 'int8_test')
        },
        'int8_bytes': round(np.mean([r['int8_weights_bytes'] for r in same])),
      }
      for (label, factor, taught), same in found.items()
    ]


def _config(smoke: bool, fields: Mapping[str, Any]) -> ConfigDict:
  config = bert_distil.get_config('smoke' if smoke else 'general')
  config.update_from_flattened_dict(fields)
  return config


@functools.lru_cache(maxsize=1)
def _ways(
  smoke: bool, fields: tuple[tuple[str, Any], ...]
) -> tuple[int, Callable[[int], Outcome]]:
  """Bytes of the dense table, and what takes others to an untaught model."""
  config = _config(smoke, dict(fields))
  config.finetune.epochs = 0.0
  problem = _problem(smoke, config)
  trainer = Trainer(problem, config, progress=False)
  if config.method.name == 'search':
    setup = learned.set_up(trainer)
    return problem.dense_bytes, lambda budget: setup.learn(budget).finish()
  make = functools.partial(strategies.STRATEGIES[config.method.name], trainer)
  return problem.dense_bytes, make


@functools.lru_cache(maxsize=1)
def _untaught(
  smoke: bool, fields: tuple[tuple[str, Any], ...], factor: int
) -> Outcome:
  """A model whose words are compressed."""
  dense_bytes, make = _ways(smoke, fields)
  return dataclasses.replace(make(dense_bytes // factor), notes={})


def _taught(smoke: bool, fields: Mapping[str, Any], before: Outcome) -> Outcome:
  """Trains a model to copy what it was."""
  config = _config(smoke, fields)
  problem = before.trainer.problem
  weights = {name: config.distil[name] for name in _LOSSES}
  objective = dataclasses.replace(problem.objective, **weights)
  problem = dataclasses.replace(problem, objective=objective)
  trainer = dataclasses.replace(before.trainer, problem=problem, config=config)
  scheme, timer = before.scheme, Timer()
  table = embedcomp.dequantize_params(
    scheme, stored_table(scheme, before.variables)
  )
  _, variables = with_table(before.variables, scheme, table)
  outcome = final(trainer, scheme, timer, variables)
  num_steps = steps_of(config.finetune.epochs, problem.train)
  notes = {'steps': num_steps, 'seconds': timer.seconds['finetune']}
  return dataclasses.replace(outcome, notes=notes)


def _problem(smoke: bool, config: ConfigDict) -> Problem:
  """All that there is to learn from and with."""
  with tempfile.TemporaryDirectory() as folder:
    _write_texts(Path(folder), smoke)
    config.data.name = folder
    return make_problem(config, progress=False)


@functools.cache
def _dataset(smoke: bool) -> data_lib.TextDataset:
  return sts.made_up() if smoke else sts.benchmark()


def _write_texts(folder: Path, smoke: bool) -> None:
  """Writes sentences of all texts to learn from, a line each."""
  train = _dataset(smoke).splits['train']
  lines = list(dict.fromkeys([*train.texts, *train.pairs]))
  if not smoke:
    texts = data_lib.load('newsgroups', progress=False).splits['train'].texts
    others = [one for text in texts for one in long_documents.sentences(text)]
    drawn = np.random.default_rng(0).permutation(len(others))[: len(lines)]
    lines += [others[number] for number in drawn]
  lines = [' '.join(line.split()) for line in lines]
  write_atomically(folder / 'train.txt', '\n'.join(lines).encode())


def _measured(outcome: Outcome, smoke: bool) -> Row:
  """Scores and bytes of what an outcome writes, in float32 and in int8."""
  with tempfile.TemporaryDirectory() as folder:
    outcome.trainer.problem.write(
      Path(folder), outcome.embedder, outcome.variables
    )
    path, small = Path(folder, 'model'), Path(folder, 'int8')
    model, params = embedcomp.from_pretrained(path, head='sentence')
    found = _scores(path, smoke)
    embedcomp.save_pretrained(
      small,
      *embedcomp.quantize_encoder(model, params),
      tokenizer_from=path,
    )
    rounded = _scores(small, smoke)
    return {
      **found,
      **{f'int8_{split}': value for split, value in rounded.items()},
      'int8_weights_bytes': _num_bytes(small, '*.safetensors'),
      'int8_files_bytes': _num_bytes(small, '*'),
    }


def _scores(path: Path, smoke: bool) -> Row:
  """Spearman's correlation x 100 of a directory, by split."""
  model, params = embedcomp.from_pretrained(path, head='sentence')
  tokenizer = data_lib.SubwordTokenizer.load(path)
  splits = _dataset(smoke).splits
  return {
    name: 100
    * evaluate.evaluate(
      'similarity', model, params, tokenizer, splits[name], progress=False
    )['spearman']
    for name in ('validation', 'test')
  }


def _num_bytes(folder: Path, pattern: str) -> int:
  return sum(path.stat().st_size for path in folder.glob(pattern))
