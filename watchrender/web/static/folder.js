// The page in the folder: no server, no orders. It shows what was written into it, loads itself again, and says when
// nobody has written it anew.

import { html, render } from "./html.js";
import { NO_FILTER, empty, isOver, lastOf } from "./jobs.js";
import { clock, duration, moment } from "./words.js";
import { Page } from "./views.js";

const RELOAD_MS = 5000;
const { queue, service, stale_seconds: staleSeconds } = JSON.parse(document.getElementById("data").textContent);
const loadedAt = Date.now();
const state = empty();
state.service = service;
state.counts = service.counts ?? queue.counts ?? {};
for (const job of [...(queue.rendering ?? []), ...(queue.queue ?? []), ...(queue.recent ?? [])]) state.jobs.set(job.id, job);

// How long ago the service wrote, by this machine's own clock: the other one's may be wrong. What was seen at the last
// load is kept; at the first there is only the service's own time to go by.
const SEEN = "watchrender-seen";
const beat = `${service.instance} ${service.beat}`;
let before = null;
let busyAt = -Infinity;
try {
  before = JSON.parse(sessionStorage.getItem(SEEN));
  if (!before || before.beat !== beat) sessionStorage.setItem(SEEN, JSON.stringify({ beat, at: Date.now(), first: !before }));
  before = JSON.parse(sessionStorage.getItem(SEEN));
} catch {
  // no storage for pages from a disk here: the service's own time has to do
}

// What somebody has done to the page outlives its loading itself again: how far the lists were opened, and the focus.
const KEPT = "watchrender-kept";
let kept = {};
try {
  kept = JSON.parse(sessionStorage.getItem(KEPT)) ?? {};
} catch {
  // as above
}

function keep(name, value) {
  kept[name] = value;
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    // as above
  }
  draw();
}

function staleWords(now) {
  const written = moment(service.at) ?? 0;
  if (service.state === "stopped") return `The service has been stopped, at ${clock(service.at, now)}. Jobs wait in the inbox until it is started again.`;
  if (busy()) busyAt = now;
  if (now - busyAt < 2 * RELOAD_MS) return ""; // it was not looked at meanwhile: nobody can tell
  const seen = before && !before.first ? before.at : Math.min(written, before?.at ?? written);
  const silent = (now - seen) / 1000;
  return silent > staleSeconds ? `The service has not written for ${duration(silent)}; this is how it was at ${clock(service.at, now)}.` : "";
}

// The folders lie beside status/, where this page lies.
function beside(job, name) {
  if (!job.folder || /^([a-z]:|[\\/])/i.test(job.folder)) return null;
  return ["..", ...job.folder.split("/"), ...name.split("/")].map(encodeURIComponent).join("/");
}

// What a preview's name begins with: `spot.`, of the second output `spot.2.`.
function preview(job, number) {
  return `${lastOf(job)}.${number ? `${number + 1}.` : ""}`;
}

function route() {
  const path = (location.hash.slice(1) || "/").split("?")[0];
  const found = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const filter = Object.fromEntries(Object.keys(NO_FILTER).map((key) => [key, found.get(key) ?? ""]));
  return { job: path.startsWith("/job/") ? path.slice(5) : null, filter };
}

function setFilter(filter) {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value)).toString();
  location.replace(query ? `#/?${query}` : "#/");
  draw();
}

function draw() {
  const now = Date.now();
  const page = {
    state, setFilter, now, kept, keep, act: null, selected: new Set(), notices: [], question: null, said: "", hours: null,
    stale: staleWords(now),
    frozen: busy() && now - loadedAt > RELOAD_MS * 2,
    filter: route().filter,
    route: route(),
    loading: false,
    thumbnail: (job, number = 0) => beside(job, `${preview(job, number)}thumbnail.jpg`),
    contact: (job, number = 0) => (job.state === "completed" ? beside(job, `${preview(job, number)}contact.jpg`) : null),
    files: (job) => (isOver(job) ? [["The log", `${lastOf(job)}.log`], ["Its status file, with the history", `${lastOf(job)}.status.json`], ...(job.state === "failed" ? [["What is wrong, and what to do", "WHY.txt"]] : [])].map(([words, name]) => [words, beside(job, name)]) : []),
    output: (job, number) => {
      const { path } = job.outputs[number];
      return /^([a-z]:|[\\/])/i.test(path) ? null : beside(job, path);
    },
  };
  render(html`<${Page} page=${page} />`, document.getElementById("page"));
}

// While somebody types or has a film open the page stays as it is, and says so.
function busy() {
  const typing = document.activeElement?.matches?.("input, select");
  return typing || [...document.querySelectorAll("video")].some((video) => video.currentTime > 0 && !video.ended);
}

function load() {
  const { activeElement } = document;
  keep("focus", activeElement?.matches?.("a, button") ? activeElement.getAttribute("href") ?? activeElement.getAttribute("aria-label") ?? activeElement.textContent : null);
  location.reload();
}

function refocus() {
  if (!kept.focus) return;
  const names = (found) => [found.getAttribute("href"), found.getAttribute("aria-label"), found.textContent];
  [...document.querySelectorAll("a, button")].find((found) => names(found).includes(kept.focus))?.focus({ preventScroll: true });
}

addEventListener("hashchange", draw);
setInterval(draw, 1000);
setInterval(() => busy() || load(), RELOAD_MS);
draw();
refocus();
