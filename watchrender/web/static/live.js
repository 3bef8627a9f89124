// The dashboard: follows the stream, sends orders, and says when what it shows is out of date.

import { html, render } from "./html.js";
import { NO_FILTER, OVER, empty, isFiltered, isOver, lists, merge, take } from "./jobs.js";
import { plural } from "./words.js";
import { Page } from "./views.js";

const SILENT_MS = 15000; // the service says something every 5 seconds
const FALL_BACK_AFTER = 3; // WebSockets that said nothing: something between cuts them, events get through
const state = empty();
const selected = new Set();
const notices = [];
const kept = {}; // how far the lists were opened
let question = null;
let said = "";
let stale = "";
let hours = null;
let hoursDue = false; // something has come to its end: the plot of the day is another one
let loading = false; // jobs are fetched so that all of them can be selected
let skew = 0; // the server's clock before ours, in ms
let numbers = 0;

// -- drawing -------------------------------------------------------------------------------------------------

let drawing = false;

function draw() {
  if (drawing) return;
  drawing = true;
  const soon = document.hidden ? (then) => setTimeout(then, 500) : requestAnimationFrame;
  soon(() => {
    drawing = false;
    const heirs = heirsOf(document.activeElement);
    render(html`<${Page} page=${page()} />`, document.getElementById("page"));
    if (heirs) passOn(heirs);
  });
}

const REACHED = ".check, a[href], button:not([disabled]), input:not([disabled]), [tabindex]";

// Drawing may take away what has the focus (a job leaves the queue, its buttons with it): who works with the keyboard
// goes on beside it, not at the top of the page. What comes into question, the nearest first.
function heirsOf(focused) {
  if (!focused || focused === document.body) return null;
  const row = focused.closest("li[data-id]") ?? (focused.matches(".more-of") && focused.parentElement.querySelector(".jobs")?.lastElementChild);
  const found = [];
  for (let next = row || null; (next = next?.nextElementSibling); ) found.push(next);
  for (let before = row || null; before; before = before.previousElementSibling) found.push(before);
  for (let around = focused.parentElement; around && around.id !== "page"; around = around.parentElement) {
    found.push(around, around.nextElementSibling, around.previousElementSibling);
  }
  return { focused, found: found.filter(Boolean), last: row && !row.contains(focused) ? row : null };
}

function passOn({ focused, found, last }) {
  if (focused.isConnected && !focused.disabled) return;
  const reached = (place) => (place.isConnected ? place.querySelector(REACHED) : null);
  const first = last?.nextElementSibling ?? null; // of the rows that a button has brought
  (first ?? found.find(reached))?.querySelector(REACHED)?.focus();
}

function page() {
  const jobUrl = (job, rest) => `/api/v1/jobs/${job.id}/${rest}`;
  return {
    state, selected, notices, question, said, stale, hours, act, setFilter, kept,
    keep: (name, value) => ((kept[name] = value), draw()),
    now: Date.now() + skew,
    filter: route().filter,
    route: route(),
    toggle: (id) => (selected.has(id) ? selected.delete(id) : selected.add(id), draw()),
    select: (jobs, on) => (jobs.forEach((job) => (on ? selected.add(job.id) : selected.delete(job.id))), draw()),
    clearSelected: () => (selected.clear(), draw()),
    loading,
    thumbnail: (job, number = 0) => (job.outputs?.length ? jobUrl(job, number ? `outputs/${number}/thumbnail` : "thumbnail") : null),
    contact: (job, number = 0) => (job.state === "completed" ? jobUrl(job, number ? `outputs/${number}/contact` : "contact") : null),
    output: (job, number) => jobUrl(job, `outputs/${number}`),
    logOf: (job) => jobUrl(job, "log"),
  };
}

function route() {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  const found = new URLSearchParams(query ?? "");
  const filter = Object.fromEntries(Object.keys(NO_FILTER).map((key) => [key, found.get(key) ?? ""]));
  return { job: path.startsWith("/job/") ? path.slice(5) : null, filter };
}

let searching = null;

function setFilter(filter) {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
  history.replaceState(null, "", isFiltered(filter) ? `#/?${query}` : "#/");
  draw();
  clearTimeout(searching);
  if (isFiltered(filter)) searching = setTimeout(() => act.more(""), 300);
}

function say(text) {
  said = text;
  draw();
}

function notice(text, kind = "bad") {
  const id = ++numbers;
  notices.push({ id, text, kind });
  if (notices.length > 5) notices.shift();
  draw();
  if (kind === "info") setTimeout(() => act.dismiss(id), 6000);
}

// -- asking the server ---------------------------------------------------------------------------------------

async function ask(method, path, body) {
  let answer;
  try {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    return { failed: "the service does not answer" };
  }
  if (answer.status === 401) location.reload(); // the session is over: the form to sign in comes instead
  const kind = answer.headers.get("content-type") ?? "";
  const found = kind.includes("json") ? await answer.json().catch(() => ({})) : { text: await answer.text() };
  return answer.ok ? found : { ...found, failed: found.detail ?? `${answer.status} ${answer.statusText}` };
}

function confirmed(title, text, yes, no = "Leave it") {
  return new Promise((resolve) => {
    const before = document.activeElement;
    question = {
      title, text, yes, no,
      answer: (answer) => {
        document.querySelector("dialog[open]")?.close(); // until then nothing else takes the focus
        (before?.isConnected ? before : document.getElementById("main"))?.focus();
        question = null;
        draw();
        resolve(answer);
      },
    };
    draw();
  });
}

const DONE = { cancel: "cancelled", hold: "held", release: "released", retry: "dropped into the inbox again" };

async function one(what, job) {
  if (what === "cancel") {
    const runs = job.state === "rendering";
    const text = runs ? "It renders now; what is rendered of it so far is thrown away." : "It leaves the queue and goes to the folder for cancelled jobs.";
    if (!(await confirmed(`Cancel ${job.job}?`, text, "Cancel the job"))) return;
  }
  const found = await ask("POST", `/api/v1/jobs/${job.id}/${what}`);
  if (found.failed) return notice(found.failed);
  if (found.id) take(state, { type: "job", data: found });
  say(`${job.job} ${found.cancel_requested && found.state === "rendering" ? "is being ended" : DONE[what]}`);
}

async function many(what, jobs) {
  if (what === "cancel" && !(await confirmed(`Cancel ${plural(jobs.length, "job")}?`, jobs.slice(0, 5).map((job) => job.job).join(", ") + (jobs.length > 5 ? " and others." : "."), `Cancel ${plural(jobs.length, "job")}`))) return;
  if (what === "retry" && jobs.length > 5 && !(await confirmed(`Try ${plural(jobs.length, "job")} again?`, "Each is dropped into the inbox once more, as a new job.", "Try them again"))) return;
  const found = await each(`/api/v1/jobs/${what}`, jobs);
  if (found.failed) return notice(found.failed);
  selected.clear();
  if (found.refused.length) notice(`${plural(found.refused.length, "job")} could not be ${DONE[what]}: ${found.refused[0].detail}`);
  say(`${plural(found.done, "job")} ${DONE[what]}`);
}

const AT_ONCE = 500; // jobs of one order

// One order for many jobs, some at a time: how many it was done for, and what was refused.
async function each(path, jobs, more = {}) {
  let done = 0;
  const refused = [];
  for (let start = 0; start < jobs.length; start += AT_ONCE) {
    const ids = jobs.slice(start, start + AT_ONCE).map((job) => job.id);
    const found = await ask("POST", path, { ids, ...more });
    if (found.failed) return { failed: done ? `${found.failed} (${plural(done, "job")} done before)` : found.failed };
    done += found.done;
    refused.push(...found.jobs.filter((result) => result.status >= 400));
  }
  return { done, refused };
}

async function queue(what) {
  const found = await ask("POST", `/api/v1/queue/${what}`);
  if (found.failed) return notice(found.failed);
  take(state, { type: "service", data: { ...state.service, ...found } });
  draw();
}

// What is asked of the server for what somebody looks at.
function queryOf(filter, states) {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
  query.set("limit", "200");
  if (states && !filter.state) query.set("state", states);
  return query;
}

const ENOUGH = 100; // jobs that one request to see more of them brings at least
const asked = { key: "" }; // what was asked for last, of the jobs beside the stream

const act = {
  one,
  many,
  prioritize: async (jobs, priority) => {
    if (!Number.isInteger(priority) || priority < 0 || priority > 100) {
      notice("A priority is a whole number from 0 to 100.");
      return false;
    }
    if (jobs.length === 1) {
      const found = await ask("PATCH", `/api/v1/jobs/${jobs[0].id}`, { priority });
      if (found.failed) return notice(found.failed), false;
      take(state, { type: "job", data: found });
      say(`priority of ${jobs[0].job} is ${priority}`);
      return true;
    }
    const found = await each("/api/v1/jobs/priority", jobs, { priority });
    if (found.failed) return notice(found.failed), false;
    if (found.refused.length) notice(`${plural(found.refused.length, "job")} could not be given another priority: ${found.refused[0].detail}`);
    say(`priority of ${plural(found.done, "job")} is ${priority}`);
    return true;
  },
  pause: () => queue("pause"),
  resume: () => queue("resume"),
  drain: async () => (await confirmed("Drain the queue?", "The running render is finished, then the service ends. What waits stays in the inbox.", "Drain", "Go on")) && queue("drain"),
  stop: async () => (await confirmed("Stop the service?", "The running render is ended and put back in the queue, and the queue stays paused at the next start.", "Stop", "Go on")) && queue("stop"),
  signOut: document.body.dataset.signedIn ? async () => (await ask("DELETE", "/api/v1/session"), location.reload()) : null,
  dismiss: (id) => {
    const index = notices.findIndex((found) => found.id === id);
    if (index >= 0) notices.splice(index, 1);
    draw();
  },
  log: async (id, lines) => (await ask("GET", `/api/v1/jobs/${id}/log?tail=${lines}`)).text,
  settings: (id) => ask("GET", `/api/v1/jobs/${id}/settings`),
  document: (id) => ask("GET", `/api/v1/jobs/${id}/document`),
  load: async (id) => {
    const found = await ask("GET", `/api/v1/jobs/${encodeURIComponent(id)}`);
    if (found.failed) return found.failed;
    merge(state, [found]);
    draw();
    return null;
  },
  selectAll: async (list) => {
    if (loading) return;
    loading = true;
    draw();
    const cut = await loadAll(list);
    loading = false;
    const found = lists(state, route().filter)[list];
    for (const job of found) selected.add(job.id);
    if (cut) notice(`There are more: the first ${found.length} are selected. Narrow the search down, or go on with the rest when these are done.`, "warn");
    say(`${plural(found.length, "job")} selected`);
  },
  more: async (states) => {
    const { filter } = route();
    const query = queryOf(filter, states);
    const key = (asked.key = query.toString());
    let next = state.more?.key === key ? state.more.next : null;
    let got = 0;
    do {
      if (next) query.set("cursor", next);
      const found = await ask("GET", `/api/v1/jobs?${query}`);
      if (found.failed) return notice(found.failed);
      if (key !== asked.key) return; // something else was asked for meanwhile
      next = found.next;
      got += isFiltered(filter) ? found.jobs.length : found.jobs.filter((job) => !state.jobs.has(job.id)).length;
      state.more = { key, next };
      merge(state, found.jobs);
      draw();
    } while (next && got < ENOUGH); // the stream has brought the first ones; a long history is searched in pieces
  },
};

const MOST_SELECTED = { waiting: 10000, over: 2000 };
const STATES_OF = { waiting: "queued,validating,pending", over: OVER.join(",") };

// Everything of a list that matches, page by page. True where there was more than is good for a page.
async function loadAll(list) {
  const { filter } = route();
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
  query.set("limit", "500");
  if (!filter.state) query.set("state", STATES_OF[list]);
  else if (!STATES_OF[list].split(",").includes(filter.state)) return false;
  let got = 0;
  for (;;) {
    const found = await ask("GET", `/api/v1/jobs?${query}`);
    if (found.failed) return notice(found.failed), false;
    merge(state, found.jobs);
    got += found.jobs.length;
    draw();
    if (!found.next) return false;
    if (got >= MOST_SELECTED[list]) return true;
    query.set("cursor", found.next);
  }
}

// -- the stream ----------------------------------------------------------------------------------------------

let lastId = null;
let heardAt = Date.now();
let tries = 0;
let unheard = 0;
let source = null;

function hear(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return;
  }
  heardAt = Date.now();
  tries = unheard = 0;
  stale = "";
  if (message.type === "bye") return;
  lastId = message.id;
  skew = Date.parse(message.at) - Date.now();
  if (message.type === "job") tell(state.jobs.get(message.data.id), message.data);
  take(state, message);
  if (message.type === "snapshot") askAgain();
  draw();
}

// A snapshot replaces all jobs, those too that were asked for beside the stream.
function askAgain() {
  const { job, filter } = route();
  state.more = null;
  if (job && !state.jobs.has(job)) act.load(job);
  if (isFiltered(filter)) act.more("");
}

function tell(before, after) {
  if (before && before.state === after.state) return;
  if (isOver(after)) hoursDue = true;
  if (after.state === "rendering") said = `${after.job} renders`;
  else if (isOver(after)) said = `${after.job} ${after.state}${after.error ? `: ${after.error.message}` : ""}`;
}

function connect() {
  const from = lastId == null ? "" : `?last_event_id=${lastId}`;
  if (unheard < FALL_BACK_AFTER && "WebSocket" in window) {
    const address = new URL(`/api/v1/ws${from}`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = (source = new WebSocket(address));
    let told = false;
    socket.onmessage = (event) => {
      told = true;
      hear(event.data);
    };
    socket.onclose = () => {
      if (!told) unheard += 1;
      lost(socket);
    };
    return;
  }
  const events = (source = new EventSource(`/api/v1/events${from}`));
  for (const type of ["snapshot", "job", "progress", "queue", "service", "bye"]) events.addEventListener(type, (event) => hear(event.data));
  events.onerror = () => {
    events.close();
    lost(events);
  };
}

async function lost(which) {
  if (which !== source) return;
  source = null;
  stale = `The connection to the service is lost; this is how it was at ${new Date(heardAt).toLocaleTimeString()}. It is tried again.`;
  draw();
  tries += 1;
  const wait = Math.min(5000, 300 * 2 ** Math.min(tries, 5)) * (0.7 + 0.6 * Math.random());
  await new Promise((resolve) => setTimeout(resolve, wait));
  // Whether it is away, or wants us to sign in again, only a plain request tells.
  const found = await ask("GET", "/healthz");
  if (!found.failed) {
    await ask("GET", "/api/v1/status");
  } else {
    unheard = 0; // nothing answers at all: that says nothing about WebSockets
  }
  connect();
}

setInterval(() => {
  if (source && Date.now() - heardAt > SILENT_MS) {
    const silent = source;
    silent.onclose = silent.onerror = null;
    silent.close();
    lost(silent);
  }
  if (hoursDue) loadHours();
  draw();
}, 1000);

async function loadHours() {
  hoursDue = false;
  const found = await ask("GET", "/api/v1/throughput");
  if (!found.failed) hours = found.hours;
  draw();
}

// Somebody went to another place of this page: with the browser's buttons, a bookmark, or back from a job.
let wasJob = route().job;

function went() {
  const { job, filter } = route();
  const back = job ? null : wasJob;
  wasJob = job;
  draw();
  if (!job && isFiltered(filter) && state.more?.key !== queryOf(filter, "").toString()) act.more("");
  if (back) requestAnimationFrame(() => (document.querySelector(`.name[href="#/job/${CSS.escape(back)}"]`) ?? document.getElementById("main"))?.focus());
}

addEventListener("hashchange", went);
document.addEventListener("visibilitychange", draw);
setInterval(loadHours, 60000);
loadHours();
connect();
draw();
