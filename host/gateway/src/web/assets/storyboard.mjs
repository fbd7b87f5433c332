// Scenes: a slider under the picture that shows thumbnails from a WebVTT storyboard.

const CUE = /^(\S+) --> (\S+).*\n(.*)#xywh=(\d+),(\d+),(\d+),(\d+)/;

const seconds = (stamp) => stamp.split(":").reduce((total, part) => total * 60 + Number(part), 0);

export function parse(text, base) {
  return text
    .replaceAll("\r\n", "\n")
    .split("\n\n")
    .map((block) => CUE.exec(block.slice(Math.max(0, block.lastIndexOf("\n", block.indexOf("-->")) + 1))))
    .filter(Boolean)
    .map(([, start, end, file, ...box]) => {
      const [x, y, width, height] = box.map(Number);
      return { start: seconds(start), end: seconds(end), url: new URL(file, base).href, x, y, width, height };
    });
}

const clock = (time) => {
  const whole = Math.floor(time);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
};

export async function offerScenes(video, scenes) {
  const url = new URL(video.dataset.storyboard, location);
  const answer = await fetch(url);
  if (!answer.ok) return;
  const cues = parse(await answer.text(), url);
  if (cues.length === 0) return;
  const slider = scenes.querySelector("input");
  const preview = scenes.querySelector(".preview");
  const frame = preview.querySelector(".frame");
  const at = preview.querySelector(".at");
  let held = false;

  function show(time) {
    const cue = cues.find((one) => time < one.end) ?? cues.at(-1);
    frame.style.width = `${cue.width}px`;
    frame.style.height = `${cue.height}px`;
    frame.style.background = `url("${cue.url}") -${cue.x}px -${cue.y}px`;
    at.textContent = clock(time);
    const share = slider.max > 0 ? time / slider.max : 0;
    const half = cue.width / 2;
    const left = Math.min(Math.max(share * slider.clientWidth, half), slider.clientWidth - half);
    preview.style.left = `${left}px`;
    preview.hidden = false;
    preview.dataset.cue = String(cue.start);
  }

  const ready = () => {
    if (!Number.isFinite(video.duration)) return;
    slider.max = String(video.duration);
    scenes.hidden = false;
  };
  video.addEventListener("durationchange", ready);
  ready();
  video.addEventListener("timeupdate", () => {
    if (!held) slider.value = String(video.currentTime);
  });
  slider.addEventListener("pointermove", (event) => {
    const share = event.offsetX / slider.clientWidth;
    show(Math.min(Math.max(share, 0), 1) * slider.max);
  });
  slider.addEventListener("input", () => {
    held = true;
    show(Number(slider.value));
  });
  slider.addEventListener("change", () => {
    held = false;
    video.currentTime = Number(slider.value);
  });
  for (const end of ["pointerleave", "blur"]) {
    slider.addEventListener(end, () => (preview.hidden = true));
  }
}
