"""Label tables, classes, label sets, codebook, membership and protocols."""

from neoseg.labels.codebook import MAX_CODES, UNKNOWN, Codebook
from neoseg.labels.convention import Convention
from neoseg.labels.protocol import STREAMS, Protocol, Stream, hide_slices
from neoseg.labels.space import LabelSet, LabelSpace
from neoseg.labels.table import LabelError, LabelTable

__all__ = [
    "MAX_CODES",
    "STREAMS",
    "UNKNOWN",
    "Codebook",
    "Convention",
    "LabelError",
    "LabelSet",
    "LabelSpace",
    "LabelTable",
    "Protocol",
    "Stream",
    "hide_slices",
]
