"""`python -m core.settings --check`: see `core.settings.check`."""

import sys

from core.settings.check import main

sys.exit(main())
