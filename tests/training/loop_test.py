"""Tests that a run ends the same however often it is interrupted."""

import random
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from embedcomp import training
from tests.training import tiny_run


def assert_same(one, other):
  """To the bit."""
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


@pytest.fixture(scope='module')
def step_fn():
  return tiny_run.train_step()


@pytest.fixture(scope='module')
def whole(tmp_path_factory, step_fn):
  """An uninterrupted run: its folder and its last state."""
  workdir = tmp_path_factory.mktemp('whole')
  return workdir, tiny_run.run(workdir, step_fn=step_fn)


class InterruptedRunError(Exception):
  pass


def interrupted_at(stop):
  def batch_at(step):
    if step == stop:
      raise InterruptedRunError
    return tiny_run.batch_at(step)

  return batch_at


@pytest.mark.parametrize('stops', [[3], [12, 10, 38]])
def test_resumed_is_uninterrupted(whole, tmp_path, step_fn, stops):
  for stop in stops:
    with pytest.raises(InterruptedRunError):
      tiny_run.run(tmp_path, interrupted_at(stop), step_fn)
  assert_same(tiny_run.run(tmp_path, step_fn=step_fn), whole[1])
  assert tiny_run.metrics_of(tmp_path) == tiny_run.metrics_of(whole[0])


def test_killed_is_uninterrupted(whole, tmp_path, step_fn):
  """Killed while it saves, then at a random moment."""
  for death in ('while-saving', 'any-time'):
    process = subprocess.Popen(
      [sys.executable, tiny_run.__file__, str(tmp_path), death],
      stdout=subprocess.PIPE,
    )
    with process:
      assert process.stdout.readline() == b'started\n'
      if death == 'any-time':
        time.sleep(random.Random(0).uniform(0.5, 2))
        process.kill()
    assert process.returncode == -signal.SIGKILL
  assert_same(tiny_run.run(tmp_path, step_fn=step_fn), whole[1])
  assert tiny_run.metrics_of(tmp_path) == tiny_run.metrics_of(whole[0])


def test_a_finished_run_takes_no_step(whole, step_fn):
  workdir, state = whole
  before = (workdir / 'metrics.jsonl').read_bytes()
  again = tiny_run.run(workdir, interrupted_at(0), step_fn)
  assert_same(again, state)
  assert (workdir / 'metrics.jsonl').read_bytes() == before


def test_the_log_averages_over_steps(whole, step_fn):
  train = [r for r in training.read_metrics(whole[0]) if 'error' in r]
  assert [r['step'] for r in train] == list(range(5, 41, 5))
  assert set(train[0]) == {
    *('stage', 'step', 'seconds', 'loss', 'error', 'gradient_norm')
  }
  state = step_fn.place(tiny_run.first_state())
  losses = []
  for step in range(5):
    state, metrics = step_fn(state, step_fn.shard(tiny_run.batch_of(step)))
    losses.append(float(metrics['loss']))
  assert train[0]['loss'] == np.mean(losses)


def test_the_best_state_is_kept(tmp_path, whole):
  records = training.read_metrics(whole[0])
  measured = {
    r['step']: r['validation_loss'] for r in records if 'validation_loss' in r
  }
  step = min(measured, key=measured.get)
  best = whole[1].best
  assert best.step == step
  assert best.value == np.float32(measured[step])
  state = whole[1].replace(params=best.params, best=None)
  assert tiny_run.evaluator()(state)['loss'] == measured[step]


def test_the_best_state_is_not_the_last_one(tmp_path, step_fn):
  values = iter([1.0, 5.0, float('nan'), 5.0, 3.0, 4.0, 2.0, 0.0])
  state = tiny_run.run(
    tmp_path,
    step_fn=step_fn,
    evaluation=training.Evaluation(
      lambda state: {'score': next(values)}, ('score', 'max')
    ),
  )
  assert state.best.step == 10
  assert state.best.value == 5
  assert not np.array_equal(state.best.params['kernel'], state.params['kernel'])


def test_keep_best_names_a_metric(tmp_path, step_fn):
  odd = training.Evaluation(tiny_run.evaluator(), ('odd', 'max'))
  with pytest.raises(ValueError, match=r'keep_best must name .* got odd'):
    tiny_run.run(tmp_path, step_fn=step_fn, evaluation=odd)


def test_keep_best_says_what_is_better():
  with pytest.raises(ValueError, match=r"'max' or 'min', got .*'more'"):
    training.Evaluation(tiny_run.evaluator(), ('loss', 'more'))


def test_the_first_state_stays_usable(tmp_path, step_fn):
  state = tiny_run.first_state()
  cadence = training.Cadence(3, log_every=2, checkpoint_every=2)
  kwargs = {'describe': None}
  one = training.run(step_fn, state, tiny_run.batch_at, cadence, **kwargs)
  two = training.run(step_fn, state, tiny_run.batch_at, cadence, **kwargs)
  assert_same(one, two)
  assert one.step == 3


def broken_from(first, name, value):
  def batch_at(step):
    batch = tiny_run.batch_of(step)
    if step >= first:
      batch[name] = np.full_like(batch[name], value)
    return (batch,)

  return batch_at


@pytest.mark.parametrize(
  ('first', 'kept'), [(3, 'no checkpoint had been'), (26, 'checkpoint 20 in')]
)
def test_a_non_finite_loss_stops_the_run(tmp_path, step_fn, first, kept):
  batch_at = broken_from(first, 'labels', np.inf)
  message = rf'loss became inf in step {first + 1}; .*{kept}.* learning rate'
  with pytest.raises(training.NonFiniteLossError, match=message):
    tiny_run.run(tmp_path, batch_at, step_fn)
  assert tiny_run.metrics_of(tmp_path)[-1]['loss'] is None
  with training.Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    assert checkpoints.latest_step() == (20 if first > 20 else None)


def test_broken_params_are_never_saved(tmp_path):
  """The gradient of the last step before a checkpoint may be the first bad."""
  step_fn = tiny_run.train_step(
    lambda step, mesh: training.jit_step(with_broken_params(step), mesh)
  )
  with pytest.raises(
    training.NonFiniteLossError, match=r'params .* in step 20'
  ):
    tiny_run.run(tmp_path, step_fn=step_fn)
  with training.Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    assert checkpoints.latest_step() == 10


def with_broken_params(step):
  def broken_step(state, batch, axis_name=None):
    state, metrics = step(state, batch, axis_name)
    factor = jax.numpy.where(state.step == 20, np.nan, 1.0)
    params = jax.tree.map(lambda x: x * factor, state.params)
    return state.replace(params=params), metrics

  return broken_step


def test_the_last_good_state_goes_on(whole, tmp_path, step_fn):
  with pytest.raises(training.NonFiniteLossError):
    tiny_run.run(tmp_path, broken_from(26, 'labels', np.nan), step_fn)
  assert_same(tiny_run.run(tmp_path, step_fn=step_fn), whole[1])
  assert tiny_run.metrics_of(tmp_path) == tiny_run.metrics_of(whole[0])


def test_progress_is_shown(tmp_path, step_fn, capsys):
  cadence = training.Cadence(4, log_every=2, checkpoint_every=2)
  training.run(
    step_fn,
    tiny_run.first_state(),
    tiny_run.batch_at,
    cadence,
    describe=lambda metrics: f'loss {metrics["loss"]:.3f}',
  )
  shown = capsys.readouterr().err
  assert re.search(r'4/4 .*loss \d\.\d{3}', shown)


@pytest.mark.parametrize(
  ('kwargs', 'message'),
  [
    ({'checkpoint_every': 150}, 'checkpoint_every must be .* got 150'),
    ({'evaluate_every': 7}, 'evaluate_every must be .* got 7'),
    ({'log_every': 0}, 'log_every must be .* got 0'),
    ({'num_steps': -1}, 'num_steps must not be negative, got -1'),
  ],
)
def test_a_cadence_must_fit(kwargs, message):
  with pytest.raises(ValueError, match=message):
    training.Cadence(**{'num_steps': 10, **kwargs})
