#!/usr/bin/env bash
# Small films of every container and codec that is read, and files of every format, as a start.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus/demux corpus/decode
film() {
  local name=$1
  shift
  ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=size=64x48:rate=25:duration=0.2 \
    -f lavfi -i sine=sample_rate=48000:duration=0.2 "$@" "corpus/demux/$name"
  cp "corpus/demux/$name" "corpus/decode/$name"
}
film h264.mp4 -c:v libx264 -pix_fmt yuv420p -c:a aac
film high10.mp4 -c:v libx264 -pix_fmt yuv420p10le -an
film frag.mp4 -c:v libx264 -pix_fmt yuv420p -c:a aac -movflags +frag_keyframe+empty_moov
film apple.mov -c:v libx264 -pix_fmt yuv420p -c:a aac
film hevc.mp4 -c:v libx265 -x265-params log-level=error -pix_fmt yuv420p -c:a libopus
film h264.mkv -c:v libx264 -pix_fmt yuv420p -c:a libopus
film vp9.webm -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus
film raw.y4m -pix_fmt yuv420p -an

# What the tests of guests/formats have made, behind the byte that chooses a name (255: none).
mkdir -p corpus/formats
target=${CARGO_TARGET_DIR:-../target}
for file in "$target"/tmp/formats-*/*.*; do
  [ -f "$file" ] && { printf '\377'; cat "$file"; } >"corpus/formats/$(basename "$file")"
done
