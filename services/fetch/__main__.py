"""Run the service: `python -m services.fetch`."""

from services.fetch.service import main

main()
