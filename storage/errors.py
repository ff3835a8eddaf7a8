"""Every error that storage raises, and what its host must do about it.

StorageError              stop the node; nothing is retried, the last write is *unknown*
├── CorruptionError       what is on disk contradicts itself
EntriesCompactedError     these log entries are gone: send a snapshot instead
EntriesUnavailableError   these log entries were never there
SnapshotError             this snapshot cannot be received, installed or sent; the node goes on
DataDirError              refuse to start; the text is the whole message for the operator
├── DataDirInUseError
├── DataDirForeignError   not a data directory, or another cluster's or member's
├── DataDirFormatError    written by a newer version
└── DataDirAccessError    not writable, wrong owner, a symbolic link
"""


class StorageError(Exception):
    """The disk or RocksDB failed. Fatal: an fsync that failed once may have lost what it covered,
    and RocksDB refuses all writes until it is opened again, so the node stops and recovers."""


class CorruptionError(StorageError):
    """What was read contradicts itself, with the numbers; this disk's copy cannot be trusted."""


class EntriesCompactedError(Exception):
    """Log entries were asked for that compaction or a snapshot removed."""


class EntriesUnavailableError(Exception):
    """Log entries were asked for that lie after the last one."""


class SnapshotError(Exception):
    """A snapshot is incomplete, damaged, ill-formed or not there."""


class DataDirError(Exception):
    """The data directory cannot be used."""


class DataDirInUseError(DataDirError):
    """Another process holds the lock."""


class DataDirForeignError(DataDirError):
    """It is some other program's, cluster's or member's directory."""


class DataDirFormatError(DataDirError):
    """Its format is newer than this version, or its identity does not parse."""


class DataDirAccessError(DataDirError):
    """The file system does not let this process own it."""
