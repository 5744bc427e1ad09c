#!/usr/bin/env bash
# Installs what the layer is measured against, pinned, into target/bench. Needs Node 20, Python 3.11 with venv, npm and pip;
# the runtime client of Node is compiled: a C++ compiler, cmake, make, autoconf, automake, libtool.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bench=$here/../../target/bench
mkdir -p "$bench/node" "$bench/breaker-node"
cp "$here"/lambda/node/* "$bench/node/"
(cd "$bench/node" && npm ci --no-audit --no-fund)
cp "$here"/kernel/node/* "$bench/breaker-node/"
(cd "$bench/breaker-node" && npm ci --no-audit --no-fund)
[ -x "$bench/python/bin/python" ] || python3.11 -m venv "$bench/python"
"$bench/python/bin/pip" install --quiet --requirement "$here/lambda/python/requirements.txt"
