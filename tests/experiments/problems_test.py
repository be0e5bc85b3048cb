"""Problems whose words have other ids are the same problems."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import embedcomp
from embedcomp import data as data_lib
from embedcomp.compression.frequency import expected_counts
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.heads import BertMaskedLM
from embedcomp.search.sensitivity import Sensitivity
from experiments.problems import make_problem
from tests import small_berts
from tests.data.tiny_tokenizers import TEXTS, tiny
from tests.experiments import small_bert
from tests.experiments.small_bert import own_cache

pytestmark = pytest.mark.usefixtures(own_cache.__name__)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A text of which the tiny tokenizers know every piece."""
  folder = tmp_path_factory.mktemp('text')
  for split in ('train', 'test'):
    lines = ['text\tlabel']
    lines += [f'{text}\t{n % 2}' for n, text in enumerate(TEXTS * 4)]
    (folder / f'{split}.tsv').write_text('\n'.join(lines) + '\n')
  return folder


def write_masked_lm(folder, kind, model_type):
  """A tiny masked language model of a family, and its tokenizer."""
  tokenizer = tiny(kind)
  type_vocab_size = 2 if model_type == 'bert' else 1
  small_berts.write_model(
    folder,
    BertMaskedLM,
    tokenizer,
    model_type=model_type,
    type_vocab_size=type_vocab_size,
  )
  return tokenizer


FAMILIES = [
  ('WordPiece', 'bert', 5),
  ('BPE', 'roberta', 5),
  ('Unigram', 'xlm-roberta', 4),
]


@pytest.fixture(scope='module', params=FAMILIES, ids=lambda family: family[1])
def family(request, folder, tmp_path_factory):
  """The old tokenizer, the problem and how many ids are to stay."""
  kind, model_type, num_fixed = request.param
  path = tmp_path_factory.mktemp(model_type)
  tokenizer = write_masked_lm(path, kind, model_type)
  config = small_bert.config_of(
    folder, 'masked_lm', **{'bert.path': str(path), 'optim.batch_size': 4}
  )
  return tokenizer, make_problem(config, progress=False), num_fixed


def logits_of(problem, variables, batch):
  embedder = nn.Embed(problem.vocab_size, problem.features)
  model = problem.make_model(embedder)
  return np.asarray(jax.jit(model.apply)(variables, batch['ids']))


def test_words_are_in_the_order_of_what_is_expected_of_them(family):
  """Words that the training data lack are among those that they have."""
  old, problem, _ = family
  new = problem.vocabulary.tokenizer
  ids = new.ids_in(old)  # the old one of each
  expected = expected_counts(problem.counts[np.argsort(ids)], tokens=old.tokens)
  weights = problem.importance_by_frequency
  np.testing.assert_allclose(weights, np.sqrt(expected[ids] + 0.05))
  moved = np.setdiff1d(np.arange(len(new)), new.fixed_ids)
  assert (np.diff(weights[moved]) <= 0).all()
  assert weights[moved[0]] > weights[moved[-1]]
  assert (np.diff(problem.importance) <= 0).all()
  assert (problem.importance >= weights).all()


def test_special_tokens_at_the_start_keep_their_places(family):
  """Readers of XLM-R's tokenizers take 3 for the unknown word."""
  old, problem, num_fixed = family
  assert problem.num_fixed == num_fixed
  assert problem.padding == old.pad_id
  new = problem.vocabulary.tokenizer
  for use in ('pad', 'unk', 'cls', 'sep'):
    assert getattr(new, f'{use}_id') == getattr(old, f'{use}_id')
  drops = np.arange(problem.vocab_size, dtype=float)
  moved, order = problem.sorted_by(Sensitivity(drops, drops))
  assert order[:num_fixed].tolist() == list(range(num_fixed))
  assert (np.diff(order[num_fixed:]) == -1).all()
  assert moved.vocabulary.tokenizer.unk_id == old.unk_id


def test_texts_keep_their_vectors(family):
  old, problem, _ = family
  new = problem.vocabulary.tokenizer
  _, params = embedcomp.from_pretrained(problem.path, head='masked_lm')
  before = params['embedder']['embedding']
  after = problem.pretrained['params']['embedder']['embedding']
  for text, other in zip(old.encode(TEXTS), new.encode(TEXTS)):
    np.testing.assert_array_equal(after[other.ids], before[text.ids])
  batch = problem.train.at(0)
  rows = (batch['ids'] == new.mask_id).any(1)
  assert rows.any(), 'words are masked by the new id'
  assert (batch['ids'][rows, 0] == new.cls_id).all()


def test_a_model_in_another_order_scores_the_same(family, rng):
  """The rows of its table move, and its bias with them."""
  _, problem, num_fixed = family
  rest = num_fixed + rng.permutation(problem.vocab_size - num_fixed)
  order = np.concatenate([np.arange(num_fixed), rest])
  moved = problem.reordered(order)
  batch, other = problem.train.at(0), moved.train.at(0)
  np.testing.assert_array_equal(order[other['ids']], batch['ids'])
  np.testing.assert_array_equal(order[other['labels']], batch['labels'])
  assert (order[other['ids']] != other['ids']).any()
  logits = logits_of(problem, problem.pretrained, batch)
  others = logits_of(moved, moved.pretrained, other)
  np.testing.assert_allclose(others, logits[..., order], atol=1e-5)
  again = problem.renumbered_variables(problem.pretrained, order)
  jax.tree.map(np.testing.assert_array_equal, again, moved.pretrained)
  np.testing.assert_array_equal(
    moved.counts, problem.counts[order], 'counts go with their words'
  )


def test_rows_without_pieces_are_cut_off(folder, tmp_path):
  tokenizer = write_masked_lm(tmp_path, 'WordPiece', 'bert')
  model, params = embedcomp.from_pretrained(tmp_path, head='masked_lm')
  size = len(tokenizer)
  larger = BertMaskedLM(
    BertConfig(**{**vars(model.config), 'vocab_size': size + 3})
  )
  table = np.asarray(params['embedder']['embedding'])
  params['embedder'] = {'embedding': np.pad(table, ((0, 3), (0, 0)))}
  params['bias'] = np.pad(params['bias'], (0, 3))
  embedcomp.save_pretrained(tmp_path, larger, params)
  config = small_bert.config_of(
    folder, 'masked_lm', **{'bert.path': str(tmp_path)}
  )
  problem = make_problem(config, progress=False)
  assert problem.vocab_size == size
  found = problem.pretrained['params']
  assert found['embedder']['embedding'].shape == (size, 12)
  assert found['bias'].shape == (size,)
  model = problem.make_model(nn.Embed(size, 12))
  assert model.config.vocab_size == size


def test_padding_of_another_id_is_refused(folder, tmp_path):
  write_masked_lm(tmp_path, 'WordPiece', 'bert')
  tokenizer = data_lib.SubwordTokenizer.load(tmp_path)
  order = np.arange(len(tokenizer))
  order[[0, 9]] = 9, 0
  tokenizer.reordered(order).save(tmp_path)
  config = small_bert.config_of(folder, **{'bert.path': str(tmp_path)})
  with pytest.raises(ValueError, match='pad_token_id is 0, but 9'):
    make_problem(config, progress=False)


def epoch_of(batches):
  return [batches.at(step) for step in range(batches.num_batches)]


def test_pieces_count_as_often_as_the_model_reads_them(tmp_path):
  """In both texts of a pair, with the special tokens around each."""
  folder = small_bert.write(tmp_path)
  config = small_bert.config_of(
    folder, 'similarity', **{'data.buckets': (128,)}
  )
  problem = make_problem(config, progress=False)
  read = np.zeros(problem.vocab_size, int)
  for batch in epoch_of(problem.train):
    for name in ('ids', 'pair_ids'):
      read += np.bincount(batch[name].ravel(), minlength=problem.vocab_size)
  read[problem.padding] = 0
  np.testing.assert_array_equal(problem.counts, read)


def test_real_labels_are_divided_by_their_scale(tmp_path):
  folder = small_bert.write(tmp_path)
  config = small_bert.config_of(folder, 'regression')
  problem = make_problem(config, progress=False)
  found = np.concatenate(
    [
      batch['labels'][batch['weights'] > 0]
      for batch in problem.splits['test'].for_evaluation()
    ]
  )
  lines = (folder / 'test.tsv').read_text().splitlines()[1:]
  scores = [float(line.split('\t')[-1]) for line in lines]
  np.testing.assert_allclose(np.sort(found), np.sort(scores) / 5, rtol=1e-6)


def test_held_out_text_is_not_among_that_of_the_weights(family):
  _, problem, _ = family

  def num_tokens(batches):
    """Those of the stream: each row has a first and a last one besides."""
    ids = np.concatenate([batch['ids'] for batch in epoch_of(batches)])
    is_real = ids != problem.padding
    return is_real.sum() - 2 * is_real.any(axis=1).sum()

  held_out = num_tokens(problem.splits['held_out'])
  assert held_out > 0
  weights = num_tokens(problem.weights)
  assert weights + held_out == num_tokens(problem.train)


def test_ends_of_texts_and_starts_of_rows_count(family):
  _, problem, _ = family
  tokenizer = problem.vocabulary.tokenizer
  assert problem.counts[tokenizer.sep_id] == 4 * len(TEXTS)
  assert problem.counts[tokenizer.cls_id] > 0
