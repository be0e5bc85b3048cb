"""Stages of making a whole BERT small, one experiment after the other.

Each stage has a folder of its own, in which it resumes, and starts from the
model that the one before has left. See `configs/bert_pipeline.py`.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import embedcomp
from embedcomp import data as data_lib
from embedcomp import training
from embedcomp._internal.progress import track
from embedcomp.io.files import write_atomically
from embedcomp.nn.bert import int8
from embedcomp.workflows import evaluate
from experiments import launch, model_card
from experiments.problems import load_texts, parts
from experiments.report import training_stages as stages_page

STAGES = ('teacher', 'general', 'task', 'long')
_RESULT = 'result.json'
_STAGE = 'stage.json'  # of a stage, written when all else of it is there
# What the whole tells of each stage.
_SHOWN = (
  'metric',
  'value',
  'embedding_bytes',
  'steps',
  'seconds',
  'peak_memory_bytes',
)


def run(
  config: ConfigDict, workdir: str | Path, *, progress: bool = True
) -> dict[str, Any]:
  """Runs all stages, or goes on with them, and writes the final model.

  Args:
    config: see `configs/bert_pipeline.py`.
    workdir: where files go; each stage has a folder in it.
    progress: whether to show progress.

  Returns:
    What `result.json` holds.

  Raises:
    ValueError: for stages that cannot be; and see `launch.run`.
    OSError: if files cannot be written.
  """
  stages = _stages(config)
  workdir = training.bind_workdir(
    workdir, json.loads(config.to_json_best_effort())
  )
  start, done = time.monotonic(), {}
  for stage in track(stages, 'stages', enabled=progress, unit='stage'):
    own = _prepared(config, stage, workdir, done)
    done[stage] = _run_once(own, workdir / stage, progress)
  result = _finish(config, workdir, done, progress)
  result['seconds'] = time.monotonic() - start
  _write_json(workdir / _RESULT, result)
  write_atomically(workdir / 'report.html', stages_page.render(result).encode())
  return result


def _stages(config: ConfigDict) -> list[str]:
  """Names of the stages; ValueError for what cannot be run."""
  stages = [name.strip() for name in config.stages.split(',')]
  in_order = [stage for stage in STAGES if stage in stages]
  if stages != in_order or not {'teacher', 'task'} <= set(stages):
    raise ValueError(
      f"stages must hold 'teacher' and 'task', and be some of {STAGES} in this "
      f'order, with commas between them, got {config.stages!r}.'
    )
  int8.check_weights(config.weights)
  return stages


def _prepared(
  config: ConfigDict, stage: str, workdir: Path, done: dict[str, Any]
) -> ConfigDict:
  """The config of a stage, which knows what the stages before have left."""
  own = config[stage].copy_and_resolve_references()
  if stage in ('task', 'long'):
    own.distil.teacher = str(workdir / 'teacher' / 'model')
    before = [one for one in done if one != 'teacher']
    own.bert.path = str(workdir / (before or ['teacher'])[-1] / 'model')
    own.method.name = 'kept' if before else 'search'
  return own


def _run_once(config: ConfigDict, folder: Path, progress: bool):
  """Runs a stage, or reads its result where it has ended before."""
  path = folder / _STAGE
  if path.exists():
    training.bind_workdir(folder, json.loads(config.to_json_best_effort()))
    return json.loads(path.read_text())
  result = launch.run(config, folder, progress=progress)
  # Kilobytes on Linux: the most that the process has had so far.
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  result['peak_memory_bytes'] = peak
  _write_json(path, result)
  return result


def _write_model(config: ConfigDict, source: Path, target: Path, labels):
  """Writes a model as it is to be used."""
  model, params = embedcomp.from_pretrained(source, head='classification')
  if config.weights == 'int8':
    model, params = embedcomp.quantize_encoder(model, params)
  embedcomp.save_pretrained(
    target, model, params, labels=labels, tokenizer_from=source
  )


def _measure(path: Path, config: ConfigDict, documents, progress: bool):
  """Measures a directory on documents."""
  model, params = embedcomp.from_pretrained(path, head='classification')
  return evaluate.evaluate(
    config.task,
    model,
    jax.device_put(params),
    data_lib.SubwordTokenizer.load(path),
    documents,
    max_length=config.data.buckets[-1],
    progress=progress,
  )


def _finish(config, workdir: Path, done, progress: bool) -> dict[str, Any]:
  """Writes the model of the last stage, and measures what has been written."""
  last = list(done)[-1]
  target = workdir / 'model'
  dataset = load_texts(config[last], progress=progress)
  _write_model(config, workdir / last / 'model', target, dataset.label_names)
  documents = parts.limited(dataset.splits['test'], config[last])
  found = _measure(target, config[last], documents, progress)
  final = done[last]
  result = {
    'task': config.data,
    'split': 'test',
    'metric': final['metric'],
    'value': found[final['metric']],
    'dense_value': done['teacher']['value'],
    'seed': config.seed,
    'embedding_bytes': final['embedding_bytes'],
    'dense_embedding_bytes': final['dense_embedding_bytes'],
    'ratio': final['ratio'],
    'model_bytes': _weight_bytes(target),
    'dense_model_bytes': _weight_bytes(workdir / 'teacher' / 'model'),
    'weights': config.weights,
    'command': ' '.join(['python -m experiments.main', *sys.argv[1:]]),
    'device': jax.devices()[0].device_kind,
    'stages': [
      {'stage': stage, **{name: one.get(name) for name in _SHOWN}}
      for stage, one in done.items()
    ],
  }
  card = model_card.render(result, parent=config.path, licence=config.licence)
  write_atomically(target / 'README.md', card.encode())
  return result


def _weight_bytes(folder: Path) -> int:
  """Bytes of all files with weights."""
  return sum(path.stat().st_size for path in folder.glob('*.safetensors'))


def _write_json(path: Path, content: Any) -> None:
  write_atomically(path, (json.dumps(content, indent=2) + '\n').encode())
