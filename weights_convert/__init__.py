"""Between foreign checkpoint formats and the shared weight scheme, with NumPy alone."""

from weights_convert.comparison import Difference, diff
from weights_convert.conversion import Conversion, convert
from weights_convert.formats import FORMATS
from weights_convert.inspection import Inspection, inspect
from weights_convert.known_models import Unpublished
from weights_convert.opening import Source, open_source
from weights_convert.verification import Verification, verify

__all__ = [
    "FORMATS",
    "Conversion",
    "Difference",
    "Inspection",
    "Source",
    "Unpublished",
    "Verification",
    "convert",
    "diff",
    "inspect",
    "open_source",
    "verify",
]
