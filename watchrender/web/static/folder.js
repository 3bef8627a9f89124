// The page in the folder: no server, no orders. It shows what was written into it, loads itself again, and says when
// nobody has written it anew.

import { html, render } from "./html.js";
import { NO_FILTER, empty } from "./jobs.js";
import { clock, duration, moment } from "./words.js";
import { Page } from "./views.js";

const RELOAD_MS = 5000;
const { queue, service, stale_seconds: staleSeconds } = JSON.parse(document.getElementById("data").textContent);
const state = empty();
state.service = service;
state.counts = service.counts ?? queue.counts ?? {};
for (const job of [...(queue.rendering ?? []), ...(queue.queue ?? []), ...(queue.recent ?? [])]) state.jobs.set(job.id, job);

// How long ago the service wrote, by this machine's own clock: the other one's may be wrong. What was seen at the last
// load is kept; at the first there is only the service's own time to go by.
const SEEN = "watchrender-seen";
const beat = `${service.instance} ${service.beat}`;
let before = null;
try {
  before = JSON.parse(sessionStorage.getItem(SEEN));
  if (!before || before.beat !== beat) sessionStorage.setItem(SEEN, JSON.stringify({ beat, at: Date.now(), first: !before }));
  before = JSON.parse(sessionStorage.getItem(SEEN));
} catch {
  // no storage for pages from a disk here: the service's own time has to do
}

function staleWords(now) {
  const written = moment(service.at) ?? 0;
  if (service.state === "stopped") return `The service has been stopped, at ${clock(service.at, now)}. Jobs wait in the inbox until it is started again.`;
  const seen = before && !before.first ? before.at : Math.min(written, before?.at ?? written);
  const silent = (now - seen) / 1000;
  return silent > staleSeconds ? `The service has not written for ${duration(silent)}; this is how it was at ${clock(service.at, now)}.` : "";
}

// The folders lie beside status/, where this page lies.
function beside(job, name) {
  if (!job.folder || /^([a-z]:|[\\/])/i.test(job.folder)) return null;
  return ["..", ...job.folder.split("/"), ...name.split("/")].map(encodeURIComponent).join("/");
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
    state, setFilter, now, act: null, selected: new Set(), notices: [], question: null, said: "", hours: null,
    stale: staleWords(now),
    filter: route().filter,
    route: route(),
    thumbnail: (job) => beside(job, `${job.name}.thumbnail.jpg`),
    contact: (job) => (job.state === "completed" ? beside(job, `${job.name}.contact.jpg`) : null),
    output: (job, number) => {
      const { path } = job.outputs[number];
      return /^([a-z]:|[\\/])/i.test(path) ? null : beside(job, path);
    },
  };
  render(html`<${Page} page=${page} />`, document.getElementById("page"));
}

function busy() {
  const typing = document.activeElement?.matches?.("input, select");
  return typing || [...document.querySelectorAll("video")].some((video) => !video.paused);
}

addEventListener("hashchange", draw);
setInterval(draw, 1000);
setInterval(() => busy() || location.reload(), RELOAD_MS);
draw();
