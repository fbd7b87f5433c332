#!/bin/sh
# Installs the S3 clients the tests drive into a virtual environment below cargo's target folder,
# pinned, once. Prints the environment's path. rclone and ffmpeg come from the system.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
mkdir -p "$target"
environment=$(cd "$target" && pwd)/test-clients
stamp="$environment/installed"
pins="$here/clients/requirements.txt"

# Tests start this side by side; one installs, the others wait.
exec 9>"$environment.lock"
flock 9
if ! cmp -s "$pins" "$stamp"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$pins" >&2
    cp "$pins" "$stamp"
fi
echo "$environment"
