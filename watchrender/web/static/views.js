// What the page looks like: one renderer for the dashboard and for the page in the folder.
//
// A view gets `page`: state (jobs.js), now, filter, route, selected, and `act`, the orders; the page in the folder has
// no orders (`act` is null), so everything that would change something is left out there.

import { html, useEffect, useRef, useState } from "./html.js";
import { ago, bytes, clock, duration, exact, expected, moment, percent, plural, took } from "./words.js";
import { OVER, STATES, allowed, isFiltered, isOver, lists, values } from "./jobs.js";

const SHOWN_AT_FIRST = 100;

export function Page({ page }) {
  const job = page.route.job && page.state.jobs.get(page.route.job);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the jobs</a>
    <${Head} page=${page} />
    <${Banners} page=${page} />
    <main id="main" tabindex="-1">
      ${page.route.job ? html`<${JobPage} page=${page} id=${page.route.job} job=${job} key=${page.route.job} />` : html`<${Overview} page=${page} />`}
    </main>
    <${Question} question=${page.question} />
    <div class="sr" role="status" aria-live="polite">${page.said}</div>
  `;
}

// A plain fragment would be taken for a route.
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

// -- the head ------------------------------------------------------------------------------------------------

const MOODS = { running: "running", paused: "paused", waiting: "waits", draining: "draining", stopping: "stopping", stopped: "stopped", starting: "starting" };

function mood(page) {
  const service = page.state.service;
  if (page.stale) return "stale";
  if (!service) return "starting";
  if (["stopping", "stopped", "starting"].includes(service.state)) return service.state;
  if (service.draining) return "draining";
  if (service.waiting && service.waiting.length) return "waiting";
  return service.paused ? "paused" : "running";
}

function Head({ page }) {
  const service = page.state.service ?? {};
  const now = mood(page);
  return html`
    <header>
      <div class="brand">
        <h1><a href="#/">watchrender</a></h1>
        <span class=${`mood ${now}`} role="status">${MOODS[now] ?? "out of date"}</span>
        <span class="quiet">${service.node}${service.version && ` · ${service.version}`}${service.uptime != null && ` · up ${duration(service.uptime)}`}</span>
      </div>
      ${page.act && html`<${QueueButtons} page=${page} service=${service} />`}
    </header>
  `;
}

function QueueButtons({ page, service }) {
  const { act } = page;
  return html`
    <div class="buttons" role="group" aria-label="The whole queue">
      ${service.paused ? html`<button class="main" onClick=${act.resume}>Resume</button>` : html`<button onClick=${act.pause}>Pause</button>`}
      <button onClick=${act.drain} disabled=${service.draining}>Drain</button>
      <button class="danger" onClick=${act.stop}>Stop</button>
      ${act.signOut && html`<button class="plain" onClick=${act.signOut}>Sign out</button>`}
    </div>
  `;
}

function Banners({ page }) {
  const service = page.state.service ?? {};
  const waiting = service.waiting ?? [];
  return html`
    <div class="banners">
      ${page.stale && html`<div class="banner bad" role="alert"><strong>This page is out of date.</strong> ${page.stale}</div>`}
      ${waiting.map(
        (found) => html`<div class="banner warn" role="alert" key=${found.code}>
          <strong>The queue waits: ${found.message}</strong> ${found.cure} <code>${found.code}</code>
          ${service.waiting_since?.[found.code] && html`<span class="quiet"> since ${clock(service.waiting_since[found.code], page.now)}</span>`}
        </div>`,
      )}
      ${service.paused && html`<div class="banner info">The queue is paused. Nothing new starts until somebody resumes it or removes <code>_PAUSE</code> from the inbox.</div>`}
      ${service.draining && html`<div class="banner info">Draining: the running render is finished, then the service ends.</div>`}
      ${page.notices.map(
        (notice) => html`<div class=${`banner ${notice.kind}`} role="alert" key=${notice.id}>
          <span>${notice.text}</span> <button class="plain" onClick=${() => page.act.dismiss(notice.id)} aria-label=${`Dismiss: ${notice.text}`}>Dismiss</button>
        </div>`,
      )}
    </div>
  `;
}

// -- the overview --------------------------------------------------------------------------------------------

function Overview({ page }) {
  const found = lists(page.state, page.filter);
  return html`
    <${Tiles} page=${page} />
    <section aria-labelledby="now">
      <h2 id="now">Rendering now</h2>
      ${found.rendering.length ? found.rendering.map((job) => html`<${Running} page=${page} job=${job} key=${job.id} />`) : html`<p class="quiet">${nothingRenders(page)}</p>`}
    </section>
    ${page.hours && html`<${Throughput} hours=${page.hours} now=${page.now} />`}
    <${Filters} page=${page} found=${found} />
    ${page.act && html`<${Selected} page=${page} />`}
    <${Queue} page=${page} jobs=${found.waiting} />
    <${Ended} page=${page} jobs=${found.over} />
  `;
}

function nothingRenders(page) {
  if (isFiltered(page.filter)) return "Nothing that matches renders now.";
  const service = page.state.service ?? {};
  if (service.waiting?.length) return "Nothing: the queue waits (see above).";
  if (service.paused) return "Nothing: the queue is paused.";
  return "Nothing. Drop a job into the inbox.";
}

function Tiles({ page }) {
  const { service, counts } = page.state;
  const health = service?.health ?? {};
  const free = health.free_bytes ?? {};
  const codes = (service?.waiting ?? []).map((found) => found.code);
  const without = codes.find((code) => /AERENDER|NEXRENDER|LICENSE/.test(code));
  const late = health.scan_age != null && health.scan_age > Math.max(30, 5 * (health.scan_interval ?? 2));
  return html`
    <section aria-label="Health" class="tiles">
      <${Tile} name="Queue" value=${plural(counts.queued ?? 0, "job")} more=${(counts.pending || counts.validating) && `${(counts.pending ?? 0) + (counts.validating ?? 0)} arriving`} />
      <${Tile} name="Oldest job" value=${health.oldest_queued_at ? ago(health.oldest_queued_at, page.now) : "none waits"} />
      <${Tile} name="Disk" bad=${codes.includes("DISK_FULL")} value=${free.root == null ? "not known" : `${bytes(free.root)} free`} more=${free.work != null && free.work !== free.root && `${bytes(free.work)} for work`} />
      <${Tile} name=${health.share ? "Share" : "Folder"} bad=${codes.includes("SHARE_OFFLINE")} value=${codes.includes("SHARE_OFFLINE") ? "out of reach" : "reachable"} more=${health.volume} />
      <${Tile} name="Last look" bad=${late} value=${health.scan_age == null ? "not yet" : `${duration(health.scan_age)} ago`} />
      <${Tile} name="After Effects" bad=${Boolean(without)} value=${without ? "not ready" : "ready"} more=${without} />
      <${Tile} name="Finished" value=${counts.completed ?? 0} more=${`${counts.failed ?? 0} failed, ${counts.cancelled ?? 0} cancelled`} />
      ${service?.ignored?.length > 0 && html`<${Tile} name="Files left alone" value=${service.ignored_total ?? service.ignored.length} more=${service.ignored[0].path} title=${service.ignored.map((file) => `${file.path}: ${file.why}`).join("\n")} />`}
    </section>
  `;
}

function Tile({ name, value, more, bad, title }) {
  return html`<div class=${bad ? "tile bad" : "tile"} title=${title}>
    <span class="name">${name}</span><strong>${value}</strong>${more ? html`<span class="quiet">${more}</span>` : null}
  </div>`;
}

function Throughput({ hours, now }) {
  const most = Math.max(1, ...hours.map((hour) => hour.completed + hour.failed));
  const sum = (of) => hours.reduce((all, hour) => all + hour[of], 0);
  const bar = (hour, index) => {
    const good = (hour.completed / most) * 56;
    const bad = (hour.failed / most) * 56;
    const words = `${clock(hour.at, now)}: ${hour.completed} completed, ${hour.failed} failed, ${hour.cancelled} cancelled`;
    return html`<g key=${hour.at}>
      <title>${words}</title>
      <rect class="space" x=${index * 20} y="0" width="18" height="58" />
      <rect class="good" x=${index * 20 + 2} y=${58 - good} width="14" height=${good} />
      <rect class="bad" x=${index * 20 + 2} y=${58 - good - bad} width="14" height=${bad} />
    </g>`;
  };
  return html`
    <section aria-labelledby="day" class="plot">
      <h2 id="day">The last day <span class="quiet">${plural(sum("completed"), "film")}, ${sum("failed")} failed, at most ${most} an hour</span></h2>
      <svg viewBox="0 0 480 58" preserveAspectRatio="none" role="img" aria-label=${`The last 24 hours: ${sum("completed")} completed, ${sum("failed")} failed, ${sum("cancelled")} cancelled`}>
        ${hours.map(bar)}
      </svg>
      <div class="hours" aria-hidden="true">${hours.filter((_, index) => index % 4 === 0).map((hour) => html`<span key=${hour.at}>${clock(hour.at, moment(hour.at))}</span>`)}</div>
    </section>
  `;
}

// -- filters and many at once --------------------------------------------------------------------------------

function Filters({ page, found }) {
  const { filter, state } = page;
  const set = (name) => (event) => page.setFilter({ ...filter, [name]: event.target.value });
  const choice = (name, label, options) => html`
    <label>${label}
      <select value=${filter[name]} onChange=${set(name)}>
        <option value="">all</option>
        ${[...new Set([...options, filter[name]].filter(Boolean))].map((value) => html`<option value=${value} key=${value} selected=${value === filter[name]}>${value}</option>`)}
      </select>
    </label>`;
  const shown = found.rendering.length + found.waiting.length + found.over.length;
  return html`
    <search class="filters" aria-label="Choose jobs">
      <label class="wide">Search
        <input type="search" value=${filter.q} onInput=${set("q")} placeholder="name, template, tag, error" />
      </label>
      ${choice("state", "State", STATES)}
      ${choice("sub", "Folder", values(state, (job) => [job.sub]))}
      ${choice("tag", "Tag", values(state, (job) => job.tags ?? []))}
      ${choice("code", "Error", values(state, (job) => [job.error?.code]))}
      ${isFiltered(filter) && html`<button onClick=${() => page.setFilter({ q: "", state: "", sub: "", tag: "", code: "" })}>Show all</button>`}
      <span class="quiet" role="status">${isFiltered(filter) ? plural(shown, "job") + " found" : ""}</span>
    </search>
  `;
}

function Selected({ page }) {
  const chosen = [...page.selected].map((id) => page.state.jobs.get(id)).filter(Boolean);
  const [priority, setPriority] = useState("70");
  if (!chosen.length) return null;
  const can = (what) => chosen.filter((job) => allowed(job).includes(what));
  const button = (what, label, kind) => {
    const jobs = can(what);
    return jobs.length > 0 && html`<button class=${kind} onClick=${() => page.act.many(what, jobs)}>${label} ${jobs.length}</button>`;
  };
  return html`
    <div class="selected" role="group" aria-label="Selected jobs">
      <strong>${plural(chosen.length, "job")} selected</strong>
      ${button("hold", "Hold")} ${button("release", "Release")} ${button("retry", "Try again")} ${button("cancel", "Cancel", "danger")}
      ${can("prioritize").length > 0 &&
      html`<label class="inline">Priority <input type="number" min="0" max="100" value=${priority} onInput=${(event) => setPriority(event.target.value)} /></label>
        <button onClick=${() => page.act.prioritize(can("prioritize"), Number(priority))}>Set for ${can("prioritize").length}</button>`}
      <button class="plain" onClick=${page.clearSelected}>Clear</button>
    </div>
  `;
}

function Check({ page, job }) {
  if (!page.act) return null;
  return html`<input type="checkbox" class="check" checked=${page.selected.has(job.id)} onChange=${() => page.toggle(job.id)} aria-label=${`Select ${job.job}`} />`;
}

// -- one job in a list ---------------------------------------------------------------------------------------

function Name({ job }) {
  return html`<a class="name" href=${`#/job/${job.id}`}>${job.sub && html`<span class="quiet">${job.sub}/</span>`}${job.name}</a>`;
}

function What({ job }) {
  return html`<span class="quiet">${[job.template, job.composition].filter(Boolean).join(" · ")}${(job.tags ?? []).map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}</span>`;
}

function Bar({ job }) {
  const found = job.progress ?? {};
  const label = `Progress of ${job.job}`;
  return found.percent == null ? html`<progress aria-label=${label}></progress>` : html`<progress max="100" value=${found.percent} aria-label=${label}></progress>`;
}

function Running({ page, job }) {
  const found = job.progress ?? {};
  const left = moment(job.eta?.done_at);
  return html`
    <article class="now" aria-labelledby=${`r-${job.id}`} data-job=${job.job}>
      <div class="line">
        <${Check} page=${page} job=${job} />
        <h3 id=${`r-${job.id}`}><${Name} job=${job} /></h3>
        <${What} job=${job} />
        ${page.act && html`<span class="buttons">
          <button class="danger" disabled=${job.cancel_requested} onClick=${() => page.act.one("cancel", job)} aria-label=${`Cancel ${job.job}`}>${job.cancel_requested ? "Ending…" : "Cancel"}</button>
        </span>`}
      </div>
      <${Bar} job=${job} />
      <div class="facts">
        <strong class="percent">${percent(found.percent) || "…"}</strong>
        <span>${found.stage}</span>
        ${found.frame != null && html`<span>frame <span class="frame">${found.frame}</span>${found.frames != null && ` of ${found.frames}`}</span>`}
        ${found.fps != null && html`<span>${found.fps.toFixed(1)} frames a second</span>`}
        <span>${left != null ? `${duration((left - page.now) / 1000)} left, done about ${clock(job.eta.done_at, page.now)}` : expected(job.eta, page.now)}</span>
        <span>running for ${took(job.started_at, null, page.now)}</span>
        ${job.attempt > 1 && html`<span class="warn">try ${job.attempt} of ${job.max_attempts}</span>`}
      </div>
      ${page.act && html`<${LogTail} page=${page} job=${job} lines=${6} />`}
    </article>
  `;
}

function LogTail({ page, job, lines }) {
  const [text, setText] = useState("");
  const box = useRef(null);
  const runs = !isOver(job);
  useEffect(() => {
    let gone = false;
    const load = async () => {
      if (document.hidden) return;
      const found = await page.act.log(job.id, lines);
      if (!gone && found != null) setText(found);
    };
    load();
    const timer = runs ? setInterval(load, 2000) : null;
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [job.id, job.state]);
  useEffect(() => {
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  return html`<pre class="log" ref=${box} tabindex="0" role="region" aria-label=${`Log of ${job.job}`}>${text || "…"}</pre>`;
}

// -- the queue -----------------------------------------------------------------------------------------------

function Queue({ page, jobs }) {
  const [most, setMost] = useState(SHOWN_AT_FIRST);
  const total = isFiltered(page.filter) ? jobs.length : ["queued", "validating", "pending"].reduce((all, state) => all + (page.state.counts[state] ?? 0), 0);
  const shown = jobs.slice(0, most);
  const every = shown.length > 0 && shown.every((job) => page.selected.has(job.id));
  return html`
    <section aria-labelledby="queue">
      <div class="line">
        <h2 id="queue">Queue <span class="quiet">${plural(total, "job")}</span></h2>
        ${page.act && shown.length > 0 && html`<label class="inline"><input type="checkbox" checked=${every} onChange=${() => page.select(shown, !every)} /> Select all shown</label>`}
      </div>
      ${page.act && shown.length > 0 && html`<p class="quiet hint" id="keys">On a selected box: <kbd>↑</kbd> <kbd>↓</kbd> move, <kbd>Space</kbd> selects, <kbd>Enter</kbd> opens, <kbd>+</kbd> <kbd>−</kbd> change the priority, <kbd>H</kbd> holds or releases, <kbd>Del</kbd> cancels.</p>`}
      ${shown.length === 0 && html`<p class="quiet">${isFiltered(page.filter) ? "Nothing that matches waits." : "The queue is empty."}</p>`}
      <ol class=${page.act ? "jobs" : "jobs shown"} aria-labelledby="queue" onKeyDown=${(event) => onRowKey(event, page)}>
        ${shown.map((job, index) => html`<${Waiting} page=${page} job=${job} index=${index} key=${job.id} />`)}
      </ol>
      ${jobs.length > most && html`<button onClick=${() => setMost(most + SHOWN_AT_FIRST)}>Show ${Math.min(SHOWN_AT_FIRST, jobs.length - most)} more</button>`}
      ${jobs.length <= most && total > jobs.length && page.act && html`<button onClick=${() => page.act.more("queued,validating,pending")}>Load more of the queue</button>`}
    </section>
  `;
}

function Waiting({ page, job, index }) {
  const eta = job.eta ?? {};
  return html`
    <li class="job" data-job=${job.job} data-id=${job.id}>
      <${Check} page=${page} job=${job} />
      <span class="position" aria-label="Position">${job.state === "queued" ? job.position ?? index + 1 : "–"}</span>
      <div class="what"><${Name} job=${job} /> <${What} job=${job} />
        <span class="why">${whyItWaits(job, page.now)}</span>
      </div>
      <div class="when">
        ${job.state === "queued" && html`<span>${eta.starts_at ? `starts ${clock(eta.starts_at, page.now)}` : ""}</span><span class=${eta.done_at ? "" : "quiet"}>${eta.done_at ? `done ${expected(eta, page.now)}` : expected(eta, page.now)}</span>`}
      </div>
      <div class="orders">
        ${page.act ? html`<${Priority} page=${page} job=${job} />` : html`<span class="quiet">priority ${job.priority}</span>`}
        ${page.act && html`
          ${job.hold ? html`<button onClick=${() => page.act.one("release", job)} aria-label=${`Release ${job.job}`}>Release</button>` : html`<button onClick=${() => page.act.one("hold", job)} aria-label=${`Hold ${job.job}`}>Hold</button>`}
          <button class="danger" onClick=${() => page.act.one("cancel", job)} aria-label=${`Cancel ${job.job}`}>Cancel</button>`}
      </div>
    </li>
  `;
}

function whyItWaits(job, now) {
  const words = [];
  if (job.hold) words.push(job.held_because ? `held: ${job.held_because}` : "held");
  if (job.waiting_for?.length) words.push(`waits for ${job.waiting_for.join(", ")}`);
  if (moment(job.not_before) > now) words.push(`not before ${clock(job.not_before, now)}`);
  if (job.state === "pending") words.push("arriving");
  if (job.state === "validating" && !job.waiting_for?.length) words.push("being read");
  if (job.attempt > 0) words.push(`${plural(job.attempt, "try", "tries")} of ${job.max_attempts} used`);
  if (job.warnings?.length) words.push(...job.warnings);
  return words.join(" · ");
}

// What is being typed stays, whatever is drawn meanwhile: the box has the number only when the number changes.
function Priority({ page, job }) {
  const box = useRef(null);
  useEffect(() => {
    box.current.value = job.priority;
  }, [job.priority]);
  const set = (event) => {
    const value = Number(event.target.value);
    if (event.target.value === "") event.target.value = job.priority;
    else if (value !== job.priority) page.act.prioritize([job], value).then((done) => done || (event.target.value = job.priority));
  };
  return html`<label class="inline"><span class="sr">Priority of ${job.job}</span>
    <input class="priority" type="number" min="0" max="100" ref=${box} title=${`Priority, from ${job.priority_from}`} onChange=${set} />
  </label>`;
}

function onRowKey(event, page) {
  const row = event.target.closest("li");
  if (!page.act || !row || !event.target.classList.contains("check") || event.ctrlKey || event.metaKey || event.altKey) return;
  const job = page.state.jobs.get(row.dataset.id);
  const move = (to) => to?.querySelector(".check")?.focus();
  const orders = {
    ArrowDown: () => move(row.nextElementSibling),
    ArrowUp: () => move(row.previousElementSibling),
    Enter: () => (location.hash = `#/job/${job.id}`),
    Delete: () => allowed(job).includes("cancel") && page.act.one("cancel", job),
    h: () => allowed(job).includes("hold") ? page.act.one("hold", job) : allowed(job).includes("release") && page.act.one("release", job),
    r: () => allowed(job).includes("retry") && page.act.one("retry", job),
    "+": () => allowed(job).includes("prioritize") && page.act.prioritize([job], Math.min(100, job.priority + 10)),
    "-": () => allowed(job).includes("prioritize") && page.act.prioritize([job], Math.max(0, job.priority - 10)),
  };
  const order = orders[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!order) return;
  event.preventDefault();
  order();
}

// -- what is over --------------------------------------------------------------------------------------------

function Ended({ page, jobs }) {
  const [most, setMost] = useState(20);
  const shown = jobs.slice(0, most);
  const failed = jobs.filter((job) => job.state === "failed");
  const total = isFiltered(page.filter) ? jobs.length : OVER.reduce((all, state) => all + (page.state.counts[state] ?? 0), 0);
  return html`
    <section aria-labelledby="over">
      <div class="line">
        <h2 id="over">Finished and failed <span class="quiet">${plural(total, "job")}</span></h2>
        ${page.act && failed.length > 1 && html`<button onClick=${() => page.act.many("retry", failed)}>Try all ${failed.length} failed again</button>`}
      </div>
      ${shown.length === 0 && html`<p class="quiet">${isFiltered(page.filter) ? "Nothing that matches is over." : "No job has come to its end yet."}</p>`}
      <ul class=${page.act ? "jobs" : "jobs shown"} aria-labelledby="over" onKeyDown=${(event) => onRowKey(event, page)}>
        ${shown.map((job) => html`<${Over} page=${page} job=${job} key=${job.id} />`)}
      </ul>
      ${jobs.length > most && html`<button onClick=${() => setMost(most + 40)}>Show more</button>`}
      ${jobs.length <= most && total > jobs.length && page.act && html`<button onClick=${() => page.act.more(OVER.join(","))}>Load more</button>`}
    </section>
  `;
}

function Over({ page, job }) {
  const [playing, setPlaying] = useState(false);
  const film = firstFilm(job);
  return html`
    <li class="job over" data-job=${job.job} data-id=${job.id}>
      <${Check} page=${page} job=${job} />
      <${Thumbnail} page=${page} job=${job} />
      <div class="what">
        <${Name} job=${job} /> <span class=${`state ${job.state}`}>${job.state}</span> <${What} job=${job} />
        ${job.error && html`<${Reason} error=${job.error} />`}
        ${job.superseded_by && html`<span class="why">replaced by a newer drop</span>`}
      </div>
      <div class="when"><span title=${exact(job.finished_at)}>${clock(job.finished_at, page.now)}</span>
        ${job.started_at && html`<span class="quiet">took ${took(job.started_at, job.finished_at, page.now)}</span>`}
        ${job.outputs?.length > 0 && html`<span class="quiet">${job.outputs.map((output) => bytes(output.bytes)).join(", ")}</span>`}
      </div>
      <div class="orders">
        ${film != null && html`<button aria-expanded=${playing} onClick=${() => setPlaying(!playing)} aria-label=${`${playing ? "Close" : "Play"} ${job.job}`}>${playing ? "Close" : "Play"}</button>`}
        ${page.act && html`<button onClick=${() => page.act.one("retry", job)} aria-label=${`Try ${job.job} again`}>Try again</button>`}
      </div>
      ${playing && html`<${Film} page=${page} job=${job} number=${film} play=${true} />`}
    </li>
  `;
}

function Reason({ error }) {
  return html`<p class="reason"><code>${error.code}</code> ${error.message} <span class="cure">${error.cure}</span></p>`;
}

const PLAYED = /\.(mp4|m4v|webm|mov|ogv)$/i;

function firstFilm(job) {
  const index = (job.outputs ?? []).findIndex((output) => PLAYED.test(output.path) && output.frames == null);
  return index < 0 ? null : index;
}

function Thumbnail({ page, job }) {
  const [missing, setMissing] = useState(false);
  const source = job.state === "completed" && page.thumbnail(job);
  if (!source || missing) return html`<span class="thumbnail none" aria-hidden="true"></span>`;
  return html`<img class="thumbnail" src=${source} alt="" loading="lazy" onError=${() => setMissing(true)} />`;
}

function Film({ page, job, number, play }) {
  const [broken, setBroken] = useState(false);
  const source = page.output(job, number);
  if (broken) return html`<p class="film">This browser cannot play it, or the film was taken away. <a href=${source} download>Download it</a></p>`;
  return html`<video class="film" controls preload="metadata" autoplay=${play} src=${source} poster=${page.thumbnail(job)} aria-label=${`Film of ${job.job}`} onError=${() => setBroken(true)}></video>`;
}

// -- a job's own page ----------------------------------------------------------------------------------------

function JobPage({ page, id, job }) {
  const [missing, setMissing] = useState("");
  useEffect(() => {
    document.getElementById("main").focus({ preventScroll: true });
    if (page.act) page.act.load(id).then((words) => setMissing(words ?? ""));
  }, [id]);
  if (!job) return html`<p><a href="#/">← All jobs</a></p><p role="status">${missing || (page.act ? "Loading…" : "This job is not among those shown here.")}</p>`;
  const orders = page.act ? allowed(job) : [];
  return html`
    <p><a href="#/">← All jobs</a></p>
    <article class="whole" aria-labelledby="job">
      <div class="line">
        <h2 id="job">${job.sub && html`<span class="quiet">${job.sub}/</span>`}${job.name} <span class=${`state ${job.state}`}>${job.state}</span></h2>
        ${page.act && html`<div class="buttons" role="group" aria-label="This job">
          ${orders.includes("hold") && html`<button onClick=${() => page.act.one("hold", job)}>Hold</button>`}
          ${orders.includes("release") && html`<button onClick=${() => page.act.one("release", job)}>Release</button>`}
          ${orders.includes("retry") && html`<button onClick=${() => page.act.one("retry", job)}>Try again</button>`}
          ${orders.includes("cancel") && html`<button class="danger" onClick=${() => page.act.one("cancel", job)}>Cancel</button>`}
          ${orders.includes("prioritize") && html`<${Priority} page=${page} job=${job} />`}
        </div>`}
      </div>
      ${job.state === "rendering" && html`<${Bar} job=${job} /><p>${percent(job.progress?.percent)} ${job.progress?.stage}${job.progress?.frame != null ? `, frame ${job.progress.frame} of ${job.progress.frames ?? "?"}` : ""}</p>`}
      ${job.error && html`<${Reason} error=${job.error} />`}
      ${!isOver(job) && html`<p>${whyItWaits(job, page.now)}</p>`}
      <${Facts} page=${page} job=${job} />
      <${Outputs} page=${page} job=${job} />
      ${job.attempts?.length > 0 && html`<${Attempts} page=${page} job=${job} />`}
      ${job.history && html`<${History} page=${page} job=${job} />`}
      ${page.act && html`
        <${Settings} page=${page} job=${job} />
        <section aria-labelledby="log"><h3 id="log">Log</h3><p><a href=${page.logOf(job)}>The whole log</a></p><${LogTail} page=${page} job=${job} lines=${200} /></section>
        <${Document} page=${page} job=${job} />`}
    </article>
  `;
}

function Facts({ page, job }) {
  const rows = [
    ["Project", [job.template, job.composition].filter(Boolean).join(" · ")],
    ["Priority", `${job.priority}, from ${job.priority_from}`],
    ["Tags", (job.tags ?? []).join(", ")],
    ["Expected", !isOver(job) && `${expected(job.eta, page.now)}${job.eta?.basis && job.eta.done_at ? `, from ${job.eta.basis}` : ""}`],
    ["Folder", job.folder],
    ["Dropped", exact(job.created_at)],
    ["Started", exact(job.started_at)],
    ["Ended", job.finished_at && `${exact(job.finished_at)}${job.started_at ? `, after ${took(job.started_at, job.finished_at, page.now)}` : ""}`],
    ["Tries", job.attempt > 0 && `${job.attempt} of ${job.max_attempts}`],
    ["Machine", job.node],
    ["Another try of", job.retry_of && html`<a href=${`#/job/${job.retry_of}`}>${job.retry_of}</a>`],
    ["Replaced by", job.superseded_by && html`<a href=${`#/job/${job.superseded_by}`}>${job.superseded_by}</a>`],
    ["Warnings", job.warnings?.length > 0 && job.warnings.join(" · ")],
    ["Id", job.id],
  ];
  return html`<dl class="facts-list">${rows.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Outputs({ page, job }) {
  const [sheet, setSheet] = useState(true);
  if (!job.outputs?.length) return null;
  const film = firstFilm(job);
  const contact = page.contact(job);
  return html`
    <section aria-labelledby="films"><h3 id="films">Films</h3>
      ${film != null && html`<${Film} page=${page} job=${job} number=${film} />`}
      <ul>${job.outputs.map((output, number) => html`<li key=${number}><a href=${page.output(job, number)} download>${output.path}</a> <span class="quiet">${bytes(output.bytes)}${output.frames != null ? `, ${output.frames} frames` : ""}</span>${output.sha256 && html`<br /><code class="quiet hash">SHA-256 ${output.sha256}</code>`}</li>`)}</ul>
      ${contact && sheet && html`<img class="contact" src=${contact} alt=${`Contact sheet of ${job.job}`} loading="lazy" onError=${() => setSheet(false)} />`}
    </section>
  `;
}

function Attempts({ page, job }) {
  return html`
    <section aria-labelledby="tries"><h3 id="tries">Tries</h3>
      <ol class="plain">${job.attempts.map((attempt) => html`<li key=${attempt.number}>
        <strong>Try ${attempt.number}</strong> ${exact(attempt.started_at)}, ${took(attempt.started_at, attempt.finished_at, page.now)}${attempt.exit_code != null ? `, exit code ${attempt.exit_code}` : ""}
        ${attempt.error && html`<${Reason} error=${attempt.error} />`}
      </li>`)}</ol>
    </section>
  `;
}

function History({ page, job }) {
  return html`
    <section aria-labelledby="history"><h3 id="history">What happened, and why</h3>
      <ol class="history">${job.history.map((line, index) => {
        const before = job.history[index - 1];
        return html`<li key=${index}><time datetime=${line.at} title=${exact(line.at)}>${clock(line.at, page.now)}</time>
          <span class="step">${line.from && line.from !== line.to ? `${line.from} → ` : ""}<strong>${line.to}</strong></span>
          <span>${line.why}${before && moment(line.at) - moment(before.at) >= 60000 ? html` <span class="quiet">after ${took(before.at, line.at, page.now)}</span>` : ""}</span></li>`;
      })}</ol>
    </section>
  `;
}

function useLoaded(load, again) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    let gone = false;
    load().then((value) => gone || setFound(value));
    return () => (gone = true);
  }, again);
  return found;
}

function Settings({ page, job }) {
  const found = useLoaded(() => page.act.settings(job.id), [job.id, job.priority, job.hold, job.state]);
  if (!found?.settings) return null;
  return html`
    <section aria-labelledby="settings"><h3 id="settings">Settings, and where each came from</h3>
      <table><thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">From</th></tr></thead>
        <tbody>${found.settings.map((setting) => html`<tr key=${setting.key}><th scope="row">${setting.key}</th><td><code>${JSON.stringify(setting.value)}</code></td><td>${setting.source}</td></tr>`)}</tbody>
      </table>
    </section>
  `;
}

function Document({ page, job }) {
  const found = useLoaded(() => page.act.document(job.id), [job.id, job.folder]);
  return html`
    <section aria-labelledby="document"><h3 id="document">The job itself</h3>
      ${found?.document ? html`<pre class="log" tabindex="0" role="region" aria-label="The job's document">${JSON.stringify(found.document, null, 2)}</pre>` : html`<p class="quiet">${found ? found.detail : "Loading…"}</p>`}
    </section>
  `;
}

// -- asking before something cannot be taken back ------------------------------------------------------------

function Question({ question }) {
  const dialog = useRef(null);
  useEffect(() => {
    if (question && dialog.current && !dialog.current.open) dialog.current.showModal();
  }, [question]);
  if (!question) return null;
  return html`
    <dialog ref=${dialog} aria-labelledby="ask" onCancel=${(event) => (event.preventDefault(), question.answer(false))}>
      <h2 id="ask">${question.title}</h2>
      <p>${question.text}</p>
      <div class="buttons">
        <button autofocus onClick=${() => question.answer(false)}>${question.no}</button>
        <button class="danger" onClick=${() => question.answer(true)}>${question.yes}</button>
      </div>
    </dialog>
  `;
}
