"""The largest values that requests may have."""

LARGEST_BODY = 16 * 1024 * 1024  # bytes of a request
LARGEST_COUNT = 2**31 - 1
LARGEST_SEED = 2**64 - 1
LARGEST_SCHEMA = 64 * 1024  # bytes, as compact JSON
MOST_TOOLS = 128
MOST_MESSAGES = 10_000
