"""MiniLM-L6 made small for a task by configs/bert_pipeline, and its teacher.

SST-2 are the texts of `sst2/{train,dev,test}` in EMBEDCOMP_BENCHMARK_DATA; if
that is not set, they are `glue/sst2` of TensorFlow Datasets.
"""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from configs import bert_pipeline
from experiments import pipeline
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation

SEEDS = 3
# Headings of a table, and what stands below them.
_SHOWN = {
  'teacher': 'teacher',
  'student': 'student',
  'with int8 weights': 'written',
}


@dataclasses.dataclass(frozen=True)
class _Data:
  """Settings of one data set.

  Attributes:
    name: of the data; None for those of the config.
    stages: that are run.
    fields: of the config of the pipeline.
    stage_fields: of the config of each stage.
    most_seeds: that there is time for.
  """

  name: str | None = None
  stages: tuple[str, ...] = ('teacher', 'task')
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  stage_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  most_seeds: int | None = None


_DATA = {
  'sst2': _Data('sst2'),
  # The same texts, first without their labels.
  'sst2, plain text first': _Data(
    'sst2', ('teacher', 'general', 'task'), most_seeds=1
  ),
  'r52': _Data(
    'r52',
    fields={
      'teacher.optim.epochs': 3.0,
      # Half of the 52 classes have few texts: at a rate of 5e-5 they were not
      # learned in so few epochs.
      'teacher.optim.learning_rate': 3e-4,
      'task.finetune.epochs': 2.0,
    },
    stage_fields={'data.buckets': (64,)},
    most_seeds=1,
  ),
}


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each task and seed.

  Args:
    smoke: whether to use a tiny BERT of random weights and short texts.
    seeds: of all that is random.
  """
  data = {'smoke': _Data()} if smoke else _DATA
  return [
    Job(f'{name} {seed}', functools.partial(_run, name, seed))
    for name, one in data.items()
    for seed in range(seeds)[: one.most_seeds]
  ]


def _config(case: str, seed: int):
  """The config of the pipeline."""
  small = case == 'smoke'
  data = _Data() if small else _DATA[case]
  config = bert_pipeline.get_config('smoke' if small else 'classification')
  config.stages = ','.join(data.stages)
  config.seed = seed
  stage_fields = dict(data.stage_fields)
  folder = os.environ.get('EMBEDCOMP_BENCHMARK_DATA')
  if data.name == 'sst2':
    config.data = os.path.join(folder, 'sst2') if folder else 'glue/sst2'
    if folder:
      stage_fields |= {'data.text_field': '0', 'data.label_field': '1'}
  elif data.name is not None:
    config.data = data.name
  if not small:
    config.text = config.data
  config.update_from_flattened_dict(dict(data.fields))
  for stage in data.stages:
    config[stage].update_from_flattened_dict(stage_fields)
  return config


def _run(case: str, seed: int) -> list[Row]:
  """A whole run of the pipeline."""
  with tempfile.TemporaryDirectory() as folder:
    found = pipeline.run(_config(case, seed), folder, progress=False)
  stages = found['stages']
  return [
    {
      'data': case,
      'seed': seed,
      'metric': found['metric'],
      'teacher': 100 * stages[0]['value'],
      'student': 100 * stages[-1]['value'],
      'written': 100 * found['value'],
      'weights': found['weights'],
      **{
        field: found[field]
        for field in (
          'embedding_bytes',
          'ratio',
          'model_bytes',
          'dense_model_bytes',
        )
      },
      **{
        f'{stage["stage"]}_{field}': stage[field]
        for stage in stages
        for field in ('steps', 'seconds', 'peak_memory_bytes')
      },
    }
  ]


def summary(rows: Sequence[Row]) -> list[Row]:
  """Metrics of teacher and student; mean and deviation over seeds."""
  found: dict[str, list[Row]] = {}
  for row in rows:
    found.setdefault(row['data'], []).append(row)
  return [
    {
      'data': name,
      'seeds': len(same),
      **{
        heading: mean_and_deviation([row[field] for row in same], 2)
        for heading, field in _SHOWN.items()
      },
      'words': f'{1 / np.mean([row["ratio"] for row in same]):.1f}x',
      'model_bytes': round(np.mean([row['model_bytes'] for row in same])),
      'seconds': round(
        np.mean(
          [
            sum(row.get(f'{stage}_seconds', 0) for stage in pipeline.STAGES)
            for row in same
          ]
        )
      ),
    }
    for name, same in found.items()
  ]
