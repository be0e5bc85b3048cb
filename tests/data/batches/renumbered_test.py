"""Words with other ids spell the same texts."""

import numpy as np

from embedcomp.data import LanguageModelBatches, RenumberedBatches


def test_renumbered_batches_spell_the_same_words():
  tokens = np.arange(2, 30)
  batches = LanguageModelBatches(tokens, batch_size=2, length=4)
  new_ids = np.r_[0, 1, np.random.default_rng(0).permutation(28) + 2]
  moved = RenumberedBatches(batches, new_ids, ('ids', 'labels'))
  assert moved.num_batches == batches.num_batches
  pairs = [(batches.at(step), moved.at(step)) for step in range(5)]
  pairs += zip(batches.for_evaluation(), moved.for_evaluation())
  for old, new in pairs:
    assert set(old) == set(new)
    for field in ('ids', 'labels'):
      assert new[field].dtype == np.int32
      np.testing.assert_array_equal(new[field], new_ids[old[field]])
    np.testing.assert_array_equal(new['weights'], old['weights'])
