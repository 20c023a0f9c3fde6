"""Errors of objects on S3, which name the object and S3's code for what went wrong."""


class ObjectError(OSError):
    """A request about an object that failed, also after it was tried again."""

    def __init__(self, doing: str, address: str, code: str) -> None:
        """`address` is s3://bucket/key; `code` is S3's word for what went wrong, or what the client says."""
        super().__init__(f"{doing} {address}: {code}")
        self.address, self.code = address, code


class ObjectMissing(ObjectError, FileNotFoundError):
    """There is no such object."""


class ObjectRefused(ObjectError, PermissionError):
    """The credentials do not give access to it."""
