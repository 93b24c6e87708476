"""Run the service: `python -m services.github`."""

from services.github.service import main

main()
