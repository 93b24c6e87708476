"""Files and tables that are written from something else; `scripts/docs` runs it.

| written | from |
|---|---|
| docker-compose.yml | config/services.yaml, config/networks.yaml |
| each service's part of examples/kubernetes | config/services.yaml |
| examples/monitoring/prometheus/targets.yml | config/services.yaml |
| users and limits in examples/systemd | config/services.yaml |
| what names services in examples/mcp-reverse-proxy | config/services.yaml |
| requirements.txt | the dependencies of pyproject.toml |
| config/secrets.env.example, config/mcp.example.yaml | the settings classes |
| tables between `<!-- generated:… -->` marks | the settings classes, the tools, the registry |
"""
