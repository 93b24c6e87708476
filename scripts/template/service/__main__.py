"""Run the service: `python -m services.{{name}}`."""

from services.{{name}}.service import main

main()
