"""Sentence vectors and fidelity of directories of models."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import embedcomp
from embedcomp.cli import main
from embedcomp.nn.bert.heads import BertClassifier
from embedcomp.workflows.compare_models import compare_models
from embedcomp.workflows.sentence_model import SentenceModel
from tests.data.tiny_tokenizers import TEXTS, tiny
from tests.small_berts import write_model

LINES = [*TEXTS, 'the dog', 'the', ' '.join(TEXTS)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A classifier, and what `compress_model` makes of it."""
  folder = tmp_path_factory.mktemp('models')
  make = functools.partial(BertClassifier, num_labels=3)
  write_model(folder / 'dense', make, tiny('WordPiece'), ['x', 'y', 'z'])
  embedcomp.compress_model(
    folder / 'dense',
    folder / 'small',
    budget='12x',
    texts=TEXTS,
    progress=False,
  )
  (folder / 'one.txt').write_text('\n'.join([*LINES[:3], '', ' ']))
  (folder / 'two.txt').write_text('\n'.join(LINES[2:]))
  (folder / 'short.txt').write_text(LINES[0])
  return folder


@pytest.mark.parametrize('name', ['dense', 'small'])
def test_vectors_are_those_of_the_model_in_the_order_of_texts(folder, name):
  model, params = embedcomp.from_pretrained(folder / name, head='sentence')
  tokenizer = embedcomp.SubwordTokenizer.load(folder / name)
  found = SentenceModel.load(folder / name)(LINES)
  ids = np.full((len(LINES), 40), tokenizer.pad_id)
  for row, text in zip(ids, tokenizer.encode(LINES), strict=True):
    row[: len(text.ids)] = text.ids
  expected = model.apply(embedcomp.to_variables(params), ids)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_texts_are_cut_to_what_is_asked_for(folder):
  model = SentenceModel.load(folder / 'dense', max_length=3)
  np.testing.assert_allclose(*model(['the dog', 'the']), atol=1e-6)


def test_a_table_is_put_in_the_place_of_another(folder):
  model = SentenceModel.load(folder / 'dense')
  table = np.asarray(model.params['embedder']['embedding'])
  same = model.with_table(table)
  np.testing.assert_array_equal(same(LINES), model(LINES))
  assert (model.with_table(table[::-1])(LINES) != model(LINES)).any()


def test_a_model_is_like_itself_and_less_like_what_it_becomes(folder):
  dense, small = folder / 'dense', folder / 'small'
  same = compare_models(dense, dense, LINES, progress=False)
  assert (same.damage, same.similarity_rms) == (0, 0)
  found = compare_models(dense, small, LINES, progress=False)
  vectors = [SentenceModel.load(path)(LINES) for path in (dense, small)]
  cosines = (vectors[0] * vectors[1]).sum(axis=1)
  assert found.damage == pytest.approx(1 - cosines.mean(), abs=1e-6)
  assert found.damage > 1e-6


def test_the_command_says_it_by_file(folder, capsys):
  paths = [folder / 'one.txt', folder / 'two.txt']
  texts = {str(paths[0]): LINES[:3], str(paths[1]): LINES[2:]}
  found = compare_models(
    folder / 'dense', folder / 'small', texts, progress=False
  )
  models = [str(folder / name) for name in ('dense', 'small')]
  main.main(['fidelity', *models, '--text', *map(str, paths)])
  head, *lines = capsys.readouterr().out.splitlines()
  assert head.split() == ['texts', 'damage', 'similarity_rms']
  rows = [line.split() for line in lines]
  assert [row[:2] for row in rows] == [
    [str(paths[0]), '3'],
    [str(paths[1]), '4'],
    ['all', '7'],
  ]
  for row, one in zip(rows, [*found.by_source.values(), found]):
    assert float(row[2]) == pytest.approx(one.damage, abs=1e-6)
    assert float(row[3]) == pytest.approx(one.similarity_rms, abs=1e-6)


@pytest.mark.parametrize(
  ('arguments', 'reason'),
  [
    (['{0}/dense', '{0}/no', '--text={0}/one.txt'], 'COMPRESSED must be a dir'),
    (
      ['{0}/no', '{0}/small', '--text={0}/one.txt'],
      'MODEL must be a directory',
    ),
    (['{0}/dense', '{0}/small', '--text={0}/no'], '--text must name files'),
    (['{0}/dense', '{0}/small', '--text={0}/short.txt'], 'at least 2 texts'),
  ],
)
def test_mistakes_of_the_command_are_one_line(folder, arguments, reason):
  arguments = [text.format(folder) for text in arguments]
  with pytest.raises(SystemExit) as ended:
    main.main(['fidelity', *arguments])
  assert ended.value.code.startswith('embedcomp: ')
  assert reason in ended.value.code
  assert '\n' not in ended.value.code


def test_no_texts_and_a_tokenizer_of_another_model_are_refused(folder):
  model = SentenceModel.load(folder / 'dense')
  with pytest.raises(ValueError, match='documents must be one or more'):
    model([])
  other = SentenceModel(model.model, model.params, tiny('BPE'))
  with pytest.raises(ValueError, match=r'padding must be 0 .* got 1'):
    other(LINES)


def test_a_compressed_table_may_be_looked_up_in_place_of_the_dense(folder):
  """Unpacked, the small table gives the vectors of the small directory."""
  small = SentenceModel.load(folder / 'small')
  scheme = small.model.embedder.scheme
  table = embedcomp.reconstruct(scheme, small.params['embedder'])
  dense = embedcomp.from_pretrained(folder / 'dense', head='sentence')[0]
  unpacked = SentenceModel(dense, small.params, small.tokenizer)
  found = unpacked.with_table(jnp.asarray(table))(LINES)
  np.testing.assert_allclose(found, small(LINES), atol=1e-5)
