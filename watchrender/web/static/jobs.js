// The jobs a page knows, and what a message makes of them. Pure: a state in, a changed state out.

export const OVER = ["completed", "failed", "cancelled"];
export const STATES = ["rendering", "queued", "validating", "pending", ...OVER];
const MOST_OVER = 2000;
const TOLD = 200; // jobs of the queue whose expected times are sent again and again

export function empty() {
  return { service: null, counts: {}, total: null, jobs: new Map(), etas: new Map(), more: null };
}

// The last part of the key: `name` is as it was dropped, and two jobs may have been dropped under one.
export function lastOf(job) {
  return job.sub ? job.job.slice(job.sub.length + 1) : job.job;
}

export function isOver(job) {
  return OVER.includes(job.state);
}

// What may be asked of a job; the server has the last word (409).
export function allowed(job) {
  if (isOver(job)) return ["retry"];
  if (job.state === "rendering") return job.cancel_requested ? ["prioritize"] : ["cancel", "prioritize"];
  return ["cancel", job.hold ? "release" : "hold", "prioritize"];
}

export function take(state, message) {
  const { type, data } = message;
  if (type === "snapshot") {
    state.service = { ...data.service, counts: data.counts };
    state.counts = data.counts;
    state.jobs = new Map(data.jobs.map((job) => [job.id, job]));
    state.etas = new Map();
  } else if (type === "job") {
    count(state, state.jobs.get(data.id), data);
    state.jobs.set(data.id, data);
    forgetOldest(state);
  } else if (type === "progress") {
    const job = state.jobs.get(data.id);
    if (job && job.state === "rendering") state.jobs.set(data.id, { ...job, progress: data.progress, eta: data.eta });
  } else if (type === "queue") {
    state.counts = data.counts ?? state.counts;
    state.etas = new Map((data.queue ?? []).map((entry) => [entry.id, entry]));
  } else if (type === "service") {
    state.service = data;
    state.counts = data.counts ?? state.counts;
  }
  return state;
}

function count(state, before, after) {
  const counts = { ...state.counts };
  if (before && before.state === after.state) return;
  if (before) counts[before.state] = Math.max(0, (counts[before.state] ?? 0) - 1);
  if (before || Date.parse(after.updated_at) - Date.parse(after.created_at) < 2000) {
    counts[after.state] = (counts[after.state] ?? 0) + 1;
  }
  state.counts = counts; // the next queue or service message has the server's own
}

function forgetOldest(state) {
  if (state.jobs.size <= MOST_OVER * 2) return;
  const over = [...state.jobs.values()].filter(isOver).sort(byEnd);
  for (const job of over.slice(MOST_OVER)) state.jobs.delete(job.id);
}

// More jobs of the server's list, as of the moment it was asked.
export function merge(state, jobs) {
  for (const job of jobs) {
    const known = state.jobs.get(job.id);
    if (!known || known.updated_at <= job.updated_at) state.jobs.set(job.id, job);
  }
  return state;
}

// -- choosing and ordering ----------------------------------------------------------------------------------

export const NO_FILTER = { q: "", state: "", sub: "", tag: "", code: "" };

export function isFiltered(filter) {
  return Object.values(filter).some(Boolean);
}

export function matches(job, filter) {
  if (filter.state && job.state !== filter.state) return false;
  if (filter.sub && job.sub !== filter.sub && !job.sub.startsWith(`${filter.sub}/`)) return false;
  if (filter.tag && !(job.tags ?? []).includes(filter.tag)) return false;
  if (filter.code && (job.error ?? {}).code !== filter.code) return false;
  if (!filter.q) return true;
  const text = [job.job, job.id, job.template, job.composition, (job.error ?? {}).code, ...(job.tags ?? [])];
  const whole = folded(text.filter(Boolean).join(" "));
  return folded(filter.q).split(/\s+/).every((word) => whole.includes(word));
}

// As the server compares: a Mac writes é as two characters.
function folded(text) {
  return text.normalize("NFC").toLowerCase();
}

const RANK = { queued: 0, validating: 1, pending: 2 };

function byOrder(one, other) {
  return (
    RANK[one.state] - RANK[other.state] ||
    other.priority - one.priority ||
    (one.record?.arrival ?? one.position ?? 0) - (other.record?.arrival ?? other.position ?? 0)
  );
}

function byEnd(one, other) {
  const end = (job) => job.finished_at ?? job.updated_at ?? "";
  return end(other).localeCompare(end(one));
}

// The three lists of the page.
export function lists(state, filter) {
  const shown = [...state.jobs.values()].filter((job) => matches(job, filter));
  const waiting = shown.filter((job) => job.state in RANK).sort(byOrder);
  return {
    rendering: shown.filter((job) => job.state === "rendering"),
    waiting: waiting.map((job) => withEta(state, job)),
    over: shown.filter(isOver).sort(byEnd),
  };
}

function withEta(state, job) {
  const told = state.etas.get(job.id);
  if (told) return { ...job, eta: told.eta ?? job.eta, position: told.position ?? job.position };
  // What was known when this one was fetched is not brought up to date.
  return state.etas.size < TOLD || job.state !== "queued" ? job : { ...job, eta: { basis: `after the first ${TOLD}` } };
}

export function values(state, of) {
  const found = new Set();
  for (const job of state.jobs.values()) for (const value of of(job)) if (value) found.add(value);
  return [...found].sort();
}
