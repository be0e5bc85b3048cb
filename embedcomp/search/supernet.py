"""One set of weights in which every option of a search space is nested.

A word has R coefficients U and all words share a basis P [R, D]. Each option
does something to the coefficients, before one product with the basis:

  low rank r      keeps the leading r, in its storage
  dense           keeps all, in its storage
  pq, vq, dpq     replaces blocks of them by codewords, gradients straight
                  through to the coefficients; only with R = D are these the
                  blocks of a table, fewer make several books look too good
  drop            replaces them by one vector that all words share

so that a mixture of options costs about as much as one low-rank layer of rank
R. Codes, codewords and the spread that roundings need are not trained: they
follow the coefficients whenever `refresh` is called, a few times an epoch.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp import methods as methods_lib
from embedcomp.compression.space import SearchSpace
from embedcomp.methods import gather
from embedcomp.search import supernet_codes
from embedcomp.table.group_params import group_name
from embedcomp.table.scheme import Scheme
from embedcomp.types import Array, Params, PRNGKey, Shape

# The step of a uniform quantizer of 255 or 15 levels, of least error for a
# normal distribution, in standard deviations (Max, "Quantizing for minimum
# distortion", 1960), and its bits. Narrower floats are as good as float32
# here: they are not rounded.
_ROUNDINGS = {'float': (0.0, 0), 'int8': (0.0309, 8), 'int4': (0.3534, 4)}


@dataclasses.dataclass(frozen=True)
class Supernet:
  """The weights of all options at once.

  Attributes:
    space: whose options are nested.
    rank: R, the number of coefficients; at most D.

  Raises:
    ValueError: for an option that cannot be nested or suits no group.
  """

  space: SearchSpace
  rank: int

  def __post_init__(self) -> None:
    if not 1 <= self.rank <= self.space.features:
      raise ValueError(
        f'rank must be 1 to {self.space.features} features, got {self.rank}.'
      )
    for option in self.space.options:
      if isinstance(option, methods_lib.LowRank) and option.rank > self.rank:
        raise ValueError(f'{option} exceeds the rank {self.rank}.')
      nested = (methods_lib.LowRank, methods_lib.Dense, methods_lib.Drop)
      if not isinstance(option, (*nested, *supernet_codes.CODED)):
        raise ValueError(
          f'{option.name} cannot be searched with a task, only low_rank, '
          'dense, pq, vq, dpq_sx, dpq_vq and drop.'
        )
      option.validate(Shape(self.space.vocab_size, self.space.features))
    self._codebooks.validate()

  @functools.cached_property
  def _codebooks(self) -> supernet_codes.Codebooks:
    return supernet_codes.Codebooks(self.space, self.rank)

  @property
  def coded(self) -> tuple[int, ...]:
    """The options whose words are codes, by number."""
    return self._codebooks.options

  @functools.cached_property
  def _reach(self) -> np.ndarray:
    """[S, O, R] by way of rounding: 1 where an option keeps a coefficient."""
    shape = (len(_ROUNDINGS), len(self.space.options), self.rank)
    reach = np.zeros(shape, np.float32)
    for index, option in enumerate(self.space.options):
      if isinstance(option, methods_lib.LowRank | methods_lib.Dense):
        rank = getattr(option, 'rank', self.rank)
        reach[_rounding(option), index, :rank] = 1
    return reach

  @functools.cached_property
  def _steps(self) -> np.ndarray:
    """[O] distance of two values an option can store, in deviations."""
    steps = [step for step, _ in _ROUNDINGS.values()]
    steps = [steps[_rounding(o)] for o in self.space.options]
    return np.array(steps, np.float32)

  @functools.cached_property
  def _limits(self) -> np.ndarray:
    """[O] the largest value an option can store, in steps."""
    limits = [_limit(bits) for _, bits in _ROUNDINGS.values()]
    limits = [limits[_rounding(o)] for o in self.space.options]
    return np.array(limits, np.float32)

  @functools.cached_property
  def _dropped(self) -> np.ndarray:
    """[O] 1 for options that drop words."""
    drops = [isinstance(o, methods_lib.Drop) for o in self.space.options]
    return np.array(drops, np.float32)

  @functools.cached_property
  def _book_of_option(self) -> np.ndarray:
    """[O] position among the coded options, -1 for others."""
    options = range(len(self.space.options))
    books = [self.coded.index(i) if i in self.coded else -1 for i in options]
    return np.array(books, np.int32)

  def init(self, key: PRNGKey) -> tuple[Params, Params]:
    """Weights from noise; vectors have variance 1 / D.

    Args:
      key: random key.

    Returns:
      Trainable params and buffers. All codes are zero: `refresh` them before
      training.
    """
    coefficients_key, basis_key = jax.random.split(key)
    shape = (self.space.vocab_size, self.rank)
    coefficients = jax.random.normal(coefficients_key, shape)
    basis = jax.random.orthogonal(basis_key, self.space.features)
    buffers = {
      'bin_of_word': self._bin_of_word(),
      'spread': jnp.ones((self.space.num_bins, self.rank)) / self.rank**0.5,
    }
    params = self._params(coefficients / self.rank**0.5, basis)
    return params, buffers | self._codebooks.zeros()

  def from_table(
    self, table: np.ndarray, weights: np.ndarray
  ) -> tuple[Params, Params]:
    """Weights that start from a table: its leading weighted directions.

    Args:
      table: [V, D] float, by rank.
      weights: [V] how much each word's error matters.

    Returns:
      As `init`, codes and codewords fitted.
    """
    table = np.asarray(table, np.float32)
    basis = methods_lib.low_rank.weighted_basis(table, weights, self.rank)
    params = self._params(table @ basis.T, basis)
    return params, self.refresh(params)

  def _params(self, coefficients: Array, basis: Array) -> Params:
    return {
      'coefficients': jnp.asarray(coefficients),
      'basis': jnp.asarray(basis[: self.rank]),
      'dropped': jnp.zeros(self.rank),
    }

  def _bin_of_word(self) -> jax.Array:
    bins = np.repeat(np.arange(self.space.num_bins), self.space.bin_sizes)
    return jnp.asarray(bins, jnp.int32)

  def refresh(self, params: Params, buffers: Params | None = None) -> Params:
    """Codes, codewords and spreads of the present coefficients, on the host.

    Args:
      params: of `init`.
      buffers: earlier ones, from whose codewords k-means goes on; without
        them it starts anew.

    Returns:
      `bin_of_word` [V] int32, `spread` [B, R] float32 root mean squares, and
      those of the coded options, see `Codebooks`.
    """
    coefficients = np.asarray(params['coefficients'])
    bins, sizes = self.space.bins, self.space.bin_sizes
    squares = np.add.reduceat(np.square(coefficients), bins[:-1], axis=0)
    fresh = {
      'bin_of_word': self._bin_of_word(),
      'spread': jnp.sqrt(jnp.asarray(squares / sizes[:, None], jnp.float32)),
    }
    return fresh | self._codebooks.fit(coefficients, buffers)

  def lookup(
    self, params: Params, buffers: Params, mixture: Array, ids: Array
  ) -> jax.Array:
    """Vectors of words under a choice or a mixture of options.

    Unlike `embedcomp.lookup`, this makes the whole [V, D] table where tokens
    are as many as the V words or more, for it is read in training alone: the
    gradient is then summed word by word before it is multiplied with the
    basis, which is faster than a product for each token.

    Args:
      params: trainable.
      buffers: of `refresh`.
      mixture: [B] integers, the option of each bin; or [B, O] float, the
        shares of all options in each, at the cost of all of them.
      ids: [...] integers in [0, V), ranks of words; not checked.

    Returns:
      [..., D] float32.
    """
    coefficients_of = self._chosen if mixture.ndim == 1 else self._mixed
    flat = ids.reshape(-1)
    if flat.size < self.space.vocab_size:
      own = coefficients_of(params, buffers, mixture, flat)
      words = jnp.matmul(own, params['basis'], precision='highest')
    else:  # fewer words than tokens: each is made once
      own = coefficients_of(params, buffers, mixture, None)
      table = jnp.matmul(own, params['basis'], precision='highest')
      words = gather.take_subvectors(table, flat)
    return words.reshape(*ids.shape, -1)

  def logits(
    self, params: Params, buffers: Params, mixture: Array, hidden: Array
  ) -> jax.Array:
    """Inner products with every word under a choice or a mixture of options.

    Args:
      params: trainable.
      buffers: of `refresh`.
      mixture: as for `lookup`.
      hidden: [..., D] float.

    Returns:
      [..., V] float32.
    """
    coefficients_of = self._chosen if mixture.ndim == 1 else self._mixed
    projected = jnp.matmul(hidden, params['basis'].T, precision='highest')
    words = coefficients_of(params, buffers, mixture, None)
    # Not `projected @ words.T`: of an array that was only just computed XLA on
    # CPU transposes all of it, which is not cheap beside the product.
    return jnp.einsum('...r,vr->...v', projected, words, precision='highest')

  def _chosen(self, params, buffers, choice, ids) -> jax.Array:
    """[T, R] coefficients of words, or of all, one option for each bin."""
    own, bins = _words(ids, params['coefficients'], buffers['bin_of_word'])
    reach = gather.take(self._reach.sum(axis=0), choice)  # [B, R]
    steps = gather.take(self._steps, choice)[:, None] * buffers['spread']
    limits = gather.take(self._limits, choice)  # [B]
    rounded = _round(own, gather.take(steps, bins), gather.take(limits, bins))
    total = gather.take(reach, bins) * rounded
    is_dropped = gather.take(gather.take(self._dropped, choice), bins)
    total += is_dropped[:, None] * params['dropped'][None]
    if not self.coded:
      return total
    book = gather.take(self._book_of_option, choice)  # [B], -1 if not coded
    books = gather.take(book, bins)
    codewords = self._codebooks.codewords(
      buffers, jnp.maximum(books, 0), ids, own
    )
    return jnp.where((books >= 0)[:, None], codewords, total)

  def _mixed(self, params, buffers, mixture, ids) -> jax.Array:
    """[T, R] coefficients of words, or of all, averaged over options."""
    own, bins = _words(ids, params['coefficients'], buffers['bin_of_word'])
    # A product, for its gradient is one too; that of `take` is a slow scatter.
    is_in_bin = jax.nn.one_hot(bins, len(mixture))  # [T, B]
    product = functools.partial(jnp.matmul, precision='highest')
    of_word = functools.partial(product, is_in_bin)
    dropped = product(mixture, self._dropped[:, None])  # [B, 1]
    total = of_word(dropped) * params['dropped'][None]
    for index, (step, bits) in enumerate(_ROUNDINGS.values()):
      steps = gather.take(buffers['spread'] * step, bins)
      rounded = _round(own, steps, np.full(1, _limit(bits)))
      total += of_word(product(mixture, self._reach[index])) * rounded
    shares = of_word(mixture[:, np.array(self.coded, int)])  # [T, C]
    for book in range(len(self.coded)):
      total += shares[:, book, None] * self._codebooks.codewords(
        buffers, np.int32(book), ids, own
      )
    return total

  def extract(
    self, params: Params, scheme: Scheme, counts: Array, seed: int = 0
  ) -> Params:
    """The weights of a scheme out of the supernet.

    Args:
      params: trained.
      scheme: whose groups take options of the space.
      counts: [V] how often the word at each rank occurs, or other weights.
      seed: of what has to be fitted anew.

    Returns:
      Params of the scheme, in trainable form, for ids that are ranks: there is
      no `order` among them.
    """
    coefficients = np.asarray(params['coefficients'])
    basis = np.asarray(params['basis'])
    weights = np.asarray(counts, np.float64) + 1
    extracted: Params = {}
    for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes)):
      start, stop = scheme.splits[index : index + 2]
      method, own = group.method, coefficients[start:stop]
      if isinstance(method, methods_lib.LowRank):
        left, right = method.parts(shape)
        found = {
          'coefficients': left.trainable(own[:, : method.rank]),
          'basis': right.trainable(basis[: method.rank]),
        }
      elif isinstance(method, methods_lib.Drop):
        vector = np.asarray(params['dropped']) @ basis
        (part,) = method.parts(shape)
        found = {part.name: part.trainable(vector)}
      else:
        found = method.fit(own @ basis, weights[start:stop], seed)
      extracted[group_name(index)] = found
    return extracted


def _words(ids: Array | None, *arrays: Array) -> list[Array]:
  """Rows of arrays, all of them where no ids are given."""
  if ids is None:
    return list(arrays)
  return [gather.take(array, ids) for array in arrays]


def _rounding(option: methods_lib.Method) -> int:
  """The position in `_ROUNDINGS` of how an option rounds coefficients."""
  kept = getattr(option, 'storage', 'float')
  return list(_ROUNDINGS).index(kept if kept in _ROUNDINGS else 'float')


def _limit(bits: int) -> float:
  return 2.0 ** (bits - 1) - 1 if bits else 1.0


def _round(values: Array, steps: Array, limits: Array) -> jax.Array:
  """Rounds to multiples of steps, gradients passed straight through.

  Args:
    values: [T, R] float32.
    steps: [T, R] float32; where zero, values stay as they are.
    limits: [T] or [1] float32, the most steps.
  """
  bounds = steps * limits[:, None]
  inside = jnp.clip(values, -bounds, bounds)
  is_free = steps <= 0
  safe = jnp.where(is_free, 1.0, steps)
  exact = jax.lax.stop_gradient(jnp.round(inside / safe) * safe - inside)
  return jnp.where(is_free, values, inside + exact)
