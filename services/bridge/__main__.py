"""Run the bridge: `python -m services.bridge [OPTION …] COMMAND [ARG …]`."""

from services.bridge.service import main

main()
