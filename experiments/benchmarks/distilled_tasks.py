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
from experiments.record import Job, Row
from experiments.tables import mean_and_deviation

SEEDS = 3
_STAGES = ('teacher', 'task')
# Headings of a table, and what stands below them.
_SHOWN = {
  'teacher': 'teacher',
  'student': 'student',
  'with int8 weights': 'written',
}


@dataclasses.dataclass(frozen=True)
class _Data:
  """What is peculiar to some data.

  Attributes:
    fields: of the config of the pipeline.
    stage_fields: of the config of each stage.
    most_seeds: that there is time for.
  """

  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  stage_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  most_seeds: int | None = None


_DATA = {
  'sst2': _Data(),
  'r52': _Data(
    {
      'data': 'r52',
      'teacher.optim.epochs': 3.0,
      # Half of the 52 classes have few texts: at a rate of 5e-5 they were not
      # learned in so few epochs.
      'teacher.optim.learning_rate': 3e-4,
      'task.finetune.epochs': 2.0,
    },
    {'data.buckets': (64,)},
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


def _config(name: str, seed: int):
  if name == 'smoke':
    config = bert_pipeline.get_config('smoke')
    config.stages = ','.join(_STAGES)
    config.seed = seed
    return config
  config = bert_pipeline.get_config()
  config.stages = ','.join(_STAGES)
  config.seed = seed
  fields, stage_fields = dict(_DATA[name].fields), _DATA[name].stage_fields
  folder = os.environ.get('EMBEDCOMP_BENCHMARK_DATA')
  if name == 'sst2' and folder:
    fields['data'] = os.path.join(folder, name)
    stage_fields = {'data.text_field': '0', 'data.label_field': '1'}
  config.update_from_flattened_dict(fields)
  for stage in _STAGES:
    config[stage].update_from_flattened_dict(stage_fields)
  return config


def _run(name: str, seed: int) -> list[Row]:
  """A whole run of the pipeline."""
  with tempfile.TemporaryDirectory() as folder:
    found = pipeline.run(_config(name, seed), folder, progress=False)
  teacher, student = found['stages']
  return [
    {
      'data': name,
      'seed': seed,
      'metric': found['metric'],
      'teacher': 100 * teacher['value'],
      'student': 100 * student['value'],
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
        for stage in (teacher, student)
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
        np.mean([row['teacher_seconds'] + row['task_seconds'] for row in same])
      ),
    }
    for name, same in found.items()
  ]
