"""Small integers in as few bits as their spread allows, by rANS.

Made for scalar-quantized coefficients of words on principal axes: a matrix of
integers [W, A], one row a word, whose columns are near normal, each with a
spread of its own. The coder is the range variant of asymmetric numeral systems
(Duda, "Asymmetric numeral systems", arXiv:1311.2540), in `rans`. Words are cut
into chunks of at most 128; each is a stream of its own, so that one NumPy step
serves all chunks (Giesen, "Interleaved entropy coders", arXiv:1402.3392) and
any chunk can be decoded alone. Encoder and decoder are both written here, on
NumPy and the standard library alone, since the decoder must also serve where
there is nothing else.

Model. An axis names one of the 81 distributions of `rounded_normals`, a byte at
most; index 0 says that the axis is zero throughout, which takes no bits. A
value too rare for a frequency of its own is an escape and 8 plain bits. On the
word embeddings of MiniLM, ordered by weighted energy and cut into runs, this
takes 0.5 to 0.8 % more than the empirical entropy of every axis of every run,
whose own tables are not counted. Two refinements were measured there and left
out: mixtures of normal distributions gain 0.1 %; scaling a word's spreads by
the magnitudes of its earlier axes gains 2 % at 2 bits a value, 1.3 % at 1 bit
and 0.1 % at 0.35, since the words of a run are of like energy already.

A stream written on one machine is read on every other: frequencies come from
exact integers (see `rounded_normals`), coding is arithmetic on unsigned
integers that cannot overflow, and bytes are little-endian by declaration. The
encoder chooses by integers as well, so that equal values give equal bytes.

Format, for W and A known to the reader and C = ceil(W / 128) chunks, of which
chunk c holds the words from c W // C up to (c + 1) W // C:

  1 byte    version, 1
  4 bytes   CRC-32 over W and A (8 bytes each), the version and all that follows
  list      A spread indices, each in [0, 81]
  list      C lengths of chunks in 16-bit numbers
  chunks    16-bit numbers, of each chunk first the state, high half first
  zeros     up to the size that the reader was told, if there are bytes left

A list is its least entry (1 byte for indices, 4 for lengths), the bits of its
largest excess over that (1 byte) and the excesses, packed without gaps. Inside
a chunk axis follows axis, inside an axis word follows word, and after the words
of an axis the plain bits of its escapes. A symbol's slots follow those of lower
values, the escape's come last. A chunk's state ends where the encoder's began,
at 2**16, as the last of its numbers is used up; a chunk that never left it has
length 0.

Overhead: 12 bytes and 0.5 to 0.8 an axis for a matrix; some 4 bytes a chunk, 3
of its state and 1 of its length: 0.2 % at 2 bits a value and 128 axes, 0.4 % at
1 bit. Chunks of 64 words would double that and halve the number of steps.
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from embedcomp.methods.bit_packing import pack_list, unpack_list
from embedcomp.methods.rans import Decoder, Tables, decode_lanes, encode_lanes
from embedcomp.methods.rounded_normals import (
  LARGEST,
  NUM_SPREADS,
  best_spreads,
)

VERSION = 1
CHUNK = 128  # words at most
HEADER_SIZE = 5


def _bounds(num_words: int) -> np.ndarray:
  """Where chunks start and the last one ends; [C + 1] int64."""
  num_chunks = -(-num_words // CHUNK)
  return np.arange(num_chunks + 1) * num_words // max(num_chunks, 1)


def _checksum(data: np.ndarray, shape: tuple[int, int]) -> int:
  """CRC-32 over the shape and all bytes but those of the checksum."""
  start = zlib.crc32(np.array(shape, '<u8').tobytes() + data[:1].tobytes())
  return zlib.crc32(data[HEADER_SIZE:].data, start)


def _side_by_side(
  sizes: Sequence[np.ndarray], indices: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[slice], np.ndarray]:
  """Puts the chunks of several matrices into lanes.

  Args:
    sizes: of the chunks of each matrix in words, [C] each.
    indices: of the spreads of each, [A] each.

  Returns:
    [lanes] int64 words of each lane, the lanes of each matrix, and [A, lanes]
    int64 spread indices, zero for axes that a matrix does not have.
  """
  counts = np.concatenate([np.zeros(0, np.int64), *sizes])
  num_axes = max((len(of_axes) for of_axes in indices), default=0)
  of_lanes = np.zeros((num_axes, len(counts)), np.int64)
  lanes, lane = [], 0
  for own, of_axes in zip(sizes, indices):
    lanes.append(slice(lane, lane + len(own)))
    of_lanes[: len(of_axes), lanes[-1]] = of_axes[:, None]
    lane += len(own)
  return counts, lanes, of_lanes


def _check_values(values: np.ndarray) -> None:
  """Raises ValueError unless values can be coded."""
  if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
    raise ValueError(
      'values must be integers [W, A], got '
      f'{values.dtype} {list(values.shape)}.'
    )
  low, high = values.min(initial=0), values.max(initial=0)
  if low < -LARGEST or high > LARGEST:
    raise ValueError(
      f'values must be within [-{LARGEST}, {LARGEST}], got {low} to {high}.'
    )


def _batches(shapes: Sequence[tuple[int, int]]) -> list[list[int]]:
  """Which matrices are coded together, from their shapes.

  Filled up to the largest, those of a batch are at most twice as large as they
  are, whatever their shapes; so are the memory and the steps that they take.
  """
  batches: list[list[int]] = []
  size = width = height = lanes = 0
  for index in sorted(range(len(shapes)), key=lambda i: -shapes[i][1]):
    num_words, num_axes = shapes[index]
    own = -(-num_words // CHUNK)
    longest = -(-num_words // max(own, 1))
    size, lanes = size + num_words * num_axes, lanes + own
    height = max(height, longest)
    if not batches or width * height * lanes > 2 * size:
      batches.append([])
      size, width, height = num_words * num_axes, num_axes, longest
      lanes = own
    batches[-1].append(index)
  return batches


def encode_runs(
  runs: Sequence[np.ndarray], num_bytes: Sequence[int | None] | None = None
) -> list[np.ndarray]:
  """Codes several matrices in one go, which is faster than one by one.

  Args:
    runs: matrices as `encode` takes them.
    num_bytes: of each stream; shorter ones are filled up with zeros. As many
      as are needed if not given.

  Returns:
    The streams that `encode` gives for each.

  Raises:
    ValueError: if a matrix has another shape or values out of range, or takes
      more bytes than it may.
  """
  for values in runs:
    _check_values(values)
  wanted = num_bytes or [None] * len(runs)
  streams = {}
  for batch in _batches([values.shape for values in runs]):
    own = [runs[index] for index in batch]
    for index, indices, chunks in zip(batch, *_encode(own)):
      shape, size = runs[index].shape, wanted[index]
      streams[index] = _assemble(shape, indices, chunks, size)
  return [streams[index] for index in range(len(runs))]


def _encode(
  runs: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
  """Spread indices of each matrix and the numbers of its chunks."""
  sizes = [np.diff(_bounds(len(values))) for values in runs]
  indices = [best_spreads(values) for values in runs]
  counts, lanes, of_lanes = _side_by_side(sizes, indices)
  longest = int(counts.max(initial=0))
  shape = len(of_lanes), longest, len(counts)
  symbols = np.full(shape, LARGEST, np.uint8)  # zeros
  for values, where in zip(runs, lanes):
    bounds = _bounds(len(values))
    for chunk in range(len(bounds) - 1):
      rows = values[bounds[chunk] : bounds[chunk + 1]].T.astype(np.uint8)
      rows += np.uint8(LARGEST)  # modulo 256
      symbols[: len(rows), : rows.shape[1], where.start + chunk] = rows
  chunks = encode_lanes(symbols, counts, Tables.of(of_lanes))
  return indices, [chunks[where] for where in lanes]


def _assemble(
  shape: tuple[int, int],
  indices: np.ndarray,
  chunks: list[np.ndarray],
  num_bytes: int | None,
) -> np.ndarray:
  """A stream from its spread indices and the numbers of its chunks."""
  lengths = np.array([len(chunk) for chunk in chunks], np.int64)
  parts = [bytes([VERSION, 0, 0, 0, 0]), pack_list(indices, '<u1')]
  parts.append(pack_list(lengths, '<u4'))
  numbers = (chunk.astype('<u2', copy=False).data for chunk in chunks)
  stream = bytearray().join([*parts, *numbers])
  left = 0 if num_bytes is None else num_bytes - len(stream)
  if left < 0:
    raise ValueError(
      f'values take {len(stream)} bytes when they are coded, more than '
      f'{num_bytes}.'
    )
  data = np.frombuffer(stream + bytes(left), np.uint8)
  checksum = np.array([_checksum(data, shape)], '<u4')
  data[1:HEADER_SIZE] = checksum.view(np.uint8)
  return data


def encode(values: np.ndarray, num_bytes: int | None = None) -> np.ndarray:
  """Codes a matrix of small integers without loss.

  Args:
    values: [W, A] integers within [-127, 127], one row a word. Sizes are least
      when rows of like magnitude are in one matrix and columns are near normal
      about zero.
    num_bytes: of the stream; a shorter one is filled up with zeros. As many as
      are needed if not given.

  Returns:
    [n] uint8 stream, the same on every machine.

  Raises:
    ValueError: if values have another shape, type or range, or take more bytes
      than they may.

  Example:
    >>> values = np.array([[1, -2, 0], [0, 3, 0]])
    >>> decode(encode(values), (2, 3)).tolist()
    [[1, -2, 0], [0, 3, 0]]
  """
  return encode_runs([values], [num_bytes])[0]


@dataclasses.dataclass(frozen=True)
class _Stream:
  """A stream taken apart.

  Attributes:
    shape: (W, A).
    indices: [A] int64 spread index of each axis.
    lengths: [C] int64 numbers of each chunk.
    numbers: uint16 of all chunks.
  """

  shape: tuple[int, int]
  indices: np.ndarray
  lengths: np.ndarray
  numbers: np.ndarray

  @classmethod
  def parse(cls, data: np.ndarray, shape: tuple[int, int]) -> '_Stream':
    """Takes a stream apart.

    Raises:
      ValueError: if it is damaged or of another shape.
    """
    num_words, num_axes = shape
    if num_words < 0 or num_axes < 0:
      raise ValueError(f'a shape cannot be negative, got {shape}.')
    if data.dtype != np.uint8 or data.ndim != 1 or data.size < HEADER_SIZE:
      raise ValueError(
        f'a stream is [n] uint8 of at least {HEADER_SIZE} bytes, got '
        f'{data.dtype} {list(data.shape)}.'
      )
    data = np.ascontiguousarray(data)
    if data[0] != VERSION:
      raise ValueError(f'version must be {VERSION}, got {data[0]}.')
    if _checksum(data, shape) != int(data[1:HEADER_SIZE].view('<u4')[0]):
      raise ValueError(
        f'the checksum is wrong: the stream is damaged or not of {shape}.'
      )
    indices, rest = unpack_list(
      data[HEADER_SIZE:], num_axes, '<u1', NUM_SPREADS, 'spread indices'
    )
    num_chunks = -(-num_words // CHUNK)
    lengths, rest = unpack_list(
      rest, num_chunks, '<u4', data.size, 'lengths of chunks'
    )
    size = 2 * int(lengths.sum())
    if rest.size < size or rest[size:].any():
      raise ValueError(
        f'chunks take {size} bytes and zeros may follow, got {rest.size}.'
      )
    return cls(shape, indices, lengths, rest[:size].view('<u2'))

  def chunks(self, first: int, last: int) -> '_Stream':
    """The chunks from `first` up to `last`, as a stream of their own."""
    bounds = _bounds(self.shape[0])
    before, own = self.lengths[:first].sum(), self.lengths[first:last]
    shape = int(bounds[last] - bounds[first]), self.shape[1]
    numbers = self.numbers[before : before + own.sum()]
    return _Stream(shape, self.indices, own, numbers)


def _decode(
  streams: Sequence[_Stream], sizes: Sequence[np.ndarray]
) -> list[np.ndarray]:
  """Decodes streams whose chunks have given sizes in words."""
  indices = [stream.indices for stream in streams]
  counts, lanes, of_lanes = _side_by_side(sizes, indices)
  lengths = np.concatenate(
    [np.zeros(0, np.int64), *(stream.lengths for stream in streams)]
  )
  # The last one is for lanes without any.
  numbers = [*(stream.numbers for stream in streams), np.zeros(1, np.uint16)]
  decoder = Decoder(np.concatenate(numbers), np.cumsum(lengths), lengths)
  values = decode_lanes(decoder, counts, Tables.of(of_lanes))
  results = []
  for of_axes, own, where in zip(indices, sizes, lanes):
    block = values[: len(of_axes), :, where].transpose(2, 1, 0)
    results.append(block[np.arange(values.shape[1]) < own[:, None]])
  return results


def decode_runs(
  streams: Sequence[np.ndarray], shapes: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
  """Decodes several streams in one go, which is faster than one by one.

  Args:
    streams: [n] uint8 each, as `encode` gives them.
    shapes: (W, A) of each.

  Returns:
    int8 [W, A] each.

  Raises:
    ValueError: as `decode` does; or if there are more streams than shapes.
  """
  if len(streams) != len(shapes):
    raise ValueError(f'{len(streams)} streams have {len(shapes)} shapes.')
  parsed = [_Stream.parse(data, shape) for data, shape in zip(streams, shapes)]
  sizes = [np.diff(_bounds(shape[0])) for shape in shapes]
  found: dict[int, np.ndarray] = {}
  for batch in _batches(shapes):
    own = [parsed[index] for index in batch]
    found.update(zip(batch, _decode(own, [sizes[index] for index in batch])))
  return [found[index] for index in range(len(shapes))]


def decode(data: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Reverses `encode`.

  Time and memory depend on the shape and the bytes given alone, whatever these
  say.

  Args:
    data: [n] uint8 stream.
    shape: (W, A) of the values.

  Returns:
    [W, A] int8 within [-127, 127].

  Raises:
    ValueError: if the stream is damaged, cut, followed by other bytes or of
      another shape.
  """
  return decode_runs([data], [shape])[0]


def decode_rows(
  data: np.ndarray, shape: tuple[int, int], start: int, stop: int
) -> np.ndarray:
  """Decodes some words, at the cost of the chunks of 128 that hold them.

  Those take 128 A steps together, however few they are. All bytes are read
  once for the checksum.

  Args:
    data: [n] uint8 stream.
    shape: (W, A) of all values.
    start: first word.
    stop: the word after the last.

  Returns:
    [stop - start, A] int8.

  Raises:
    ValueError: as `decode` does; or if words are out of range.
  """
  if not 0 <= start <= stop <= shape[0]:
    raise ValueError(f'words {start} to {stop} are not within {shape[0]}.')
  stream = _Stream.parse(data, shape)
  bounds = _bounds(shape[0])
  first = max(int(np.searchsorted(bounds, start, 'right')) - 1, 0)
  last = max(int(np.searchsorted(bounds, stop, 'left')), first)
  first = min(first, last)
  sizes = np.diff(bounds[first : last + 1])
  (values,) = _decode([stream.chunks(first, last)], [sizes])
  offset = start - int(bounds[first])
  return values[offset : offset + stop - start]
