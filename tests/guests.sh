#!/bin/sh
# Makes components of the HTTP handlers in tests/guests with the tools of their languages, pinned,
# once, below cargo's target folder. Prints the folder that hello-js.wasm and hello-py.wasm are in.
set -eu

here=$(cd "$(dirname "$0")" && pwd)/guests
target=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$target"
made=$(cd "$target" && pwd)/test-guests
sources=$(cat "$here"/* "$0" | sha256sum)

# Tests start this side by side; one makes them, the others wait.
exec 9>"$made.lock"
flock 9
if [ "$(cat "$made/sources" 2>/dev/null)" != "$sources" ]; then
    rm -rf "$made"
    mkdir -p "$made/wit/deps"
    cp "$here"/* "$made"
    cd "$made"
    npm install --silent --no-audit --no-fund >&2
    python3 -m venv python
    python/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt >&2
    mv hello.wit wit/hello.wit
    # The WIT comes with the tools; within 0.2 the numbers alone differ.
    for package in node_modules/@bytecodealliance/jco/lib/wit/builtin/0.2.12/wasi-*; do
        mkdir "wit/deps/$(basename "$package")"
        sed 's/0\.2\.12/0.2.10/g' "$package/package.wit" >"wit/deps/$(basename "$package")/package.wit"
    done
    node componentize.mjs hello.js wit hello-js.wasm >&2
    python/bin/componentize-py --quiet --wit-path wit --world backlot:hello/hello \
        componentize hello --output hello-py.wasm >&2
    echo "$sources" >sources
fi
echo "$made"
