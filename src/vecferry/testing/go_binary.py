"""Test servers that are published as Go modules: built once into the user's cache by `go install`.

Go checks what it downloads against its own checksum database, so a version's name pins its bytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from vecferry.errors import ConfigError, Unavailable
from vecferry.testing.cache import locked

BUILD_TIMEOUT_S = 900
_USUAL_PLACES = os.pathsep.join(["/usr/local/go/bin", "/usr/lib/go/bin"])


@dataclass(frozen=True, slots=True, kw_only=True)
class GoProgram:
    """A program of a Go module at one version.

    Attributes:
        name: of the program, and of its folder in the cache.
        variable: the environment variable that names another binary of it.
    """

    name: str
    module: str
    version: str
    variable: str

    def path(self) -> Path:
        """The program, built on first use (minutes).

        Raises:
            Unavailable: Go is missing, or the module cannot be fetched or built.
            ConfigError: the variable names no program.
        """
        if named := os.environ.get(self.variable):
            return self._named(Path(named))
        folder = Path(platformdirs.user_cache_dir("vecferry")) / self.name / self.version
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            if not (folder / self.name).is_file():
                self._build(folder)
        return folder / self.name

    def _named(self, program: Path) -> Path:
        if not os.access(program, os.X_OK):
            raise ConfigError(
                f"{self.variable} names {program}, which is no program.",
                hint=f"Name a {self.name} that may be executed, or unset the variable.",
            )
        return program.resolve()

    def _build(self, folder: Path) -> None:
        go = shutil.which("go") or shutil.which("go", path=_USUAL_PLACES)
        if go is None:
            raise Unavailable("Go is not installed.", hint=f"Install Go, or set {self.variable}=PATH.")
        command = [go, "install", f"{self.module}@{self.version}"]
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            environment = {**os.environ, "GOBIN": fresh, "CGO_ENABLED": "0"}
            try:
                subprocess.run(
                    command, env=environment, capture_output=True, check=True, text=True, timeout=BUILD_TIMEOUT_S
                )
            except (OSError, subprocess.SubprocessError) as error:
                said = str(getattr(error, "stderr", "") or error).strip()
                raise Unavailable(
                    f"{' '.join(command[1:])} failed: {said[-400:]}",
                    hint=f"Run again once Go's module proxy can be reached, or set {self.variable}=PATH.",
                ) from error
            (Path(fresh) / self.name).replace(folder / self.name)
