// Chooses how to play: hls.js where the build has it, else what the browser plays by itself.

const FRAME_POLL_MS = 250;

const canDecode = (video, type) =>
  Boolean(self.MediaSource?.isTypeSupported(type) || self.ManagedMediaSource?.isTypeSupported(type)) ||
  video.canPlayType(type) !== "";

// Answers { mode, hls? }, or { problem } with the name of the message to show.
export async function open(video, onFatal) {
  const { hls: playlist, mp4, codec, hlsModule } = video.dataset;
  if (codec && !canDecode(video, `video/mp4; codecs="${codec}"`)) return { problem: "codec" };
  if (hlsModule && playlist) {
    const { default: Hls } = await import(hlsModule);
    if (Hls.isSupported()) return { mode: "hls.js", hls: attach(Hls, video, playlist, onFatal) };
  }
  // The file before the browser's own HLS: Chromium says that it plays that, and does not play AV1.
  if (mp4) {
    video.src = mp4;
    return { mode: "file" };
  }
  if (playlist && video.canPlayType("application/vnd.apple.mpegurl") !== "") {
    video.src = playlist;
    return { mode: "native" };
  }
  return { problem: "player" };
}

function attach(Hls, video, playlist, onFatal) {
  // Fragments are CMAF already: nothing to remux, so a worker would only cost a policy exception.
  const hls = new Hls({ enableWorker: false, capLevelToPlayerSize: true, backBufferLength: 60 });
  let recovered = false;
  hls.on(Hls.Events.ERROR, (_, error) => {
    if (!error.fatal) return;
    if (error.type === Hls.ErrorTypes.MEDIA_ERROR && !recovered) {
      recovered = true;
      hls.recoverMediaError();
    } else {
      onFatal(error.details);
    }
  });
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => {
    video.dataset.rung = name(hls.levels[level]);
  });
  hls.loadSource(playlist);
  hls.attachMedia(video);
  hls.once?.(Hls.Events.MANIFEST_PARSED, () => video.dispatchEvent(new Event("levels")));
  return hls;
}

const name = (level) => `${Math.min(level.width, level.height)}p`;

export function offerQuality(video, hls, label) {
  const select = label.querySelector("select");
  select.replaceChildren(new Option("Automatic", "-1"));
  hls.levels
    .map((level, index) => ({ text: name(level), index, samples: level.width * level.height }))
    .sort((a, b) => b.samples - a.samples)
    .forEach(({ text, index }) => select.add(new Option(text, String(index))));
  label.hidden = hls.levels.length < 2;
  select.addEventListener("change", () => {
    const level = Number(select.value);
    // Automatic: not above what the player shows; by hand: what was asked for.
    hls.config.capLevelToPlayerSize = level < 0;
    hls.nextLevel = level;
  });
}

// What was shown, for people who look into the page and for tests.
export function countFrames(video) {
  setInterval(() => {
    const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality();
    video.dataset.frames = String(totalVideoFrames);
    video.dataset.dropped = String(droppedVideoFrames);
    if (video.videoWidth) video.dataset.size = `${video.videoWidth}x${video.videoHeight}`;
  }, FRAME_POLL_MS);
}
