"""Interleaved range coding of symbols whose tables are known, a lane a chunk.

Asymmetric numeral systems in the range variant (Duda, arXiv:1311.2540): a lane
holds a state x in [2**16, 2**32). A symbol of frequency f, whose slots start at
c of 2**14, takes x to (x // f) 2**14 + c + x mod f, after x has given off its
low 16 bits where it would leave its interval. Decoding finds the symbol by the
low 14 bits and undoes the step. All lanes take their steps together (Giesen,
arXiv:1402.3392), so NumPy's calls are counted by symbols of one lane. A lane
for which there is nothing to code takes the table of zeros, in which zero has
all slots: that step leaves any state as it is.
"""

import dataclasses

import numpy as np

from embedcomp.methods.rounded_normals import (
  ESCAPE,
  LARGEST,
  NUM_SYMBOLS,
  PLAIN_TABLE,
  TOTAL,
  TOTAL_BITS,
  ZERO_TABLE,
  frequencies_of,
)

START = 1 << 16


@dataclasses.dataclass(frozen=True)
class Tables:
  """What the steps of some axes look up, of distinct tables side by side.

  Attributes:
    bases: [A, lanes] int64 where the table of an axis starts.
    plain: where that of the bits of escapes starts; that of zeros is first.
    frequencies: [tables, 256] int64.
  """

  bases: np.ndarray
  plain: int
  frequencies: np.ndarray

  @classmethod
  def of(cls, indices: np.ndarray) -> 'Tables':
    """The tables of axes from their spread indices, [A, lanes]."""
    used = np.unique(np.append(indices, (ZERO_TABLE, PLAIN_TABLE)))
    bases = np.searchsorted(used, indices) * TOTAL
    frequencies = np.stack([frequencies_of(int(table)) for table in used])
    return cls(bases, (len(used) - 1) * TOTAL, frequencies)

  def starts(self) -> np.ndarray:
    """First slot of each symbol; [tables, 256] int64."""
    return np.cumsum(self.frequencies, axis=1) - self.frequencies

  def symbols(self) -> np.ndarray:
    """The symbol of each slot; [tables * 2**14] uint8."""
    values = np.arange(NUM_SYMBOLS, dtype=np.uint8)
    slots = np.empty((len(self.frequencies), TOTAL), np.uint8)
    for row, counts in zip(slots, self.frequencies):
      row[:] = np.repeat(values, counts)
    return slots.reshape(-1)

  def steps(self) -> np.ndarray:
    """Frequency << 14 | place inside the symbol; [tables * 2**14] uint32."""
    slots = np.empty((len(self.frequencies), TOTAL), np.uint32)
    places = np.arange(TOTAL)
    for row, counts, starts in zip(slots, self.frequencies, self.starts()):
      row[:] = np.repeat((counts << TOTAL_BITS) - starts, counts) + places
    return slots.reshape(-1)


class Encoder:
  """States of all lanes, and the 16-bit numbers that they have given off."""

  def __init__(self, num_lanes: int) -> None:
    self.states = np.full(num_lanes, START, np.uint64)
    self.depths = np.zeros(num_lanes, np.int64)
    self.given = np.empty((num_lanes, 256), np.uint16)

  def reserve(self, num_steps: int) -> None:
    """Makes room for the numbers that some steps may give off."""
    size = self.given.shape[1]
    if self.depths.max() + num_steps > size:
      given = np.empty((len(self.given), size * 5 // 4 + num_steps), np.uint16)
      given[:, :size] = self.given
      self.given = given
    self.offsets = np.arange(len(self.given)) * self.given.shape[1]

  def step(self, counts: np.ndarray, starts: np.ndarray) -> None:
    """Codes a symbol a lane, of given frequencies and first slots (uint64)."""
    states = self.states
    is_full = states >= counts << np.uint64(32 - TOTAL_BITS)
    # Lanes that are not full write too: their next number replaces it.
    np.put(self.given, self.offsets + self.depths, states.astype(np.uint16))
    self.depths += is_full
    states = np.where(is_full, states >> np.uint64(16), states)
    quotients = states // counts
    states -= quotients * counts
    self.states = (quotients << np.uint64(TOTAL_BITS)) + starts + states

  def streams(self) -> list[np.ndarray]:
    """The numbers of each lane as the decoder reads them; uint16."""
    streams = []
    for state, depth, given in zip(
      self.states.tolist(), self.depths.tolist(), self.given
    ):
      head = [] if state == START and not depth else [state >> 16, state]
      halves = (np.array(head, np.int64) & 0xFFFF).astype(np.uint16)
      streams.append(np.concatenate([halves, given[:depth][::-1]]))
    return streams


def encode_lanes(
  symbols: np.ndarray, counts: np.ndarray, tables: Tables
) -> list[np.ndarray]:
  """Codes all chunks.

  Args:
    symbols: [A, longest chunk, lanes] uint8 value + 127.
    counts: [lanes] words of each chunk; symbols after them are left out.
    tables: of axes and lanes.

  Returns:
    The uint16 numbers of each lane.
  """
  encoder = Encoder(len(counts))
  is_word = np.arange(symbols.shape[1])[:, None] < counts
  frequencies = tables.frequencies.astype(np.uint64)
  first_slots = tables.starts().astype(np.uint64)
  total, none = np.uint64(TOTAL), np.uint64(0)
  plain = frequencies[-1, 0]
  for axis in reversed(range(len(symbols))):
    if not tables.bases[axis].any():
      continue
    encoder.reserve(2 * symbols.shape[1])
    ranks = tables.bases[axis] >> TOTAL_BITS
    values = symbols[axis].astype(np.int64)
    escapes = (frequencies[ranks, values] == 0) & is_word
    for word in np.flatnonzero(escapes.any(axis=1))[::-1]:
      sizes = np.where(escapes[word], plain, total)
      starts = np.where(escapes[word], values[word].astype(np.uint64), none)
      encoder.step(sizes, starts * plain)
    values[escapes] = ESCAPE
    sizes = np.where(is_word, frequencies[ranks, values], total)
    starts = np.where(is_word, first_slots[ranks, values], none)
    for word in reversed(range(symbols.shape[1])):
      encoder.step(sizes[word], starts[word])
  return encoder.streams()


class Decoder:
  """States of all lanes, and how far each has read."""

  def __init__(self, numbers: np.ndarray, ends: np.ndarray, sizes: np.ndarray):
    """Reads the first states.

    Args:
      numbers: uint16 of all lanes; not empty.
      ends: [lanes] where each lane ends.
      sizes: [lanes] how many numbers it has.

    Raises:
      ValueError: if a lane cannot hold a state.
    """
    if (sizes == 1).any():
      raise ValueError('a chunk of 16 bits is too short for its state.')
    self.numbers, self.ends = numbers, ends
    # A lane without numbers never left its first state.
    starts = np.where(sizes > 0, ends - sizes, 0)
    halves = numbers.take([starts, starts + 1], mode='clip').astype(np.uint32)
    states = halves[0] << np.uint32(16) | halves[1]
    self.states = np.where(sizes > 0, states, np.uint32(START))
    self.places = np.where(sizes > 0, starts + 2, ends)
    if (self.states < START).any():
      raise ValueError(f'the first state of a chunk is below {START}.')

  def step(
    self, bases: np.ndarray, steps: np.ndarray, slots: np.ndarray
  ) -> None:
    """Decodes a symbol a lane.

    Args:
      bases: [lanes] where the table of each starts.
      steps: see `Tables.steps`.
      slots: [lanes] int64, filled with the places of the symbols.
    """
    states = self.states
    np.add(bases, states & np.uint32(TOTAL - 1), out=slots)
    found = steps.take(slots)
    states >>= np.uint32(TOTAL_BITS)
    states *= found >> np.uint32(TOTAL_BITS)
    states += found & np.uint32(TOTAL - 1)
    is_low = states < np.uint32(START)
    # A hostile lane may run past its end, which `finish` finds out.
    more = self.numbers.take(self.places, mode='clip')
    self.places += is_low
    np.copyto(states, states << np.uint32(16) | more, where=is_low)

  def finish(self) -> None:
    """Raises ValueError unless all lanes are used up and back at the start."""
    if (self.places != self.ends).any():
      raise ValueError('a chunk is longer or shorter than its values.')
    if (self.states != START).any():
      raise ValueError(f'the last state of a chunk is not {START}.')


def decode_lanes(
  decoder: Decoder, counts: np.ndarray, tables: Tables
) -> np.ndarray:
  """Reverses `encode_lanes`.

  Args:
    decoder: at the first symbols.
    counts: [lanes] words of each chunk.
    tables: of axes and lanes.

  Returns:
    [A, longest chunk, lanes] int8 values, zero after the words of a chunk.

  Raises:
    ValueError: if the numbers do not fit.
  """
  num_axes, num_lanes = tables.bases.shape
  longest = int(counts.max(initial=0))
  shortest = int(counts.min(initial=longest))
  symbols, steps = tables.symbols(), tables.steps()
  values = np.zeros((num_axes, longest, num_lanes), np.int8)
  slots = np.empty((longest, num_lanes), np.int64)
  plain_slots = np.empty(num_lanes, np.int64)
  for axis in range(num_axes):
    bases = tables.bases[axis]
    if not bases.any():
      continue
    for row in range(longest):
      own = bases if row < shortest else np.where(row < counts, bases, 0)
      decoder.step(own, steps, slots[row])
    found = symbols.take(slots)
    escapes = found == ESCAPE
    for word in np.flatnonzero(escapes.any(axis=1)):
      own = np.where(escapes[word], tables.plain, 0)
      decoder.step(own, steps, plain_slots)
      np.copyto(found[word], symbols.take(plain_slots), where=escapes[word])
    if (found == ESCAPE).any():
      raise ValueError('an escape stands for no value within [-127, 127].')
    np.subtract(
      found,
      LARGEST,
      out=values[axis],
      dtype=np.int8,
      casting='unsafe',
    )
  decoder.finish()
  return values
