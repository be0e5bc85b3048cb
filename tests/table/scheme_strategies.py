"""Random schemes for property tests."""

from hypothesis import strategies as st

from embedcomp import Group, Scheme, methods

STORED = st.sampled_from(methods.STORAGES)


def _blocks_of(features: int) -> list[str]:
  """Blocks that end before, at and after half of the features."""
  return [
    '',
    *(f'1x1+1x{n - 1}' if n > 1 else '1x1' for n in range(1, features + 1)),
  ]


@st.composite
def random_methods(draw, num_words: int, features: int) -> methods.Method:
  """Any method, with any options that suit the shape."""
  rank = st.integers(1, min(num_words, features))
  books = st.sampled_from(
    [m for m in range(1, features + 1) if features % m == 0]
  )
  codewords = st.integers(1, num_words)
  configs = {
    'dense': st.builds(methods.Dense, STORED),
    'low_rank': st.builds(methods.LowRank, rank, STORED, STORED),
    'pq': st.builds(
      methods.ProductQuantization, books, codewords, STORED, st.booleans()
    ),
    'projected_pq': st.builds(
      lambda m, *rest: methods.ProjectedQuantization(m, m, *rest),
      st.integers(1, features),
      codewords,
      STORED,
    ),
    'vq': st.builds(methods.VectorQuantization, codewords, STORED),
    'rvq': st.builds(
      methods.ResidualQuantization, st.integers(1, 3), codewords, STORED
    ),
    'dpq_sx': st.builds(
      methods.DifferentiableSoftmax, books, codewords, STORED
    ),
    'dpq_vq': st.builds(
      methods.DifferentiableNearest, books, codewords, STORED
    ),
    'tensor_train': st.builds(methods.TensorTrain, st.just(1), STORED),
    'hashed': st.builds(methods.Hashed, codewords, STORED),
    'drop': st.builds(methods.Drop, STORED),
    # What groups share is the same in all of them.
    'scalar': st.sampled_from([0, 1, features]).map(
      lambda axes: methods.ScalarCodes(
        *(features // 2, axes, 2 * num_words * axes + 40 if axes else 0),
        *('int8', 'int8'),
      )
    ),
    'graded': st.builds(
      methods.GradedCodes,
      st.sampled_from([0, features // 2]),
      st.sampled_from(_blocks_of(features)),
      codewords,
      STORED,
      st.just('int8'),
    ),
  }
  return draw(configs[draw(st.sampled_from(sorted(configs)))])


@st.composite
def random_schemes(draw) -> Scheme:
  """Up to five groups of any methods, in either order."""
  features = draw(st.sampled_from([1, 2, 6, 12]))
  sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
  groups = [Group(n, draw(random_methods(n, features))) for n in sizes]
  order = draw(st.sampled_from(['identity', 'stored']))
  return Scheme(features, tuple(groups), order)
