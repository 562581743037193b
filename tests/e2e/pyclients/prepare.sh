#!/usr/bin/env bash
# Installs langchain-openai and LiteLLM for tests/e2e/test_python_clients.py, once, in an environment of their own:
# what they need does not go together with the gateway's lock. Prints where they are.
set -euo pipefail
cd "$(dirname "$0")"
place="${AI_GATEWAY_PYCLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/ai-gateway/pyclients}"
wanted="$(cksum <requirements.txt)"
if [ "$(cat "$place/made-from" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$place"
  mkdir -p "$place"
  "${PYTHON:-python3}" -m venv "$place/venv"
  "$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
  echo "$wanted" >"$place/made-from"
fi
echo "$place"
