"""Labels and texts of data, as a model has them."""

import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from embedcomp.data import Documents
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import Bert
from embedcomp.workflows import evaluate as evaluation
from tests.data.tiny_tokenizers import TEXTS, tiny
from tests.small_berts import write_model

EXTRAS = (
  *('array_record', 'huggingface_hub', 'matplotlib', 'ml_collections'),
  *('optuna', 'orbax', 'tensorboardX', 'tensorflow_datasets'),
)
ROBERTA = tiny('BPE')  # padding is 1
PAIRS = Documents(TEXTS, np.array([0.5, 0.1, 0.2]), TEXTS[::-1])


def model_of(tokenizer, **fields):
  """All of a model that its batches depend on."""
  sizes = {
    'vocab_size': len(tokenizer),
    'pad_token_id': tokenizer.pad_id,
    'model_type': 'roberta' if tokenizer.pad_id else 'bert',
    'type_vocab_size': 1,
  }
  return types.SimpleNamespace(config=BertConfig(**{**sizes, **fields}))


@pytest.fixture
def batches_of(monkeypatch):
  """Gives the batches of an evaluation in place of what they measure."""
  monkeypatch.setattr(
    evaluation,
    'make_evaluator',
    lambda task: lambda variables, batches: list(batches),
  )

  def evaluate(kind, documents, model=None, tokenizer=ROBERTA, **more):
    model = model or model_of(tokenizer)
    more |= {'progress': False}
    return evaluation.evaluate(kind, model, {}, tokenizer, documents, **more)

  return evaluate


def rows_of(batches, name='ids'):
  """Texts without padding, but for fillers."""
  return [
    row[row != ROBERTA.pad_id].tolist()
    for batch in batches
    for row in batch[name]
    if (row != ROBERTA.pad_id).any()
  ]


def encoded(*args, **more):
  return [text.ids.tolist() for text in ROBERTA.encode(*args, **more)]


def test_texts_of_a_similarity_are_read_apart(batches_of):
  found = batches_of('similarity', PAIRS)
  assert sorted(rows_of(found)) == sorted(encoded(PAIRS.texts))
  others = rows_of(found, 'pair_ids')
  assert sorted(others) == sorted(encoded(PAIRS.pairs))


def test_other_pairs_are_read_together(batches_of):
  found = batches_of('regression', PAIRS)
  together = encoded(PAIRS.texts, PAIRS.pairs)
  assert sorted(rows_of(found)) == sorted(together)
  assert all('pair_ids' not in batch for batch in found)


def test_short_texts_are_padded_little(batches_of):
  for batch in batches_of('classification', Documents(TEXTS, [0, 1, 0])):
    longest = max(map(len, rows_of([batch])))
    assert batch['ids'].shape[1] == min(n for n in (16, 32, 64) if n >= longest)
    assert len(batch['ids']) % jax.device_count() == 0


@pytest.mark.parametrize(
  ('positions', 'max_length', 'expected'), [(12, 128, 10), (40, 7, 7)]
)
def test_texts_are_cut_to_what_is_asked_for_and_to_the_positions(
  batches_of, positions, max_length, expected
):
  """RoBERTa's positions begin behind the padding, which is 1."""
  model = model_of(ROBERTA, max_position_embeddings=positions)
  documents = Documents(TEXTS, [0, 1, 0])
  found = batches_of('classification', documents, model, max_length=max_length)
  assert {batch['ids'].shape[1] for batch in found} == {expected}
  cut = encoded(TEXTS, max_length=expected)
  assert sorted(rows_of(found)) == sorted(cut)


def test_a_tokenizer_of_another_model_is_refused(batches_of):
  model = model_of(ROBERTA, pad_token_id=0)
  with pytest.raises(ValueError, match=r'padding must be 0 .* got 1'):
    batches_of('classification', Documents(TEXTS, [0, 1, 0]), model)


def test_a_similarity_needs_second_texts(batches_of):
  with pytest.raises(ValueError, match='needs second texts'):
    batches_of('similarity', Documents(TEXTS, np.array([0.5, 0.1, 0.2])))


def test_labels_go_by_their_names():
  labels = np.array([0, 1, 2, -1, 2])
  own = ['Neutral', 'good', 'BAD', 'other']
  found = evaluation.renumbered(labels, ['bad', 'good', 'neutral'], own)
  assert found.tolist() == [2, 1, 0, -1, 0]


def test_labels_that_a_model_has_no_names_for_stay():
  labels = np.array([1, 0, -1])
  found = evaluation.renumbered(labels, ['bad', 'good'], ['LABEL_0', 'LABEL_1'])
  assert found.tolist() == [1, 0, -1]


@pytest.mark.parametrize('own', [['bad', 'fair'], ['LABEL_0']])
def test_labels_of_another_model_are_refused(own):
  with pytest.raises(ValueError, match=r'got bad, good\.'):
    evaluation.renumbered(np.array([0, 1]), ['bad', 'good'], own)


def test_parts_are_joined_in_order():
  one = Documents(('a', 'b'), [0, 1], ('c', 'd'))
  two = Documents(('e',), [1], ('f',))
  found = evaluation.joined([one, two])
  assert found.texts == ('a', 'b', 'e')
  assert found.pairs == ('c', 'd', 'f')
  assert found.labels.tolist() == [0, 1, 1]
  bare = evaluation.joined([Documents(('a',)), Documents(('b',))])
  assert bare.labels is None
  assert bare.pairs is None


@pytest.mark.parametrize('scale', [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_divides_nothing_is_refused(scale):
  with pytest.raises(ValueError, match='label_scale must be positive'):
    evaluation.LabelledTexts('pairs.tsv', label_scale=scale)


def test_an_unknown_task_is_refused_before_the_model_is_read():
  data = evaluation.LabelledTexts('pairs.tsv')
  with pytest.raises(ValueError, match=r"task must be one of .* got 'ranking'"):
    evaluation.evaluate_model('nothing', data, 'ranking')


def test_measuring_needs_no_package_of_an_extra(tmp_path):
  write_model(tmp_path / 'model', Bert, tiny('WordPiece'))
  lines = [f'{text}\t{text}\t{i}' for i, text in enumerate(TEXTS)]
  lines = ['text\tother\tlabel', *lines, *lines, *lines]
  (tmp_path / 'pairs.tsv').write_text('\n'.join(lines))
  code = '\n'.join(
    [
      'import sys',
      f'for name in {EXTRAS}: sys.modules[name] = None',
      'from embedcomp.cli.main import main',
      'from embedcomp.distillation import Teacher',
      'main(sys.argv[1:])',
    ]
  )
  paths = [str(tmp_path / name) for name in ('model', 'pairs.tsv')]
  flags = ['--task=similarity', '--pair-field=other']
  run = subprocess.run(
    [sys.executable, '-c', code, 'evaluate', *paths, *flags],
    capture_output=True,
    text=True,
  )
  assert run.returncode == 0, run.stderr
  assert 'spearman' in run.stdout
