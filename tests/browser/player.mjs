// Drives Chromium through an upload: the list shows it live, the player plays it, seeks, and
// switches rungs. Called by tests/player.rs:
//
//   node player.mjs http://127.0.0.1:PORT KEY FOLDER
//
// Prints `waiting for the upload` when the list page is open, so that the caller uploads KEY then;
// puts screenshots into FOLDER; ends with exit code 0 if all held.

import assert from "node:assert/strict";
import path from "node:path";
import { chromium } from "playwright-core";

const [base, key, folder] = process.argv.slice(2);
const ENCODE_MAX_MS = 10 * 60 * 1000;
const STEP_MAX_MS = 60 * 1000;

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
  ],
});

const complaints = [];

async function newPage(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_MAX_MS);
  // A blocked script or style is a complaint too: the pages must live with their own policy.
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  return page;
}

const shot = (page, name) =>
  page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });

async function poll(what, limit, ask) {
  const end = Date.now() + limit;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < end, `${what}: not within ${limit} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

// What the list shows of our card, without a reload.
async function listFollowsTheWork(page) {
  await page.goto(base);
  await page.locator('[data-live="on"]').waitFor();
  await page.evaluate(() => (document.body.dataset.sameDocument = "yes"));
  await shot(page, "list-before");
  console.log("waiting for the upload");

  const title = path.parse(key).name;
  const card = page.locator(".card", { has: page.getByRole("link", { name: title, exact: true }) });
  await card.waitFor({ timeout: STEP_MAX_MS });
  const states = new Set();
  let most = 0;
  let pictured = false;
  await poll("ready", ENCODE_MAX_MS, async () => {
    const seen = await card.evaluate((node) => ({
      state: node.dataset.state,
      reason: node.querySelector(".reason")?.textContent,
      rungs: [...node.querySelectorAll("[data-rung]")].map((rung) => ({
        name: rung.dataset.rung,
        stored: Number(rung.dataset.stored),
      })),
    }));
    states.add(seen.state);
    assert.notEqual(seen.state, "failed", seen.reason);
    const pictures = seen.rungs.filter((rung) => rung.name !== "audio");
    const stored = pictures.reduce((sum, rung) => sum + rung.stored, 0);
    if (seen.state === "encoding") {
      assert.ok(most <= stored, `stored frames went from ${most} to ${stored}`);
      most = stored;
      if (stored > 0 && !pictured) {
        pictured = true;
        await shot(page, "list-encoding");
      }
    }
    return seen.state === "ready";
  });
  assert.ok(states.has("encoding"), `states seen: ${[...states]}`);
  assert.ok(most > 0, "no stored frames were shown before the end");
  assert.equal(await page.evaluate(() => document.body.dataset.sameDocument), "yes");
  await shot(page, "list-ready");
  return card.getAttribute("data-id");
}

const data = (page, name) => page.evaluate((key) => document.querySelector("#film").dataset[key], name);
const frames = async (page) => Number((await data(page, "frames")) ?? 0);
const time = (page) => page.evaluate(() => document.querySelector("#film").currentTime);

async function plays(page, id) {
  await page.goto(`${base}/watch/${id}`);
  await page.locator("#film[data-mode]").waitFor({ state: "attached" });
  assert.equal(await data(page, "mode"), "hls.js");
  await page.evaluate(() => {
    const film = document.querySelector("#film");
    film.muted = true;
    return film.play();
  });
  const first = await poll("first frames", STEP_MAX_MS, async () => (await frames(page)) || 0);
  await poll("more frames", STEP_MAX_MS, async () => (await frames(page)) > first + 10);

  // Seek forward, and back.
  const duration = await page.evaluate(() => document.querySelector("#film").duration);
  for (const share of [0.6, 0.1]) {
    const target = duration * share;
    await page.evaluate((to) => (document.querySelector("#film").currentTime = to), target);
    const before = await frames(page);
    await poll(`playing on after a seek to ${target} s`, STEP_MAX_MS, async () => {
      const now = await time(page);
      return now > target && now < target + duration / 4 && (await frames(page)) > before;
    });
  }

  // Each rung by hand, seen in the size of the decoded picture.
  const rungs = await page.locator("#quality option").evaluateAll((options) =>
    options.filter((option) => option.value !== "-1").map((option) => option.text),
  );
  assert.ok(rungs.length >= 2, `rungs offered: ${rungs}`);
  const sizes = new Set();
  for (const rung of [rungs.at(-1), rungs[0]]) {
    await page.locator("#quality").selectOption({ label: rung });
    await page.evaluate(() => {
      const film = document.querySelector("#film");
      if (film.ended || film.duration - film.currentTime < 4) film.currentTime = 0;
      return film.play();
    });
    await poll(`switching to ${rung}`, STEP_MAX_MS, async () => {
      const size = await data(page, "size");
      if (!size) return false;
      const [width, height] = size.split("x").map(Number);
      if ((await time(page)) > duration - 2) {
        await page.evaluate(() => {
          const film = document.querySelector("#film");
          film.currentTime = 0;
          return film.play();
        });
      }
      // The picture may have had that size before: the player must say so too.
      const same = `${Math.min(width, height)}p` === rung && (await data(page, "rung")) === rung;
      return same && sizes.add(size);
    });
  }
  assert.equal(sizes.size, 2);

  // What a build without hls.js chooses: the file, whatever the browser says of HLS.
  const chosen = await page.evaluate(async () => {
    const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    const { open } = await import(loaded.find((name) => name.includes("player")));
    const video = { dataset: { hls: "/a.m3u8", mp4: "/a.mp4" }, canPlayType: () => "maybe" };
    return [(await open(video)).mode, video.src];
  });
  assert.deepEqual(chosen, ["file", "/a.mp4"]);

  // The storyboard's preview follows the slider.
  const slider = page.locator("#scenes");
  await slider.focus();
  await page.keyboard.press("End");
  await page.locator(".preview").waitFor();
  assert.ok(Number(await page.locator(".preview").getAttribute("data-cue")) > 0);
  await shot(page, "watch");
}

// The DASH manifest in the reference player of the DASH Industry Forum: it must have no complaint,
// and play to the end.
async function dashPlays(page, id) {
  const player = path.join(import.meta.dirname, "node_modules/dashjs/dist/modern/umd/dash.all.min.js");
  await page.route(`${base}/dash-test`, (route) =>
    route.fulfill({ contentType: "text/html", body: "<video muted></video><script src=/dash.js></script>" }),
  );
  await page.route(`${base}/dash.js`, (route) => route.fulfill({ path: player }));
  await page.goto(`${base}/dash-test`);
  const { links } = await page.evaluate(async (id) => (await fetch(`/api/v1/content/${id}`)).json(), id);
  await page.evaluate((manifest) => {
    const { MediaPlayer } = window.dashjs;
    const player = MediaPlayer().create();
    window.faults = [];
    for (const kind of ["ERROR", "PLAYBACK_ERROR", "CONFORMANCE_VIOLATION"]) {
      player.on(MediaPlayer.events[kind], (fault) => window.faults.push(JSON.stringify(fault)));
    }
    player.initialize(document.querySelector("video"), manifest, true);
    window.player = player;
  }, links.dash);
  const ends = () => page.evaluate(() => document.querySelector("video").ended);
  await poll("DASH to the end", STEP_MAX_MS, ends);
  assert.deepEqual(await page.evaluate(() => window.faults), []);
  const tracks = await page.evaluate(() => window.player.getRepresentationsByType("video").length);
  assert.ok(2 <= tracks, `${tracks} representations in DASH`);
}

try {
  const page = await newPage({ colorScheme: "light" });
  const id = await listFollowsTheWork(page);
  await plays(page, id);

  await dashPlays(await newPage(), id);

  const dark = await newPage({ colorScheme: "dark" });
  await dark.goto(base);
  await dark.locator('[data-live="on"]').waitFor();
  await shot(dark, "list-dark");
  await dark.goto(`${base}/watch/${id}`);
  await dark.locator("#quality").waitFor();
  await shot(dark, "watch-dark");

  const phone = await newPage({ viewport: { width: 390, height: 800 } });
  await phone.goto(`${base}/watch/${id}`);
  await phone.locator("#quality").waitFor();
  const wide = await phone.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `the page is ${wide} px wide on a phone`);
  await shot(phone, "watch-phone");

  const plain = await newPage({ javaScriptEnabled: false });
  await plain.goto(base);
  assert.ok(await plain.getByRole("link", { name: path.parse(key).name, exact: true }).isVisible());

  assert.deepEqual(complaints, []);
  console.log("all held");
} finally {
  await browser.close();
}
