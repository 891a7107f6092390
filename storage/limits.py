"""How much of a file is read, whatever the file says of itself. The readers of `utils` and `data` go by these."""

from __future__ import annotations

MEBIBYTE = 1 << 20

# Bytes of a file
LARGEST_TEXT = 64 * MEBIBYTE  # captions, prompts, splits, tables
LARGEST_JSON = 256 * MEBIBYTE
LARGEST_BVH = 1024 * MEBIBYTE
LARGEST_GLB = 1024 * MEBIBYTE
LARGEST_ARRAYS = 8192 * MEBIBYTE  # .npy and .npz

# What arrays of an archive may unpack to: so much anyhow, else so many times the file
UNPACKED, UNPACKED_TIMES = 64 * MEBIBYTE, 100
MOST_ARRAYS = 1000
LONGEST_HEADER = 4096  # bytes in which a .npy file says what it holds

JSON_DEPTH = 64  # lists and objects in one another
JSON_DIGITS = 19  # of a whole number

LONGEST_LINE = 20_000  # characters of a caption, a prompt, or a text in a config
MOST_CAPTIONS = 1000  # of a clip
LONGEST_ID = 200  # characters of a clip's id, which is a file's name
LATEST_SECOND = 1e6  # that a caption describes
MOST_NODES = 2000  # joints of a skeleton in a file

# Frames times joints that a motion becomes: so many anyhow, else so many times the numbers that its file holds
CELLS, CELLS_TIMES = 1 << 21, 16

# Numbers of options and configs whose fields declare no limit of their own
LARGEST_WHOLE, LARGEST_REAL = 2**31 - 1, 1e6
MOST_VALUES = 1000  # of a list
