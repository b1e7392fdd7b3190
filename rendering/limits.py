"""Limits of render URLs, stacks and results. docs/reference/render-urls.md lists them."""

MAX_URL_LENGTH = 8_000  # bytes of path and query
MAX_OPERATIONS = 32
MAX_ALL_OPERATIONS = 100  # with those of compositions
MAX_BASESTACKS = 5  # below each other
MAX_COMPOSITION_DEPTH = 5
MAX_EXPRESSIONS = 500  # and variables, with those of basestacks and compositions
MAX_PIXELS = 100_000_000  # of a result, over all frames
MAX_FRAMES = 400
