"""Run the service: `python -m services.monitoring`."""

from services.monitoring.service import main

main()
