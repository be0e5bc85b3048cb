"""Arguments that attentions refuse, each by its name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import embedcomp
from embedcomp.attention.dot_product import attention_weights
from embedcomp.attention.inputs import as_mask, check_rate

B, T, N, H = 2, 5, 3, 4
RECURSIVE = functools.partial(
  embedcomp.recursive_attention, chunk_size=2, num_summaries=1
)
EACH_ATTENTION = pytest.mark.parametrize(
  'attend', [embedcomp.dense_attention, RECURSIVE], ids=['dense', 'recursive']
)
SHAPE = (B, T, N, H)


def heads(**shapes):
  """Queries, keys and values of ones, but for what is named."""
  names = ('query', 'key', 'value')
  return {n: np.ones(shapes.get(n, SHAPE), np.float32) for n in names}


@EACH_ATTENTION
@pytest.mark.parametrize(
  ('shapes', 'rule'),
  [
    ({'query': SHAPE[1:]}, r'query must be \[batch, .*32\[5, 3, 4\]'),
    ({'key': (*SHAPE, 1)}, r'key must be \[batch, .*32\[2, 5, 3, 4, 1\]'),
    ({'value': (B, T, 12)}, r'value must be \[batch, .*32\[2, 5, 12\]'),
    ({'query': (0, T, N, H)}, r'query must .* at least .*32\[0, 5, 3, 4\]'),
    ({'query': (B, 0, N, H)}, r'query must .* at least .*32\[2, 0, 3, 4\]'),
    ({'key': (B, 0, N, H)}, r'key must .* at least .*32\[2, 0, 3, 4\]'),
    ({'key': (1, T, N, H)}, r'key must have the batch, .*, got \[1, 5, 3'),
    ({'key': (B, T, 1, H)}, r'key must .* heads .*, got \[2, 5, 1, 4\]'),
    ({'value': (B, T, N, 2)}, r'value must .* features .*, got \[2, 5, 3, 2'),
    ({'value': (B, 4, N, H)}, r'value must have the 5 tokens .*\[2, 4, 3'),
  ],
)
def test_heads_must_agree(attend, shapes, rule):
  with pytest.raises(ValueError, match=rule):
    attend(**heads(**shapes))


def test_a_text_reads_itself_in_chunks():
  shorter = heads(query=(B, 4, N, H))
  assert embedcomp.dense_attention(**shorter).shape == (B, 4, N, H)
  rule = r'key must have the 4 tokens of query, got \[2, 5, 3, 4\]'
  with pytest.raises(ValueError, match=rule):
    RECURSIVE(**shorter)


@EACH_ATTENTION
@pytest.mark.parametrize('name', ['query', 'key', 'value'])
@pytest.mark.parametrize('dtype', ['int32', 'bool'])
def test_integers_are_not_attended(attend, name, dtype):
  arrays = heads()
  arrays[name] = arrays[name].astype(dtype)
  with pytest.raises(ValueError, match=f'{name} must hold floats, got {dtype}'):
    attend(**arrays)


@EACH_ATTENTION
@pytest.mark.parametrize('put', [np.asarray, jnp.asarray])
def test_a_mask_that_is_added_to_scores_is_refused(attend, put):
  """Read as booleans, it would hide what may be read and show the rest."""
  is_token = np.arange(T)[None].repeat(B, axis=0) < 3
  added = np.where(is_token, 0, -1e4).astype(np.float32)
  with pytest.raises(ValueError, match=r'got float32\[2, 5\]: pass mask > -1'):
    attend(**heads(), mask=put(added))
  np.testing.assert_array_equal(added > -1, is_token)
  with pytest.raises(ValueError, match='mask > 0 if it is of zeros and ones'):
    attend(**heads(), mask=put(is_token.astype(np.float32)))
  with pytest.raises(ValueError, match=r'must be bool, .* got int32\[2, 5\]'):
    attend(**heads(), mask=put(is_token.astype(np.int32)))


@EACH_ATTENTION
@pytest.mark.parametrize(
  'shape', [(T,), (B, 4), (1, T), (B, T, T), (B, 1, 1, T), ()]
)
def test_a_mask_is_one_of_the_keys(attend, shape):
  rule = r'mask must be \[batch, tokens\] \[2, 5\], got bool\['
  with pytest.raises(ValueError, match=rule):
    attend(**heads(), mask=np.ones(shape, bool))


def test_the_mask_of_shorter_queries_is_that_of_the_keys():
  shorter = heads(query=(B, 4, N, H))
  mask = np.ones((B, T), bool)
  assert embedcomp.dense_attention(**shorter, mask=mask).shape[1] == 4
  with pytest.raises(ValueError, match='mask must be'):
    attention_weights(shorter['query'], shorter['key'], mask[:, :4])


def test_masks_may_be_integers_where_they_are_told_apart():
  zeros_and_ones = np.array([[1, 0, 1]])
  take = functools.partial(as_mask, shape=(1, 3), allow_integers=True)
  for put in (np.asarray, jnp.asarray, np.ndarray.tolist, jnp.int8):
    found = take(put(zeros_and_ones))
    assert found.dtype == bool
    assert found.tolist() == [[True, False, True]]
  with pytest.raises(
    ValueError, match=r'hidden must be of 0 and 1, .* -9 to 0'
  ):
    take(np.array([[0, -9, 0]]), name='hidden')
  with pytest.raises(ValueError, match=r'of 0 and 1, .* 0 to 2: .* mask > -1'):
    take(np.array([[0, 1, 2]]))
  with pytest.raises(ValueError, match=r'bool or integers .* mask > -1'):
    take(np.array([[0.0, -1e4, 0.0]]))


@EACH_ATTENTION
@pytest.mark.parametrize('rate', [-0.1, 1, 1.5, np.nan, '0.1', None])
def test_a_rate_is_a_share_below_one(attend, rate):
  rule = r'dropout_rate must be a number in \[0, 1\), got '
  with pytest.raises(ValueError, match=rule):
    attend(**heads(), dropout_rate=rate, dropout_key=jax.random.key(0))


@EACH_ATTENTION
def test_a_rate_needs_a_key(attend):
  with pytest.raises(
    ValueError, match=r'dropout_rate 0\.1 needs a dropout_key'
  ):
    attend(**heads(), dropout_rate=0.1)


@pytest.mark.parametrize('rate', [0, 0.0, np.float32(0.5), 0.999])
def test_rates_of_all_kinds_of_numbers_are_taken(rate):
  check_rate('rate', rate)


@EACH_ATTENTION
def test_numbers_of_python_are_taken(attend):
  lists = {name: array.tolist() for name, array in heads().items()}
  mask = np.ones((B, T), bool).tolist()
  assert attend(**lists, mask=mask).dtype == jnp.float32
