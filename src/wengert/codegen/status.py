"""What kernels tell of what went wrong: a few words that each thread has to itself, in front of its scratch memory."""

CODE, BASE, VALUES = 0, 1, 8  # words: number of a lookup + 1, of the running kernel's first one, bad indices (or 0)
LANES = 64  # most of a vector
STATUS = 8 * (VALUES + LANES)  # bytes
