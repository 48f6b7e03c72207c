"""Every exception that Triclip raises on purpose.

    CLIPError
    ├── ConfigError            (ValueError)         a configuration that describes no model
    ├── CheckpointError        (OSError)            a checkpoint that cannot be found, read or written
    │   ├── CheckpointNotFoundError (FileNotFoundError)
    │   ├── CheckpointFormatError   (ValueError)    truncated, corrupt or of another format
    │   └── WeightMismatchError     (ValueError)    missing, unexpected or misshapen weights
    ├── InputError             (ValueError)         a value that a model or processor cannot take
    │   └── ImageError                              a picture that cannot be read or converted
    ├── NonFiniteError         (FloatingPointError)  a result that is NaN or infinite
    ├── InputTypeError         (TypeError)          an object or dtype of the wrong kind
    ├── MissingExtraError      (ImportError)        an optional dependency that is not installed
    └── BackendError           (ImportError)        a framework that is there, but not as it is needed

Each also derives from the built-in exception that a caller would catch without knowing Triclip.
Messages say what was expected, what came, and what to do.
"""


class CLIPError(Exception):
    """Base of every exception raised on purpose by Triclip."""


class ConfigError(CLIPError, ValueError):
    """A configuration value or combination that describes no model."""


class CheckpointError(CLIPError, OSError):
    """A checkpoint that cannot be found, read or written."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No checkpoint under this path or name."""


class CheckpointFormatError(CheckpointError, ValueError):
    """A checkpoint file that is truncated, corrupt or of another format."""


class WeightMismatchError(CheckpointError, ValueError):
    """The weights of a checkpoint are not those that the configuration asks for."""


class InputError(CLIPError, ValueError):
    """A value that a model, tokenizer or processor cannot take."""


class ImageError(InputError):
    """A picture that cannot be read or converted."""


class NonFiniteError(CLIPError, FloatingPointError):
    """A result that is NaN or infinite, although nothing was wrong with the input."""


class InputTypeError(CLIPError, TypeError):
    """An object or dtype of the wrong kind."""


class MissingExtraError(CLIPError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package!r}, which is not installed. Run: pip install 'triclip[{extra}]'")


class BackendError(CLIPError, ImportError):
    """A framework that is there, but not as it is needed: another version, or set up for another purpose."""
