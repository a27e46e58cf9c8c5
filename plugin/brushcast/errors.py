"""Every error that Brushcast raises on purpose. The message names what was seen and what was
wanted.

BrushcastError                  anything below
├── InputError                  the user gave something that cannot work (exit code 2)
│   ├── ConfigError             an option or a configuration value
│   ├── PresetError             a preset that is unknown or malformed
│   ├── SourceError             a camera, file or capture that cannot be opened or read
│   ├── SinkError               an output that cannot be opened or written
│   ├── PromptError             a wording that the engine does not know
│   ├── PairError               two machines that could not be paired
│   └── VectorsError            a file that holds no reference vectors
├── WireError                   the connection to the worker
│   ├── MalformedMessage        bytes that are no message of ours
│   └── VersionMismatch         the other side speaks another major version
├── EngineError                 the engine cannot do what was asked
│   ├── WeightsError            weights missing, incomplete or of another shape
│   └── OutOfMemory             the device's memory did not do; a smaller size may
├── ObsError                    OBS's websocket server: not there, or what it says is no answer
│   ├── ObsPasswordError        it refuses our password
│   └── ObsRequestError         it refuses one request; the connection goes on
├── FetchError                  a download failed; what came so far is kept
└── ChildError                  a child process failed for good
"""


class BrushcastError(Exception):
    """Base of every error that is raised on purpose."""


class InputError(BrushcastError):
    """The user's input cannot work; the command line exits with 2 and prints this one line."""


class ConfigError(InputError):
    """An option or a configuration value is unknown, malformed or out of range."""


class PresetError(InputError):
    """A preset is unknown, or its file is not a valid preset."""


class SourceError(InputError):
    """A source cannot be opened, or stopped for good."""


class SinkError(InputError):
    """A sink cannot be opened or written."""


class PromptError(InputError):
    """The engine does not know any word of the prompt."""


class PairError(InputError):
    """Two machines could not be paired: nobody there, too late, or the wrong secret."""


class VectorsError(InputError):
    """A file cannot be read as reference vectors, or asks for more than a machine has."""


class WireError(BrushcastError):
    """The connection to the worker."""


class MalformedMessage(WireError):
    """Bytes that are no message of this protocol."""


class VersionMismatch(WireError):
    """The other side speaks another major version of the protocol."""


class EngineError(BrushcastError):
    """The engine cannot do what was asked of it."""


class WeightsError(EngineError):
    """Weights are missing, incomplete or have another shape than the model."""


class OutOfMemory(EngineError):
    """The device's memory does not do for this size and number of streams.

    again: the engine has changed its ways and wants less from now on: the same may be tried anew.
    job: the number of the job in the batch that did not fit, where nothing has happened to others.
    """

    def __init__(self, message: str, *, again: bool = False, job: int | None = None) -> None:
        super().__init__(message)
        self.again, self.job = again, job


class ObsError(BrushcastError):
    """OBS's websocket server cannot be reached, or says what is no answer."""


class ObsPasswordError(ObsError):
    """OBS's websocket server refuses the password that OBS's own settings hold."""


class ObsRequestError(ObsError):
    """OBS's websocket server refuses one request; code: its own number for the reason."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class FetchError(BrushcastError):
    """A download failed, or is not what it should be; what came so far and may be right is kept."""


class ChildError(BrushcastError):
    """A child process failed for good; the message holds its last words."""
