"""Run the service: `python -m services.filesystem`."""

from services.filesystem.service import main

main()
