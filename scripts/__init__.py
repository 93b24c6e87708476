"""Commands for developers and operators; `README.md` beside this file lists them."""
