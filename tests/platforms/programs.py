"""Programs that the tests of this folder run: of the machine, or as .ci/run takes them."""

from __future__ import annotations

import os
import shutil

from core.settings import PROJECT_ROOT
from tests.conftest import missing

TAKEN = PROJECT_ROOT / ".cache" / "programs" / "usr" / "bin"


def program(*names: str) -> str:
    """Return the path of the first of these programs that is here."""
    path = os.pathsep.join((os.environ["PATH"], str(TAKEN), "/usr/sbin"))
    found = [where for name in names if (where := shutil.which(name, path=path))]
    if not found:
        missing(names[0], ".ci/run installs it")
    return found[0]
