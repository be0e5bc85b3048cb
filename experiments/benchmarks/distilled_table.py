"""MiniLM-L6 with compressed words, before and after it taught itself: STS-B.

All know plain text alone: the sentences of STS-B's training split, without
scores, and as many of 20 Newsgroups. What is measured is the directory that a
run writes. Words are compressed and sorted by all that text, so that figures
are not those of `bert_table`. See there for where STS-B is.
"""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import embedcomp
from configs import bert_distil
from embedcomp import data as data_lib
from embedcomp import evaluation
from embedcomp.data import reading
from embedcomp.io.files import write_atomically
from experiments import strategies
from experiments.benchmarks import sts
from experiments.outcomes import Outcome
from experiments.problems import make_problem
from experiments.record import Job, Row
from experiments.stages import Stages

SEEDS = 2
_FACTORS = (20, 40, 64, 100)
_FROM_DENSE = {'method.start': 'dense', 'method.storage': 'int8'}
_CONTESTANTS = {
  'search': {'method.name': 'search'},
  'compress': {'method.name': 'compress'},
  'pq': {'method.name': 'uniform', 'method.option': 'pq', **_FROM_DENSE},
  'hand-split': {'method.name': 'hand_split', **_FROM_DENSE},
}


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each size, contestant and seed.

  Args:
    smoke: whether to use a tiny BERT of random weights and made-up sentences.
    seeds: of all that is random.
  """
  return [
    Job(
      f'{label} {factor}x {seed}',
      functools.partial(_run, smoke, label, factor, seed),
    )
    for seed in range(seeds)
    for factor in ((4,) if smoke else _FACTORS)
    for label in (('search', 'pq') if smoke else _CONTESTANTS)
  ]


def _run(smoke: bool, label: str, factor: int, seed: int) -> list[Row]:
  """A row before distillation, and one after it."""
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    _write_texts(Path(folder), smoke)
    config = bert_distil.get_config('smoke' if smoke else 'general')
    config.update_from_flattened_dict({**_CONTESTANTS[label], 'seed': seed})
    config.data.name = folder
    problem = make_problem(config, progress=False)
    for epochs in (0.0, config.finetune.epochs):
      config = config.copy_and_resolve_references()
      config.finetune.epochs = epochs
      stages = Stages(problem, config, progress=False)
      make = strategies.STRATEGIES[config.method.name]
      outcome = make(stages, int(problem.dense_bytes / factor))
      rows.append(
        {
          'contestant': label,
          'factor': factor,
          'seed': seed,
          'taught': epochs > 0,
          'bytes': outcome.scheme.num_bytes,
          'cosine': outcome.evaluate('validation')['cosine'],
          **_scores(outcome, smoke),
          'seconds': sum(outcome.seconds.values()),
        }
      )
  return rows


@functools.cache
def _dataset(smoke: bool) -> data_lib.TextDataset:
  return sts.made_up() if smoke else sts.benchmark()


def _write_texts(folder: Path, smoke: bool) -> None:
  """Writes sentences of all texts to learn from, a line each."""
  train = _dataset(smoke).splits['train']
  lines = list(dict.fromkeys([*train.texts, *train.pairs]))
  if not smoke:
    texts = data_lib.load('newsgroups', progress=False).splits['train'].texts
    others = [one for text in texts for one in reading.sentences(text)]
    drawn = np.random.default_rng(0).permutation(len(others))[: len(lines)]
    lines += [others[number] for number in drawn]
  lines = [' '.join(line.split()) for line in lines]
  write_atomically(folder / 'train.txt', '\n'.join(lines).encode())


def _scores(outcome: Outcome, smoke: bool) -> Row:
  """Spearman's correlation x 100 of what an outcome writes, by split."""
  with tempfile.TemporaryDirectory() as folder:
    outcome.stages.problem.write(
      Path(folder), outcome.embedder, outcome.variables
    )
    path = Path(folder, 'model')
    model, params = embedcomp.from_pretrained(path, head='sentence')
    tokenizer = data_lib.SubwordTokenizer.load(path)
    measure = functools.partial(
      evaluation.evaluate,
      'similarity',
      model,
      params,
      tokenizer,
      progress=False,
    )
    splits = _dataset(smoke).splits
    return {
      name: 100 * measure(documents=splits[name])['spearman']
      for name in ('validation', 'test')
    }


def summary(rows: Sequence[Row]) -> list[Row]:
  """Correlations by size, before and after; mean and deviation over seeds."""
  found: dict[tuple, list[Row]] = {}
  for row in rows:
    key = row['contestant'], row['factor'], row['taught']
    found.setdefault(key, []).append(row)
  return [
    {
      'contestant': label,
      'size': f'{factor}x',
      'taught': 'yes' if taught else 'no',
      'bytes': round(np.mean([row['bytes'] for row in same])),
      **{
        split: _in_words([row[split] for row in same])
        for split in ('validation', 'test')
      },
    }
    for (label, factor, taught), same in found.items()
  ]


def _in_words(values: Sequence[float]) -> str:
  return f'{np.mean(values):.2f} ± {np.std(values):.2f}'
