"""The metric of the word vectors of a BERT."""

import numpy as np
import pytest

import embedcomp
from embedcomp.nn.bert.heads import BertMaskedLM
from embedcomp.workflows.sentence_metric import TextSample, sentence_metric
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


def test_the_metric_of_a_bert_knows_its_layer_normalisation(folder):
  """What is added to all features alike moves nothing, and is not seen."""
  model = SentenceModel.load(folder / 'dense', max_length=16)
  metric = sentence_metric(model, iter(LINES), progress=False)
  features = len(metric)
  assert np.trace(metric) == pytest.approx(features)
  assert np.linalg.eigvalsh(metric)[1] > 1e-4
  ones = np.full(features, features**-0.5)
  assert np.abs(metric @ ones).max() < 1e-4


def test_the_metric_tells_errors_that_matter_from_those_that_do_not(folder):
  """Along its first axis an error does more than along its last but one."""
  model = SentenceModel.load(folder / 'dense')
  axes = np.linalg.eigh(sentence_metric(model, LINES, progress=False))[1].T
  table = np.asarray(model.params['embedder']['embedding'])
  damages = [
    embedcomp.fidelity(
      model, model.with_table(table + 0.01 * axis.astype(np.float32)), LINES
    ).damage
    for axis in (axes[-1], axes[1])
  ]
  assert damages[0] > 5 * damages[1] > 0


def test_texts_for_the_metric_are_few_and_drawn_by_the_seed(folder):
  model = SentenceModel.load(folder / 'dense')

  def found(**more):
    return sentence_metric(model, LINES, progress=False, **more)

  every = found()
  np.testing.assert_array_equal(every, found())
  assert (every != found(seed=1)).any()
  assert (every != found(num_tokens=1)).any()  # a single text is read


def test_what_has_no_metric_is_refused(folder):
  with pytest.raises(ValueError, match='needs texts to be measured on'):
    sentence_metric(SentenceModel.load(folder / 'dense'), [], progress=False)
  with pytest.raises(ValueError, match='a dense table, got a compressed one'):
    sentence_metric(SentenceModel.load(folder / 'small'), LINES, progress=False)


def test_a_sample_is_of_all_texts_alike():
  """Also of those read in several goes; each text is kept with chance 1/4."""
  counts = np.zeros(4)
  for seed in range(8):
    sample = TextSample(seed)
    for texts in np.arange(4 * 4096).reshape(2, -1):
      assert list(sample.keep_from(map(str, texts))) == list(map(str, texts))
    kept = np.array(sample.texts, int)
    assert len(set(kept)) == len(kept) == 4096
    counts += np.bincount(kept // 4096, minlength=4)
  # The deviation of each is sqrt(8 * 4096 * 3 / 16).
  assert np.abs(counts - 8 * 1024).max() < 4 * 78.4
