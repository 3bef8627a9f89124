// The dashboard: one stream in, orders out.

import { html, render, useEffect, useState } from "./html.js";
import { empty, isOver, take } from "./jobs.js";
import { Page } from "./views.js";

const STALE = 15000;
const API = "api/v1";
const PLAYED = /\.(mp4|m4v|webm|mov)$/i;

function App() {
  const [state, setState] = useState(empty());
  const [now, setNow] = useState(Date.now());
  const [heard, setHeard] = useState(Date.now());
  const [broken, setBroken] = useState(false);
  const [said, setSaid] = useState("");
  const [route, setRoute] = useState(routeOf());
  const [hours, setHours] = useState([]);

  useEffect(() => listen(setState, setHeard, setBroken), []);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    const follow = () => setRoute(routeOf());
    window.addEventListener("hashchange", follow);
    return () => { clearInterval(timer); window.removeEventListener("hashchange", follow); };
  }, []);
  const over = (state.counts.completed ?? 0) + (state.counts.failed ?? 0);
  useEffect(() => { ask("GET", "throughput").then((found) => setHours(found.hours), () => {}); }, [over]);

  const stale = broken || now - heard > STALE;
  const banner = stale ? "No word from the service: what you see is old. Trying again by itself." : said;
  const page = useJob(route, state);
  const signOut = document.body.dataset.signedIn
    && html`<button onClick=${() => ask("DELETE", "session").then(() => location.reload())}>Sign out</button>`;
  return html`<${Page} state=${state} now=${now} banner=${banner} act=${orders(setSaid)} route=${page} tools=${signOut}
    throughput=${hours} filmOf=${filmOf} thumbnailOf=${thumbnailOf} />`;
}

function listen(setState, setHeard, setBroken) {
  let known = empty();
  let pending = false;
  const show = () => { pending = false; setState({ ...known }); setHeard(Date.now()); };
  const source = new EventSource(`${API}/events`);
  const hear = (event) => {
    known = take(known, JSON.parse(event.data));
    setBroken(false);
    if (!pending) { pending = true; requestAnimationFrame(show); setTimeout(() => pending && show(), 250); }
  };
  for (const type of ["snapshot", "job", "progress", "queue", "service"]) source.addEventListener(type, hear);
  source.onerror = () => setBroken(true);
  source.onopen = () => { setBroken(false); setHeard(Date.now()); };
  const revive = setInterval(() => {
    if (source.readyState === EventSource.CLOSED) location.reload();
  }, 5000);
  return () => { clearInterval(revive); source.close(); };
}

function routeOf() {
  const found = /^#\/job\/([0-9A-Za-z]{26})$/.exec(location.hash);
  return found ? found[1] : null;
}

// The job page asks for what the stream does not carry.
function useJob(id, state) {
  const [extra, setExtra] = useState({});
  const streamed = id && state.jobs.get(id);
  const stamp = streamed ? `${streamed.updated_at} ${Math.floor((streamed.progress?.percent ?? 0) / 5)}` : "";
  useEffect(() => {
    if (!id) return undefined;
    let gone = false;
    const keep = (name) => (found) => gone || setExtra((before) => ({ ...before, id, [name]: found }));
    ask("GET", `jobs/${id}`).then(keep("job"), () => keep("job")(null));
    ask("GET", `jobs/${id}/settings`).then((found) => keep("settings")(found.settings), () => {});
    ask("GET", `jobs/${id}/document`).then((found) => keep("document")(found.document), () => {});
    text(`jobs/${id}/log?tail=400`).then(keep("log"), () => {});
    return () => { gone = true; };
  }, [id, stamp]);
  if (!id) return null;
  const mine = extra.id === id ? extra : {};
  const job = streamed ?? mine.job;
  return { ...mine, job, contact: job && job.state === "completed" ? `${API}/jobs/${id}/contact` : null };
}

async function ask(method, path, body) {
  const options = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  const answer = await fetch(`${API}/${path}`, options);
  if (answer.status === 401) location.reload();
  const type = answer.headers.get("content-type") ?? "";
  const found = type.includes("json") ? await answer.json() : null;
  if (!answer.ok) throw new Error(found?.detail ?? `the service says ${answer.status}`);
  return found;
}

async function text(path) {
  const answer = await fetch(`${API}/${path}`);
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.text();
}

function orders(setSaid) {
  const tell = (promise) => promise.then(() => setSaid(""), (error) => setSaid(error.message));
  return {
    job: (id, verb) => tell(ask("POST", `jobs/${id}/${verb}`)),
    many: (ids, verb) => tell(ask("POST", `jobs/${verb}`, { ids })),
    prioritize: (id, priority) => tell(ask("PATCH", `jobs/${id}`, { priority })),
    queue: (verb) => tell(ask("POST", `queue/${verb}`)),
    log: (id, lines) => text(`jobs/${id}/log?tail=${lines}`),
  };
}

function filmOf(job) {
  const index = (job.outputs ?? []).findIndex((output) => PLAYED.test(output.path));
  return job.state === "completed" && index >= 0 ? `${API}/jobs/${job.id}/outputs/${index}` : null;
}

function thumbnailOf(job) {
  return isOver(job) && job.state === "completed" ? `${API}/jobs/${job.id}/thumbnail` : null;
}

render(html`<${App} />`, document.getElementById("page"));
