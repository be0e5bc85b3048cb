"""Training: one state, pure steps over it, and a loop that survives kills."""

from typing import TYPE_CHECKING

from embedcomp._internal import lazy
from embedcomp.training.data_parallel import data_mesh, jit_step, pmap_step
from embedcomp.training.evaluator import make_evaluator
from embedcomp.training.loop import Cadence, Evaluation, NonFiniteLossError, run
from embedcomp.training.metrics_log import MetricsLog, read_metrics
from embedcomp.training.state import Best, TrainState
from embedcomp.training.steps import (
  evaluate,
  make_eval_step,
  make_train_step,
  mean_gradient,
  replica_key,
  total,
)
from embedcomp.training.workdir import bind_workdir

if TYPE_CHECKING:
  from embedcomp.training.checkpoints import Checkpoints

__all__ = [
  'Best',
  'Cadence',
  'Checkpoints',
  'Evaluation',
  'MetricsLog',
  'NonFiniteLossError',
  'TrainState',
  'bind_workdir',
  'data_mesh',
  'evaluate',
  'jit_step',
  'make_eval_step',
  'make_evaluator',
  'make_train_step',
  'mean_gradient',
  'pmap_step',
  'read_metrics',
  'replica_key',
  'run',
  'total',
]

if not TYPE_CHECKING:  # orbax is loaded for those who keep checkpoints
  __getattr__, __dir__ = lazy.attach(
    __name__, {'Checkpoints': 'embedcomp.training.checkpoints'}
  )
