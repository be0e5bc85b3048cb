"""Tests of checked tables: dtypes, importance, order, magnitude."""

import ml_dtypes
import numpy as np
import pytest

from embedcomp.compression.weighted_table import WeightedTable, check_table

TABLE = np.array([[1.0, -3.0], [0.5, 2.0], [0.0, 4.0]], np.float32)


def test_order_and_importance_by_hand():
  table = WeightedTable.create(TABLE, importance=[1.0, 4.0, 1.0])
  assert table.importance.tolist() == [0.5, 2.0, 0.5]
  assert table.ids.tolist() == [1, 0, 2]
  assert table.ranked_importance.tolist() == [2.0, 0.5, 0.5]
  assert (table.order, table.dtype) == ('stored', 'float32')
  assert table.scale == 1
  np.testing.assert_array_equal(table.vectors([2, 0]), TABLE[[2, 0]])
  np.testing.assert_array_equal(table.ranked_vectors([0]), TABLE[[1]])


def test_counts_weigh_one_more_than_they_are():
  table = WeightedTable.create(TABLE, counts=[5, 2, 0])
  np.testing.assert_allclose(table.importance, [1.8, 0.9, 0.3], rtol=1e-12)
  assert table.order == 'identity'


def test_without_weights_all_words_are_alike():
  table = WeightedTable.create(TABLE)
  assert table.importance.tolist() == [1.0, 1.0, 1.0]
  assert (table.ids.tolist(), table.order) == ([0, 1, 2], 'identity')


def test_in_id_order_keeps_importance():
  table = WeightedTable.create(TABLE, importance=[1, 4, 1]).in_id_order()
  assert (table.ids.tolist(), table.order) == ([0, 1, 2], 'identity')
  assert table.ranked_importance.tolist() == [0.5, 2.0, 0.5]


@pytest.mark.parametrize('name', ['counts', 'importance'])
def test_the_largest_numbers_of_float64_do_not_overflow(name):
  table = WeightedTable.create(TABLE, **{name: [1e308, 1.7e308, 1e308]})
  assert table.importance.sum() == pytest.approx(3)
  assert table.ids.tolist() == [1, 0, 2]


def test_importance_may_be_tiny():
  table = WeightedTable.create(TABLE, importance=[1e-320, 3e-320, 2e-320])
  np.testing.assert_allclose(table.importance, [0.5, 1.5, 1], rtol=1e-3)


@pytest.mark.parametrize('dtype', ['<f4', '>f4', '>f2', '>f8'])
def test_any_byte_order_gives_the_same_vectors(dtype):
  table = WeightedTable.create(TABLE.astype(dtype))
  assert table.values.dtype.isnative
  np.testing.assert_array_equal(table.vectors([0, 1, 2]), TABLE)


def test_sixteen_bits_stay_and_sixty_four_become_thirty_two():
  for dtype in (np.float16, ml_dtypes.bfloat16):
    assert WeightedTable.create(TABLE.astype(dtype)).values.dtype == dtype
  assert WeightedTable.create(TABLE.astype(float)).dtype == 'float32'
  assert check_table(TABLE.astype(float)).dtype == np.float64


@pytest.mark.parametrize('exponent', [-90, -22, 18, 110])
def test_vectors_of_unusual_magnitude_are_divided_exactly(exponent):
  table = WeightedTable.create(np.ldexp(TABLE, exponent))
  np.testing.assert_array_equal(table.vectors([0, 1, 2]), TABLE / 8)
  assert table.scale == 2.0 ** (exponent + 3)


@pytest.mark.parametrize('exponent', [-21, 17])
def test_vectors_of_usual_magnitude_are_as_they_are(exponent):
  table = WeightedTable.create(np.ldexp(TABLE, exponent))
  assert table.scale == 1
  np.testing.assert_array_equal(table.vectors([0, 1, 2]), table.values)


def test_zeros_have_a_scale_too():
  table = WeightedTable.create(np.zeros((2, 2)))
  assert table.scale == 1
  assert not table.vectors([0, 1]).any()


@pytest.mark.parametrize(
  ('table', 'message'),
  [
    (np.zeros((0, 4)), r'at least one word.*\(0, 4\)'),
    (np.zeros((4, 0)), r'at least one word.*\(4, 0\)'),
    (np.zeros(4), r'\[V, D\].*\(4,\); it comes first, before counts'),
    (np.zeros((2, 2, 2)), r'\[V, D\].*\(2, 2, 2\)'),
    (3.0, r'\[V, D\].*got shape \(\)'),
    ([[1.0], [1.0, 2.0]], r'\[V, D\] floats'),
    (np.zeros((4, 4), int), 'of floats, got int64: convert it to float32'),
    (np.zeros((4, 4), bool), 'of floats, got bool'),
    (np.zeros((4, 4), complex), 'of floats, got complex128'),
    (np.full((4, 4), 'a'), 'of floats, got <U1'),
    (np.full((4, 4), None), 'of floats, got object'),
    (np.array([[0.0, 1.0], [np.nan, 0.0]]), 'NaN or infinity in row 1'),
    (np.array([[-np.inf, 1.0], [0.0, 0.0]]), 'NaN or infinity in row 0'),
    (np.full((2, 2), 1e39), r'1e-30 to 1e\+36, or 0, got 1e\+39: multiply'),
    (np.full((2, 2), -1e-35), r'1e-30 to 1e\+36, or 0, got 1e-35: multiply'),
  ],
)
def test_tables_that_are_wrong_are_refused(table, message):
  with pytest.raises(ValueError, match=f'table must be .*{message}'):
    check_table(table)


def test_the_row_is_found_in_any_block():
  table = np.zeros((40_000, 1), np.float32)
  table[33_333] = np.nan
  with pytest.raises(ValueError, match='in row 33333;'):
    check_table(table)


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ([1.0, 2.0], 'each of 3 words, got 2'),
    ([1.0, -2.0, 1.0], r'not negative, got -2.0 for word 1'),
    ([0, 0, 0], 'not all be zero, got 3 zeros'),
    ([1, np.nan, 1], 'finite.*got nan for word 1'),
    ([1, np.inf, 1], 'finite.*got inf for word 1'),
    (TABLE, r'one number a word, got shape \(3, 2\)'),
    (['1', '2', '3'], 'numbers, got dtype <U1'),
  ],
)
@pytest.mark.parametrize('name', ['counts', 'importance'])
def test_weights_that_are_wrong_are_refused_by_name(values, message, name):
  with pytest.raises(ValueError, match=f'^{name} must.*{message}'):
    WeightedTable.create(TABLE, **{name: values})


def test_counts_beside_importance_are_refused():
  with pytest.raises(ValueError, match='counts or importance, got both'):
    WeightedTable.create(TABLE, [1, 2, 3], importance=[1, 2, 3])


@pytest.mark.parametrize('factor', [1, 1e20])
def test_scaled_vectors_leave_the_table_as_it_is(rng, factor):
  table = (factor * rng.normal(size=(7, 3))).astype(np.float32)
  before = table.copy()
  weighted = WeightedTable.create(table)
  found = weighted.vectors(np.arange(7))
  np.testing.assert_array_equal(found * np.float32(weighted.scale), before)
  np.testing.assert_array_equal(table, before)
