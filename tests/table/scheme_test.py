"""Tests of schemes: validation, JSON, exact sizes, summaries."""

import dataclasses
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from embedcomp import Group, Scheme, methods
from embedcomp.methods.axes_method import AxesMethod
from embedcomp.table import scheme as scheme_lib
from tests.table.scheme_strategies import random_schemes

DENSE = methods.Dense()
# 2 books of 16 codewords: 2 x 4 bits a word, 2 x 16 x 4 values in the books.
PQ = methods.ProductQuantization(books=2, codewords=16, storage='int8')
SCHEME = Scheme(
  8, (Group(10, DENSE), Group(90, PQ), Group(7, methods.Drop())), 'stored'
)

JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
  lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
  max_leaves=10,
)


@pytest.mark.parametrize(
  ('size', 'rule'),
  [
    (0, 'at least one word, got 0'),
    (-3, 'at least one word, got -3'),
    (True, 'at least one word, got True'),
    (2.0, 'at least one word, got 2.0'),
    (None, 'at least one word, got None'),
  ],
)
def test_group_sizes_are_checked(size, rule):
  with pytest.raises(ValueError, match=rule):
    Group(size, DENSE)


def test_groups_need_a_method():
  with pytest.raises(ValueError, match=r"needs a method.*got 'dense'"):
    Group(3, 'dense')


@pytest.mark.parametrize(
  ('fields', 'rule'),
  [
    ({'features': 0}, 'features must be 1 to .*, got 0'),
    ({'features': True}, 'features must be 1 to .*, got True'),
    ({'features': 8.0}, 'features must be 1 to .*, got 8.0'),
    ({'features': 2**20 + 1}, 'features must be 1 to 1048576, got 1048577'),
    ({'groups': ()}, r'groups must be a tuple of Groups, got \(\)'),
    ({'groups': [Group(3, DENSE)]}, r'tuple of Groups, got \[Group'),
    ({'groups': (3,)}, r'tuple of Groups, got \(3,\)'),
    ({'groups': (Group(1, DENSE),) * 1025}, 'at most 1024 groups, got 1025'),
    ({'order': 'sorted'}, "order must be one of .*, got 'sorted'"),
    ({'dtype': 'float64'}, "dtype must be one of .*, got 'float64'"),
    ({'groups': (Group(2**31, DENSE),)}, 'at most .* words, got 2147483648'),
  ],
)
def test_schemes_name_the_value_and_the_rule(fields, rule):
  arguments = {'features': 8, 'groups': (Group(3, DENSE),), **fields}
  with pytest.raises(ValueError, match=rule):
    Scheme(**arguments)


@pytest.mark.parametrize(
  ('method', 'rule'),
  [
    (methods.LowRank(4), 'rank must be 1 to .* = 3, got 4'),
    (methods.LowRank(0), 'rank must be 1 to .* = 3, got 0'),
    (methods.VectorQuantization(4), "the group's 3 words, got 4"),
    (methods.ProductQuantization(3, 2), 'books must divide the 8 features'),
  ],
)
def test_a_method_that_does_not_fit_its_group_is_named(method, rule):
  with pytest.raises(ValueError, match=rf'group 1 \(3 words\): .*{rule}'):
    Scheme(8, (Group(9, DENSE), Group(3, method)))


def test_schemes_are_frozen_and_hashable():
  same = Scheme(SCHEME.features, SCHEME.groups, SCHEME.order)
  assert {SCHEME: 1}[same] == 1
  assert dataclasses.replace(SCHEME, dtype='float16') != SCHEME
  with pytest.raises(dataclasses.FrozenInstanceError):
    SCHEME.features = 9
  with pytest.raises(dataclasses.FrozenInstanceError):
    SCHEME.groups[0].size = 9


def test_sizes_of_a_hand_worked_scheme():
  # Words 10 x 8 x 4; codes 90 x 2 x 4 bits, codebooks 128 int8 beside 8 scales
  # of 2 bytes; one vector of 8 x 4; 107 words in 3 groups, 2 bits each.
  assert SCHEME.num_bytes == 320 + (90 + 128 + 16) + 32 + 27
  assert SCHEME.num_params == 80 + (180 + 128) + 8
  assert (SCHEME.vocab_size, SCHEME.splits) == (107, (0, 10, 100, 107))
  assert SCHEME.dense_bytes == 107 * 8 * 4
  assert SCHEME.ratio == pytest.approx(613 / 3424)
  assert SCHEME.factor == pytest.approx(3424 / 613)
  assert dataclasses.replace(SCHEME, dtype='bfloat16').dense_bytes == 1712


def test_what_groups_share_is_counted_once():
  # Axes 3 x 8 beside 3 scales of 2 bytes. Codes 90 x 2 x 4 bits and 7 x 1 bit,
  # codebooks 16 x 3 and 2 x 1 values beside 3 and 1 scales, means of 3 values
  # beside one scale.
  first = methods.GradedCodes(3, '1x1+1x2', 16, 'int8', 'int8')
  second = methods.GradedCodes(3, '1x1', 2, 'int8', 'int8')
  scheme = Scheme(8, (Group(90, first), Group(7, second)))
  own = (90 + 48 + 6 + 5) + (1 + 2 + 2 + 5)
  assert scheme.num_bytes == own + 24 + 6
  assert scheme.num_params == (180 + 48 + 3) + (7 + 2 + 3) + 24
  assert scheme.size_table()[2]['bytes'] == 30


def test_groups_that_disagree_on_what_they_share_are_refused():
  groups = [Group(9, methods.GradedCodes(rank, '1x1', 2)) for rank in (3, 3, 4)]
  with pytest.raises(ValueError, match='group 2 must share its axes'):
    Scheme(8, tuple(groups))
  groups[2] = Group(9, methods.GradedCodes(0, '1x1', 2))  # shares nothing
  assert [part.name for part in Scheme(8, tuple(groups)).shared_parts] == [
    'axes'
  ]


def test_an_order_of_one_group_takes_no_bytes():
  groups = (Group(10, DENSE),)
  stored, identity = Scheme(8, groups, 'stored'), Scheme(8, groups)
  assert stored.num_bytes == identity.num_bytes == 320


@hypothesis.given(random_schemes())
def test_the_size_table_sums_to_the_bytes(scheme):
  rows = scheme.size_table()
  has_map = scheme.order == 'stored'
  is_shared = any(
    isinstance(group.method, AxesMethod) and group.method.rank
    for group in scheme.groups
  )
  assert len(rows) == len(scheme.groups) + is_shared + has_map
  assert sum(row['bytes'] for row in rows) == scheme.num_bytes
  for row in rows[: len(scheme.groups)]:
    by_role = [v for v in row.values() if type(v) is int]
    assert sum(by_role) == 2 * row['bytes']


def test_the_summary_reads_like_a_table():
  lines = SCHEME.summary().splitlines()
  assert [' '.join(line.split()) for line in lines] == [
    'ranks method factors codes codebooks scales bytes',
    '0-9 dense 320 320',
    '10-99 pq(books=2, codewords=16, storage=int8) 90 128 16 234',
    '100-106 drop 32 32',
    'all order map 27',
    '613 of 3,424 bytes: 17.90%, 5.6x smaller',
  ]
  # The bytes are flush right.
  assert len({len(line) for line in lines[:-1]}) == 1


@hypothesis.given(random_schemes(), st.sampled_from(['float32', 'float16']))
def test_json_brings_an_equal_scheme_back(scheme, dtype):
  scheme = dataclasses.replace(scheme, dtype=dtype)
  again = Scheme.from_json(scheme.to_json())
  assert again == scheme
  assert hash(again) == hash(scheme)
  assert again.num_bytes == scheme.num_bytes


@hypothesis.given(st.text() | JSON.map(json.dumps))
def test_any_other_text_gives_a_value_error(text):
  with pytest.raises(ValueError):
    Scheme.from_json(text)


@hypothesis.given(
  st.sampled_from(['features', 'order', 'dtype', 'groups', 'schema_version']),
  JSON,
)
def test_a_field_of_any_other_value_gives_a_value_error(field, value):
  fields = json.loads(SCHEME.to_json())
  hypothesis.assume(value != fields[field])
  fields[field] = value
  try:
    changed = Scheme.from_json(json.dumps(fields))
  except ValueError:
    return
  assert getattr(changed, field) == value  # another valid number of features


@hypothesis.given(
  st.sampled_from(['size', 'method', 'books', 'codewords', 'storage', 'more']),
  JSON,
)
def test_a_method_of_any_other_value_gives_a_value_error(field, value):
  fields = json.loads(SCHEME.to_json())
  hypothesis.assume(value != fields['groups'][1].get(field))
  fields['groups'][1][field] = value
  try:
    changed = Scheme.from_json(json.dumps(fields))
  except ValueError:
    return
  assert json.loads(changed.to_json()) == fields  # another valid scheme


@pytest.mark.parametrize(
  ('text', 'rule'),
  [
    ('', 'must be JSON text'),
    (None, 'must be JSON text'),
    ('[' * 100_000, 'must be JSON text'),
    ('[]', "has fields .*, got <class 'list'>"),
    ('{"features": 8}', r"has fields .*, got \['features'\]"),
    ('{"features": 8, "features": 8}', "'features' occurs twice"),
  ],
)
def test_malformed_texts_are_named(text, rule):
  with pytest.raises(ValueError, match=rule):
    Scheme.from_json(text)


def test_other_schema_versions_are_refused():
  fields = json.loads(SCHEME.to_json())
  fields['schema_version'] = max(scheme_lib.SCHEMA_VERSIONS) + 1
  with pytest.raises(ValueError, match=r'reads schemas \(1, 2\), got 3'):
    Scheme.from_json(json.dumps(fields))


def test_the_splits_are_plain_ints():
  assert all(type(split) is int for split in SCHEME.splits)
  assert np.array_equal(np.diff(SCHEME.splits), [10, 90, 7])


def test_codes_on_axes_are_of_the_second_version_and_read_from_the_first():
  plain = Scheme(4, (Group(3, methods.Dense()),))
  scheme = Scheme(4, (Group(3, methods.GradedCodes(2, '1x2', 2)),))
  versions = [
    json.loads(s.to_json())['schema_version'] for s in (plain, scheme)
  ]
  assert versions == [1, 2]
  fields = json.loads(scheme.to_json())
  fields['schema_version'] = 1
  del fields['groups'][0]['axes_bytes']  # as it was written before
  assert Scheme.from_json(json.dumps(fields)) == scheme
  fields = json.loads(plain.to_json()) | {'schema_version': 2}
  with pytest.raises(ValueError, match='is of schema 1, got 2'):
    Scheme.from_json(json.dumps(fields))
