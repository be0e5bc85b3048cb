"""The search as a library call, with models of three kinds."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import embedcomp
from embedcomp import methods, search
from embedcomp.compression.post_training import OPTION_METHODS
from embedcomp.search.embeddings import CompressedEmbedding, DenseEmbedding
from embedcomp.search.learn import _finetune
from embedcomp.types import Shape
from tests.search import rare_words
from tests.search.rare_words import BUDGET, CONFIG, COUNTS, DATA, D, V

MODELS = (rare_words.linen, rare_words.nnx_model, rare_words.bare)
DENSE_BYTES = 4 * V * D
QUICK = dataclasses.replace(
  CONFIG,
  schedule=search.Schedule(4),
  finetuning=search.Finetuning(0),
  measured_batches=2,
)


@pytest.fixture(autouse=True, scope='module')
def compile_fast():
  """Compiling is nearly all that these tests wait for."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@functools.cache
def result_of(make_model):
  return rare_words.learn(make_model)


def loss_of(result):
  embed = CompressedEmbedding(result.scheme, result.table)
  loss_fn = result.searched.problem.loss_fn
  return rare_words.held_out_loss(loss_fn, result.params, embed)


@pytest.mark.slow
@pytest.mark.parametrize('make_model', MODELS)
def test_a_search_with_the_task_beats_compression_by_counts(make_model):
  result = result_of(make_model)
  assert result.num_bytes >= 0.99 * BUDGET * DENSE_BYTES
  assert result.num_bytes <= BUDGET * DENSE_BYTES
  loss_fn, params, table = rare_words.trained(make_model)
  # From the same methods: a search does not know codes on shared axes.
  scheme, stored = embedcomp.compress(
    table,
    COUNTS,
    budget=result.num_bytes,
    methods=OPTION_METHODS,
    progress=False,
  )
  compressed = rare_words.held_out_loss(
    loss_fn, params, CompressedEmbedding(scheme, stored)
  )
  dense = rare_words.held_out_loss(loss_fn, params, DenseEmbedding(table))
  assert scheme.num_bytes <= result.num_bytes
  assert dense < compressed
  assert loss_of(result) < 0.5 * compressed


@pytest.mark.parametrize('make_model', MODELS)
def test_what_comes_out_is_stored_and_can_be_saved(make_model, tmp_path):
  result = result_of(make_model)
  path = tmp_path / 'table.safetensors'
  embedcomp.save(path, result.scheme, result.table)
  scheme, table = embedcomp.load(path)
  assert scheme == result.scheme
  ids = np.arange(V)
  np.testing.assert_array_equal(
    embedcomp.lookup(scheme, table, ids),
    embedcomp.lookup(result.scheme, result.table, ids),
  )
  structure = jax.tree.structure(result.params)
  assert structure == jax.tree.structure(rare_words.trained(make_model)[1])


def test_equal_seeds_give_equal_bytes_and_progress_is_shown(capsys):
  first = result_of(rare_words.bare)
  again = rare_words.learn(rare_words.bare, progress=True)
  assert first.scheme == again.scheme
  jax.tree.map(
    np.testing.assert_array_equal,
    (first.table, first.params),
    (again.table, again.params),
  )
  shown = capsys.readouterr().err
  for words in ('measuring words', 'search, ', 'finetune, '):
    assert words in shown


def test_rare_words_come_first_and_ids_stay_the_callers():
  result = result_of(rare_words.bare)
  assert result.scheme.order == 'stored'
  ids = result.searched.searcher.start.ids
  assert set(ids[:20]) <= set(range(1, V, 2))
  embed = result.searched.searcher.embedding(result.searched.state)
  loss_fn = result.searched.problem.loss_fn
  # The supernet knows words by their own ids, or it could tell no class.
  params = result.searched.state.params['weights']['model']
  assert rare_words.held_out_loss(loss_fn, params, embed) < 0.5
  with pytest.raises(ValueError, match='ids must be in'):
    embedcomp.lookup(result.scheme, result.table, np.array([V]))


def test_one_search_serves_other_budgets(capsys):
  result = result_of(rare_words.bare)
  larger = result.searched.at('4x')
  assert 'finetune, ' in capsys.readouterr().err
  assert 0.99 * DENSE_BYTES / 4 <= larger.num_bytes <= DENSE_BYTES / 4
  assert larger.searched.state is result.searched.state
  assert larger.seconds['search'] == result.seconds['search']
  decision = result.searched.searcher.decide(result.searched.state, '4x')
  assert decision.scheme == larger.scheme


def test_what_happened_is_told():
  result = result_of(rare_words.bare)
  assert set(result.seconds) == {'measure', 'search', 'decide', 'finetune'}
  steps = {}
  for line in result.history:
    steps.setdefault(line['phase'], []).append(line['step'])
    assert np.isfinite(line['loss'])
  assert steps == {'search': [*range(1, 31)], 'finetune': [*range(1, 31)]}
  last = [line for line in result.history if line['phase'] == 'search'][-1]
  assert last['held_out_loss'] > 0
  assert result.expected_bytes == pytest.approx(last['expected_bytes'], rel=0.2)


def test_the_parts_serve_a_loop_of_ones_own():
  """The example of init, step and decide; the same as `learn` does."""
  loss_fn, params, table = rare_words.trained(rare_words.bare)
  problem = search.SearchProblem(loss_fn, params, table, DATA, COUNTS)
  searcher = search.set_up(CONFIG, problem, progress=False)
  state = searcher.init(jax.random.key(CONFIG.seed), BUDGET)
  step = jax.jit(searcher.step)
  for number in range(searcher.num_steps):
    if number and number % searcher.refresh_every == 0:
      state = searcher.refresh(state)
    batch = DATA.train[number % len(DATA.train)]
    held_out = DATA.held_out[number % len(DATA.held_out)]
    state, metrics = step(state, batch, held_out)
  decision = searcher.decide(searcher.refresh(state), BUDGET)
  assert np.isfinite(metrics['loss'])
  result = result_of(rare_words.bare)
  assert decision.scheme == result.scheme
  assert searcher.expected_bytes(state) == pytest.approx(
    result.expected_bytes, rel=1e-3
  )


@pytest.mark.parametrize(
  'fields',
  [
    {'score': 'prior', 'carry': 'dense'},
    pytest.param(
      {
        'start': 'noise',
        'order': 'frequency',
        'score': 'learned',
        'schedule': search.Schedule(4, warmup=0.5, plain=0.5),
      },
      marks=pytest.mark.slow,
    ),
    pytest.param(
      {
        'options': 'learned_codes',
        'by_counts': 0.5,
        'carry': 'dense',
        'finetuning': search.Finetuning(2),
      },
      marks=pytest.mark.slow,
    ),
    {'learn_splits': False, 'by_counts': 1.0},
  ],
  ids=lambda fields: '-'.join(fields),
)
def test_every_plan_keeps_the_budget(fields):
  result = rare_words.learn(
    rare_words.bare, dataclasses.replace(QUICK, **fields)
  )
  assert result.num_bytes <= BUDGET * DENSE_BYTES
  assert np.isfinite(loss_of(result))


def test_batches_may_be_made_and_losses_may_be_sums():
  loss_fn, _, _ = rare_words.trained(rare_words.bare)

  def as_sums(params, embed, batch, key):
    loss = loss_fn(params, embed, batch, key)
    return 32 * loss, np.float32(32), {'halved': 16 * loss}

  made = search.SearchData(
    train=lambda step: DATA.train[step % 8],
    held_out=lambda step: DATA.held_out[step % 4],
  )
  config = dataclasses.replace(CONFIG, measured_batches=8)
  result = rare_words.learn(rare_words.bare, config, loss_fn=as_sums, data=made)
  for line in result.history:
    assert line['halved'] == pytest.approx(line['loss'] / 2, rel=1e-5)
  assert result.num_bytes <= BUDGET * DENSE_BYTES


def no_work(monkeypatch):
  def fail(*args, **kwargs):
    raise AssertionError('work was begun')

  monkeypatch.setattr(search.option_search, 'measure_sensitivity', fail)


@pytest.mark.parametrize(
  ('changes', 'error', 'reason'),
  [
    ({'budget': 3}, ValueError, 'at least the .* bytes of the smallest'),
    ({'budget': 'much'}, ValueError, 'budget must be'),
    ({'counts': COUNTS[1:]}, ValueError, 'one number for each of 60 words'),
    ({'table': np.ones(3)}, ValueError, r'must be \[V, D\]'),
    ({'config': object()}, TypeError, 'must be a SearchConfig, got object'),
    (
      {'params': {'kernel': np.arange(3)}},
      TypeError,
      r"floats, .* got int.. at \['kernel'\]",
    ),
    (
      {'loss_fn': lambda params, embed, batch, key: embed(batch['ids'])},
      TypeError,
      r'one float, the mean loss .* float32\[32, 8, 8\]',
    ),
    (
      {'data': search.SearchData([{'ids': np.int32(3)}], DATA.held_out)},
      ValueError,
      'batches of train must hold arrays whose first axis',
    ),
  ],
)
def test_all_is_checked_before_any_work(monkeypatch, changes, error, reason):
  no_work(monkeypatch)
  with pytest.raises(error, match=reason):
    rare_words.learn(rare_words.bare, **changes)


@pytest.mark.parametrize(
  ('batches', 'error', 'reason'),
  [
    (DATA.train[0], TypeError, 'a sequence of batches .* got dict'),
    (iter(DATA.train), TypeError, 'make an iterator a list'),
    ([], ValueError, 'train must hold at least one batch'),
  ],
)
def test_data_must_be_batches(batches, error, reason):
  with pytest.raises(error, match=reason):
    search.SearchData(batches, DATA.held_out)


def test_a_loss_without_words_is_refused():
  def loss_fn(params, embed, batch, key):
    del embed, batch, key
    return params['kernel'].sum()

  with pytest.raises(ValueError, match='look them up with embed'):
    rare_words.learn(rare_words.bare, loss_fn=loss_fn)


def test_finetuning_adds_a_quarter_of_the_commitment_by_counts():
  """A loss of nothing else: codes want queries near, frequent ones most."""
  method = methods.DifferentiableNearest(2, 4)
  scheme = embedcomp.Scheme(D, (embedcomp.Group(V, method),))
  table = {'group_0': method.init(jax.random.key(0), Shape(V, D))}
  config = dataclasses.replace(CONFIG, finetuning=search.Finetuning(1))

  def nothing(params, embed, batch, key):
    del key
    return 0 * (params['bias'].sum() + embed(batch['ids']).sum())

  params = {'bias': np.ones(2, np.float32)}
  problem = search.SearchProblem(
    nothing, params, np.ones((V, D), np.float32), DATA, COUNTS
  )
  decision = search.Decision(scheme, table, params)
  *_, (line,) = _finetune(decision, problem, config, progress=False)
  blocks = np.asarray(table['group_0']['queries']).reshape(V, 2, 1, -1)
  books = np.asarray(table['group_0']['codebooks'])
  nearest = np.square(blocks - books[None]).sum(-1).min(-1).sum(-1)  # [V]
  of_word = nearest / (np.square(books).mean() * D)
  expected = np.average(of_word, weights=COUNTS) / 4
  assert line['loss'] == pytest.approx(expected, rel=1e-5)
