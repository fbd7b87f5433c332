// The player page.

import { countFrames, offerQuality, open } from "./player.mjs";
import { offerScenes } from "./storyboard.mjs";

const page = document.querySelector("[data-watch]");
const video = page.querySelector("video");

function message(name, reason) {
  const box = page.querySelector(`[data-message="${name}"]`);
  if (reason) box.querySelector("[data-reason]").textContent = reason;
  box.hidden = false;
  video.dataset.problem = name;
}

page.querySelector("[data-retry]").addEventListener("click", () => location.reload());
// The <source> elements are for browsers without scripts.
video.replaceChildren();
countFrames(video);
if (video.dataset.storyboard) {
  offerScenes(video, page.querySelector(".scenes")).catch(() => {});
}
video.addEventListener("error", () => message("broken", video.error?.message || "the browser gave up"));

let hls;
video.addEventListener("levels", () => offerQuality(video, hls, page.querySelector(".quality")));
try {
  const opened = await open(video, (reason) => message("broken", reason));
  hls = opened.hls;
  if (opened.problem) message(opened.problem);
  else video.dataset.mode = opened.mode;
} catch (error) {
  message("broken", String(error));
}
