"""Run the service: `python -m services.postgres`."""

from services.postgres.service import main

main()
