"""Tensors of many parts, of which some are entropy-coded together."""

import numpy as np
import pytest

from embedcomp.methods import part_tensors, storage
from embedcomp.methods.coded_factor import CodedFactor
from embedcomp.methods.coded_integers import CodedIntegers
from embedcomp.methods.forms import Stored
from tests.methods.plain_streams import plain_decode, sealed

OWNED = {
  'few': (CodedIntegers('codes', (40, 7), 300), storage.Factor('mean', (3,))),
  'many': (CodedIntegers('codes', (300, 3), 500),),
  'shared': (CodedFactor('axes', (4, 150), 'int8', num_bytes=350),),
}


def random_params(rng):
  def integers(shape):
    return Stored(np.rint(rng.normal(size=shape)).astype(np.int8))

  axes = OWNED['shared'][0]
  return {
    'few': {'codes': integers((40, 7)), 'mean': Stored(np.ones(3, 'f4'))},
    'many': {'codes': integers((300, 3))},
    'shared': {
      'axes': axes.quantize(axes.trainable(rng.normal(size=(4, 150))))
    },
  }


def test_streams_are_those_of_every_part_alone(rng):
  params = random_params(rng)
  tensors = part_tensors.pack(OWNED, params)
  assert {
    name: (array.dtype, array.shape) for name, array in tensors.items()
  } == part_tensors.file_tensors(OWNED)
  for owner, name, shape in [
    ('few', 'codes', (40, 7)),
    ('many', 'codes', (300, 3)),
  ]:
    values = plain_decode(tensors[f'{owner}.{name}'], shape)
    np.testing.assert_array_equal(values, params[owner][name].values)
  axes = plain_decode(tensors['shared.axes.values'], (150, 4))
  np.testing.assert_array_equal(axes.T, params['shared']['axes'].values)
  again = part_tensors.unpack(OWNED, tensors)
  for owner, arrays in params.items():
    assert list(again[owner]) == list(arrays)
    for name, leaf in arrays.items():
      np.testing.assert_array_equal(again[owner][name].values, leaf.values)


def test_integers_that_cannot_be_coded_are_named(rng):
  params = random_params(rng)
  params['many']['codes'] = Stored(np.full((300, 3), -128, np.int8))
  with pytest.raises(ValueError, match=r'^many\.codes: values must be within'):
    part_tensors.pack(OWNED, params)
  params['many']['codes'] = Stored(rng.integers(-99, 99, (300, 3), np.int8))
  with pytest.raises(ValueError, match=r'^many\.codes: values take \d+ bytes'):
    part_tensors.pack(OWNED, params)


def test_damage_is_named(rng):
  whole = part_tensors.pack(OWNED, random_params(rng))
  stream = whole['shared.axes.values'].copy()
  stream[70] ^= 1
  with pytest.raises(
    ValueError, match=r'^shared\.axes\.values: the checksum is wrong'
  ):
    part_tensors.unpack(OWNED, whole | {'shared.axes.values': stream})
  # Found out only at the end of what all streams are decoded in.
  stream = sealed(stream, (150, 4))
  with pytest.raises(ValueError, match=r'^shared\.axes\.values: .* chunk'):
    part_tensors.unpack(OWNED, whole | {'shared.axes.values': stream})
  mean = np.full(3, np.nan, np.float32)
  with pytest.raises(ValueError, match=r'^few: mean must be finite'):
    part_tensors.unpack(OWNED, whole | {'few.mean': mean})
