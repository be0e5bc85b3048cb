"""Methods by name, to and from plain dicts."""

import dataclasses

import pytest

from embedcomp import methods


def test_names_lead_to_classes():
  assert 'tensor_train' in methods.names()
  for name in methods.names():
    assert methods.get(name).name == name


def test_round_trip():
  method = methods.ProductQuantization(4, 16, 'int8', rotation=True)
  description = methods.to_dict(method)
  assert description == {
    'method': 'pq',
    'books': 4,
    'codewords': 16,
    'storage': 'int8',
    'rotation': True,
  }
  assert methods.from_dict(description) == method


@pytest.mark.parametrize(
  ('description', 'message'),
  [
    ({}, 'must be one of .* got None'),
    ({'method': 'zip'}, "got 'zip'"),
    ({'method': 'low_rank'}, 'low_rank is incomplete'),
    ({'method': 'low_rank', 'rank': 2.0}, 'rank must be int, got 2.0'),
    ({'method': 'low_rank', 'rank': True}, 'rank must be int, got True'),
    ({'method': 'dense', 'rank': 2}, r"has no field \['rank'\]"),
    ({'method': 'dense', 'storage': 'int2'}, "got 'int2'"),
  ],
)
def test_wrong_descriptions_are_refused(description, message):
  with pytest.raises(ValueError, match=message):
    methods.from_dict(description)


def test_names_are_taken_once():
  with pytest.raises(ValueError, match="'dense' is registered already"):
    methods.register(methods.Dense)


@pytest.mark.parametrize('field', ['size', 'method'])
def test_fields_that_files_use_themselves_are_refused(field):
  members = {'__annotations__': {field: int}, 'name': 'greedy'}
  cls = dataclasses.dataclass(frozen=True)(
    type('Greedy', (methods.Method,), members)
  )
  with pytest.raises(ValueError, match=rf"greedy must not .* \['{field}'\]"):
    methods.register(cls)
  assert 'greedy' not in methods.names()


@pytest.mark.parametrize(
  'method',
  [
    methods.Dense(),
    methods.LowRank(16, 'int4', 'int8'),
    methods.ProductQuantization(4, 16, 'int8', rotation=True),
  ],
)
def test_parsing_reverses_describing(method):
  assert methods.parse(methods.describe(method)) == method


@pytest.mark.parametrize('text', ['low_rank(rank=1', 'pq(books)', 'x y', ''])
def test_texts_that_are_no_method_are_refused(text):
  with pytest.raises(ValueError, match=r'method|field|must be'):
    methods.parse(text)
