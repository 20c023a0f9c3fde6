"""Tables' files in the home folder, for their owner alone."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
from pyiceberg.io.pyarrow import PyArrowFileIO, PyArrowLocalFileSystem

from featurestore import private

NAME = f"{__name__}.PrivateFileIO"
"""How a catalog's properties name it."""


class PrivateLocalFileSystem(PyArrowLocalFileSystem):
    """The machine's files; new ones, and their folders, are made for their owner."""

    def open_output_stream(self, path: str, *args: Any, **kwargs: Any) -> pa.NativeFile:
        """See pyarrow's FileSystem."""
        private.make_folder(Path(path).parent)
        private.make_file(Path(path))
        return super().open_output_stream(path, *args, **kwargs)


class PrivateFileIO(PyArrowFileIO):
    """pyiceberg's own, but for new files of this machine."""

    def _initialize_local_fs(self) -> pafs.FileSystem:
        return PrivateLocalFileSystem()
