"""The build hook that records in wheels and source distributions the git commit that they are built from."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Read by ammup.provenance.
RECORD = "ammup/built_from.json"


class CommitHook(BuildHookInterface):
    """Adds the record to the archive; nothing is written to the source tree."""

    folder: "tempfile.TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the record, unless the installation is editable: its checkout can be asked when ammup runs.

        Without a checkout nothing is added. A source distribution contains the record of its own build already.
        """
        root = Path(self.root)
        toplevel, commit = self._git("rev-parse", "--show-toplevel"), self._git("rev-parse", "HEAD")
        if version == "editable" or not commit or Path(toplevel).resolve() != root.resolve():
            return
        dirty = bool(self._git("status", "--porcelain", "--untracked-files=no"))
        self.folder = tempfile.TemporaryDirectory()
        record = Path(self.folder.name) / "built_from.json"
        record.write_text(json.dumps({"commit": commit, "dirty": dirty}) + "\n", encoding="utf-8")
        build_data["force_include"][str(record)] = RECORD

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary file."""
        if self.folder is not None:
            self.folder.cleanup()

    def _git(self, *arguments: str) -> str:
        """The output of a git command in the source tree, or an empty text if it fails."""
        try:
            done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()
