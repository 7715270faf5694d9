"""The package's exceptions: each carries one sentence saying what, where and what was expected."""


class SsaeError(Exception):
    """Base of the errors that a user can cause or mend; printed without traceback."""


class ConfigError(SsaeError, ValueError):
    """A setting has a value, or a file of settings a key, that the package does not accept."""


class DataError(SsaeError):
    """A folder or picture is missing, unreadable or not in the expected layout."""


class RunError(SsaeError):
    """A run folder is missing, incomplete, or would be overwritten."""


class MissingExtraError(SsaeError, ImportError):
    """An optional dependency is absent; the message gives the pip line that gets it."""
