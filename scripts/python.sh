# shellcheck shell=bash
# Sourced by the commands: sets PYTHON to the virtual environment's interpreter or, before there is
# one, to a Python of this machine that is new enough. Needs `root`, the folder of the clone.

# It names the library of one Python, and would be given to another.
unset PYTHONHOME

_is_new_enough() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

_find_python() {
  local candidate found=""
  local venv="${MCP_VENV:-${root:?}/.venv}"
  for candidate in "$venv/bin/python" ${MCP_PYTHON:+"$MCP_PYTHON"} \
    python3 python3.13 python3.12 python3.11 python; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if _is_new_enough "$candidate"; then
      # shellcheck disable=SC2034  # read by whoever sources this file
      PYTHON="$candidate"
      return 0
    fi
    found="${found:-$candidate}"
  done
  if [[ -n $found ]]; then
    echo "Python 3.11, 3.12 or 3.13 is needed; $found is $("$found" --version 2>&1)." >&2
  else
    echo "Python is missing; 3.11, 3.12 or 3.13 is needed." >&2
  fi
  echo "On Debian 12 or Ubuntu 24.04: apt-get install python3 python3-venv" >&2
  echo "Elsewhere install it from python.org, or set MCP_PYTHON to its path." >&2
  return 1
}

_find_python || exit 1
# The commands add -P, so that a folder `scripts` where they are called from is not taken for ours.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
