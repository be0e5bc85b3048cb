"""The metric of the word vectors of a BERT."""

import numpy as np
import pytest

import embedcomp
from embedcomp.nn.bert.heads import BertMaskedLM
from embedcomp.workflows import sentence_metric as sentence_metric_lib
from embedcomp.workflows.sentence_metric import sentence_metric
from embedcomp.workflows.sentence_model import SentenceModel
from tests.data.tiny_tokenizers import TEXTS, tiny
from tests.small_berts import write_model

LINES = [*TEXTS, 'the dog', 'the', ' '.join(TEXTS)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A model with a head that sentence vectors leave out, and a smaller one."""
  folder = tmp_path_factory.mktemp('models')
  write_model(folder / 'dense', BertMaskedLM, tiny('WordPiece'))
  embedcomp.compress_model(
    folder / 'dense',
    folder / 'small',
    budget='12x',
    texts=TEXTS,
    progress=False,
  )
  return folder


def counts_of(model):
  """Of its words and special tokens, the first of which are read most."""
  return 1 / np.arange(1, len(model.tokenizer) + 1)


def test_the_metric_of_a_bert_knows_its_layer_normalisation(folder):
  """What is added to all features alike moves nothing, and is not seen."""
  model = SentenceModel.load(folder / 'dense')
  metric = sentence_metric(model, counts_of(model), progress=False)
  features = len(metric)
  assert np.trace(metric) == pytest.approx(features)
  assert np.linalg.eigvalsh(metric)[1] > 1e-4
  ones = np.full(features, features**-0.5)
  assert np.abs(metric @ ones).max() < 1e-4


def test_the_metric_tells_errors_of_sentences_that_matter(folder):
  """Along its first axis an error does more than along its last but one."""
  model = SentenceModel.load(folder / 'dense')
  metric = sentence_metric(model, counts_of(model), progress=False)
  axes = np.linalg.eigh(metric)[1].T
  table = np.asarray(model.params['embedder']['embedding'])
  damages = [
    embedcomp.fidelity(
      model, model.with_table(table + 0.01 * axis.astype(np.float32)), LINES
    ).damage
    for axis in (axes[-1], axes[1])
  ]
  assert damages[0] > 5 * damages[1] > 0


def test_words_are_drawn_by_counts_and_seed(folder, monkeypatch):
  model = SentenceModel.load(folder / 'dense')
  tokenizer, read = model.tokenizer, []

  def remember(output_fn, params, table, batches, **kwargs):
    read.append(np.stack(list(batches)))
    return np.eye(table.shape[1])

  monkeypatch.setattr(sentence_metric_lib, 'measure_metric', remember)
  cat, dog = (tokenizer.tokens.index(word) for word in ('cat', 'dog'))
  counts = np.zeros(len(tokenizer))
  counts[[cat, dog, tokenizer.mask_id, tokenizer.pad_id]] = [3, 1, 50, 50]
  for seed in (0, 0, 1):
    sentence_metric(model, counts, num_tokens=2_000, seed=seed, progress=False)
  same, again, other = read
  np.testing.assert_array_equal(same, again)
  assert (same != other).any()
  assert same.shape == (2, 32, 32)
  assert (same[..., 0] == tokenizer.cls_id).all()
  assert (same[..., -1] == tokenizer.sep_id).all()
  words = same[..., 1:-1]
  assert set(np.unique(words)) == {cat, dog}
  # Of 1,920 words: the deviation of the share is .01.
  assert np.mean(words == cat) == pytest.approx(0.75, abs=0.04)


def test_what_has_no_metric_is_refused(folder):
  model = SentenceModel.load(folder / 'dense')
  counts = counts_of(model)
  for wrong, reason in (
    (counts[1:], 'one a row of the table'),
    (-counts, 'finite and not negative'),
    (counts * np.nan, 'finite and not negative'),
    (np.eye(1, len(counts), model.tokenizer.pad_id)[0], 'for some word'),
  ):
    with pytest.raises(ValueError, match=reason):
      sentence_metric(model, wrong, progress=False)
  small = SentenceModel.load(folder / 'small')
  with pytest.raises(ValueError, match='a dense table, got a compressed one'):
    sentence_metric(small, counts, progress=False)
