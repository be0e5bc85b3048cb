"""A run small enough for tests; as a program, one that tests may kill."""

import functools
import os
import pathlib
import signal
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from embedcomp import training

FEATURES, BATCH, STEPS = 3, 8, 40
OPTIMIZER = optax.adam(0.05)


def loss_fn(params, buffers, batch, dropout_key):
  """Squared errors of a linear model, with dropout if there is a key."""
  inputs = batch['inputs'] * buffers['scale'][None]
  if dropout_key is not None:
    inputs *= jax.random.bernoulli(dropout_key, 0.9, inputs.shape)
  errors = batch['labels'] - inputs @ params['kernel'] - params['bias']
  weights = batch['weights']
  sums = {'error': (weights * jnp.abs(errors)).sum()}
  return (weights * errors**2).sum(), weights.sum(), sums


def first_state():
  params = {'kernel': jnp.zeros(FEATURES), 'bias': jnp.zeros(())}
  key = jax.random.key(7)
  buffers = {'scale': jnp.arange(1, FEATURES + 1)}
  return training.TrainState.create(params, OPTIMIZER, key, buffers=buffers)


def batch_of(step):
  rng = np.random.default_rng([1, step])
  inputs = rng.normal(size=(BATCH, FEATURES)).astype(np.float32)
  labels = inputs.sum(axis=1) + 0.5
  weights = rng.random(BATCH).astype(np.float32) ** 3
  return {'inputs': inputs, 'labels': labels, 'weights': weights}


def batch_at(step):
  return (batch_of(step),)


def train_step(wrap=training.jit_step, **options):
  mesh = training.data_mesh(jax.devices()[:1])
  step = training.make_train_step(loss_fn, OPTIMIZER)
  return wrap(step, options.pop('mesh', mesh), **options)


@functools.cache
def evaluator():
  mesh = training.data_mesh(jax.devices()[:1])
  step = training.jit_step(training.make_eval_step(loss_fn), mesh, donate=False)
  batches = [batch_of(1000), batch_of(1001)]
  return lambda state: training.evaluate(step, state, batches)


def run(workdir, batch_at=batch_at, step_fn=None, **options):
  """The whole run, or what is left of it."""
  options = {
    'evaluation': training.Evaluation(evaluator(), ('loss', 'min')),
    'describe': None,
    **options,
  }
  cadence = training.Cadence(
    STEPS, log_every=5, checkpoint_every=10, evaluate_every=5
  )
  with (
    training.Checkpoints(workdir / 'checkpoints') as checkpoints,
    training.MetricsLog(workdir) as log,
  ):
    return training.run(
      step_fn or train_step(),
      first_state(),
      batch_at,
      cadence,
      checkpoints=checkpoints,
      log=log,
      **options,
    )


def metrics_of(workdir):
  """All that a run has logged, but for times."""
  records = training.read_metrics(workdir)
  return [{k: v for k, v in r.items() if k != 'seconds'} for r in records]


def main(workdir, death):
  """Runs slowly, says when it starts, and waits to be killed, or does it."""
  save = training.Checkpoints.save

  def deadly_save(checkpoints, step, *args):
    if step == 20:
      threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()
    save(checkpoints, step, *args)

  def slow_batch_at(step):
    time.sleep(0.01)
    return batch_at(step)

  if death == 'while-saving':
    training.Checkpoints.save = deadly_save
  print('started', flush=True)
  run(workdir, slow_batch_at)
  time.sleep(60)  # a kill comes, if late


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]), sys.argv[2])
