#!/usr/bin/env bash
# Installs llama.cpp's server and makes a tiny model for tests/e2e/test_llamacpp.py, once. Prints where they are.
set -euo pipefail
cd "$(dirname "$0")"
place="${AI_GATEWAY_LLAMACPP:-${XDG_CACHE_HOME:-$HOME/.cache}/ai-gateway/llamacpp}"
wanted="$(cat requirements.txt make_model.py | cksum)"
if [ "$(cat "$place/made-from" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$place"
  mkdir -p "$place"
  "${PYTHON:-python3}" -m venv "$place/venv"
  "$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
  "$place/venv/bin/python" make_model.py "$place/tiny.gguf"
  echo "$wanted" >"$place/made-from"
fi
echo "$place"
