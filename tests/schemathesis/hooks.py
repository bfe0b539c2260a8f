"""Teaches schemathesis what a configuration is: the text in POINTSMAN_CONFIG, good and broken."""

import os

import schemathesis
from hypothesis import strategies as st

GOOD = open(os.environ["POINTSMAN_CONFIG"], encoding="utf-8").read()
TEXTS = [
    GOOD,
    GOOD + "\n# a comment\n",
    GOOD.replace("weight = 2", "weight = 5"),
    GOOD.replace("[[route]]", "[[rout]]"),
    GOOD.replace('upstream = "u"', 'upstream = "v"'),
    GOOD[: len(GOOD) // 2],
    "listener = 1",
    "\x00",
]

schemathesis.openapi.media_type("application/toml", st.sampled_from([text.encode() for text in TEXTS]))


@schemathesis.serializer("application/toml")
def toml(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def filter_path_parameters(ctx, path_parameters):
    """The upstream of the traffic beside is nobody's to change."""
    return "beside" not in str((path_parameters or {}).get("upstream"))
