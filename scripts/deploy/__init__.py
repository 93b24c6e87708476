"""What stands behind `./deploy.sh`: install, start, watch, check and stop the services.

The way of one command:

```
deploy.sh ──► __main__ ──► command_line      what was asked; standard library only
                 │
                 ├──► bootstrap              the virtual environment, then the same again inside it
                 │
                 ├──► environment            settings of shell, secrets and configuration file
                 │      ├─────► server_files what a file of servers asks for
                 │      └─────► soundness    whether services would start with them
                 │
                 ├──► local ──► database     PostgreSQL, where there is no DATABASE_URL
                 │      │        └──► programs   the server's, of the system or of the wheel
                 │      ├─────► demo         the demo data, and the role that reads them
                 │      └─────► supervision  supervisord: starts, restarts, stops
                 │                 └──► launch     one service: its environment, then exec
                 └──► docker                 docker compose
```

`__main__`, `command_line`, `bootstrap`, `console`, `errors` and `paths` import nothing that has to
be installed first.
"""
