"""Models that learned a generated task from short texts, to read long ones."""

import atexit
import functools
import tempfile
from pathlib import Path

from configs import long_documents
from experiments import strategies
from experiments.problems import make_problem
from experiments.trainer import Trainer


@functools.lru_cache(maxsize=1)
def trained(task: str, *, smoke: bool, seed: int) -> Path:
  """A directory of a classifier, there until the process ends.

  Args:
    task: 'needle' or 'listops', of `configs/long_documents.py`.
    smoke: whether to use a tiny model and few texts.
    seed: of texts and training.
  """
  variant = 'smoke' if smoke else f'{task}_short'
  config = long_documents.get_config(variant)
  config.seed = seed
  if smoke:
    config.data.name = task
    config.data.length_range = (11, 30)
  problem = make_problem(config, progress=False)
  outcome = strategies.dense(Trainer(problem, config, None, progress=False))
  folder = tempfile.TemporaryDirectory()
  atexit.register(folder.cleanup)
  problem.write(Path(folder.name), outcome.embedder, outcome.variables)
  return Path(folder.name, 'model')
