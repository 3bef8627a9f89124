// What the page looks like: one renderer for the dashboard and for the page in the folder.
//
// A view gets `page`: state (jobs.js), now, filter, route, selected, and `act`, the orders; the page in the folder has
// no orders (`act` is null), so everything that would change something is left out there.

import { html, useEffect, useRef, useState } from "./html.js";
import { ago, band, bytes, clock, duration, exact, expected, moment, percent, plural, took } from "./words.js";
import { OVER, STATES, allowed, isFiltered, isOver, lastOf, lists, values } from "./jobs.js";

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
    <div class="bar"><header>
      <div class="brand">
        <h1><a href="#/">watchrender</a></h1>
        <span class=${`mood ${now}`} role="status">${MOODS[now] ?? "out of date"}</span>
        <span class="quiet host">${[service.node, service.version, service.uptime != null && `up ${duration(service.uptime)}`].filter(Boolean).join(" · ")}</span>
      </div>
      ${page.act && html`<${QueueButtons} page=${page} service=${service} />`}
    </header></div>
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
    <section class="banners" aria-label="What needs a look">
      ${page.stale && html`<div class="banner bad" role="alert"><strong>This page is out of date.</strong> ${page.stale}</div>`}
      ${page.frozen && html`<div class="banner info">Not brought up to date while a film is open or something is typed.</div>`}
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
    </section>
  `;
}

// -- the overview --------------------------------------------------------------------------------------------

function Overview({ page }) {
  const found = lists(page.state, page.filter);
  return html`
    <div class="top">
      <div>
        <section aria-labelledby="now">
        <h2 id="now">Rendering now</h2>
        ${found.rendering.length ? found.rendering.map((job) => html`<${Running} page=${page} job=${job} key=${job.id} />`) : html`<p class="panel none">${nothingRenders(page)}</p>`}
        </section>
        ${page.hours && html`<${Throughput} hours=${page.hours} now=${page.now} />`}
      </div>
      <${Tiles} page=${page} />
    </div>
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
  if (page.state.counts.queued) return "Nothing: no job of the queue may start yet; each says why below.";
  return "Nothing. Drop a job into the inbox, and it starts here.";
}

function Tiles({ page }) {
  const { service, counts } = page.state;
  const health = service?.health ?? {};
  const free = health.free_bytes ?? {};
  const codes = (service?.waiting ?? []).map((found) => found.code);
  const without = codes.find((code) => /AERENDER|NEXRENDER|LICENSE/.test(code));
  const away = codes.includes("SHARE_OFFLINE");
  const full = codes.includes("DISK_FULL");
  const late = health.scan_age != null && health.scan_age > Math.max(30, 5 * (health.scan_interval ?? 2));
  const arriving = (counts.pending ?? 0) + (counts.validating ?? 0);
  return html`
    <section aria-labelledby="health">
      <h2 id="health">Health</h2>
      <dl class="panel tiles">
        <${Tile} name="Queue" value=${plural(counts.queued ?? 0, "job")} more=${arriving > 0 && `${arriving} arriving`} />
        <${Tile} name="Oldest job" value=${health.oldest_queued_at ? ago(health.oldest_queued_at, page.now) : "none waits"} />
        <${Tile} name=${health.engine === "nexrender-server" ? "Farm" : "After Effects"} bad=${Boolean(without)} ok=${service && !without} value=${without ? "not ready" : "ready"} more=${without} />
        <${Tile} name="Disk" bad=${full} ok=${free.root != null && !full} value=${free.root == null ? "not known" : `${bytes(free.root)} free`} more=${free.work != null && free.work !== free.root && `${bytes(free.work)} for work`} />
        <${Tile} name=${health.share ? "Share" : "Hot folder"} bad=${away} ok=${service && !away} value=${away ? "out of reach" : "reachable"} more=${health.volume} title=${health.root} />
        <${Tile} name="Inbox looked at" bad=${late} ok=${health.scan_age != null && !late} value=${health.scan_age == null ? "not yet" : `${duration(health.scan_age)} ago`} more=${health.scan_interval != null && (health.events ? "and at every change" : `every ${duration(Math.max(1, health.scan_interval))}`)} />
        <${Tile} name="Finished" value=${plural(counts.completed ?? 0, "film")} />
        <${Tile} name="Failed" value=${counts.failed ?? 0} more=${counts.cancelled > 0 && `${counts.cancelled} cancelled`} />
        ${service?.ignored?.length > 0 && html`<${Tile} wide=${true} name="Files left alone" value=${service.ignored_total ?? service.ignored.length} more=${`${service.ignored[0].path}: ${service.ignored[0].why}`} title=${service.ignored.map((file) => `${file.path}: ${file.why}`).join("\n")} />`}
      </dl>
    </section>
  `;
}

function Tile({ name, value, more, bad, ok, wide, title }) {
  return html`<div class=${`tile ${bad ? "bad" : ok ? "ok" : ""} ${wide ? "wide" : ""}`} title=${title}>
    <dt>${name}</dt><dd><strong>${value}</strong>${more ? html`<span class="more">${more}</span>` : null}</dd>
  </div>`;
}

function Throughput({ hours, now }) {
  const most = Math.max(1, ...hours.map((hour) => hour.completed + hour.failed));
  const sum = (of) => hours.reduce((all, hour) => all + hour[of], 0);
  const bar = (hour, index) => {
    const good = (hour.completed / most) * 54;
    const bad = (hour.failed / most) * 54;
    const words = `${clock(hour.at, now)}: ${hour.completed} completed, ${hour.failed} failed, ${hour.cancelled} cancelled`;
    return html`<g key=${hour.at}>
      <title>${words}</title>
      <rect class="space" x=${index * 20} y="0" width="20" height="58" />
      <rect class="good" x=${index * 20 + 3} y=${58 - good} width="14" height=${good} />
      <rect class="bad" x=${index * 20 + 3} y=${58 - good - bad} width="14" height=${bad} />
    </g>`;
  };
  const none = sum("completed") + sum("failed") === 0;
  return html`
    <section aria-labelledby="day" class="panel plot">
      <div class="line"><h2 id="day">The last day</h2>
        ${none ? html`<p class="quiet">nothing was finished</p>` : html`<p class="quiet"><span class="key">${plural(sum("completed"), "film")}</span>${sum("failed") > 0 && html`<span class="key bad">${sum("failed")} failed</span>`}, at most ${most} an hour</p>`}
      </div>
      <svg viewBox="0 0 480 58" preserveAspectRatio="none" role="img" aria-label=${`The last 24 hours: ${sum("completed")} completed, ${sum("failed")} failed, ${sum("cancelled")} cancelled`}>
        ${hours.map(bar)}
      </svg>
      <div class="hours" aria-hidden="true">${hours.filter((_, index) => index % 6 === 0).map((hour) => html`<span key=${hour.at}>${clock(hour.at, moment(hour.at))}</span>`)}</div>
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
      <span class="quiet found" role="status">${isFiltered(filter) ? `${plural(shown, "job")} found${state.more?.next ? " so far" : ""}` : ""}</span>
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
  return html`<input type="checkbox" class="check" data-id=${job.id} checked=${page.selected.has(job.id)} onClick=${(event) => event.shiftKey && selectUpTo(event.target, page)} onChange=${(event) => (page.toggle(job.id), (lastBox = event.target))} aria-label=${`Select ${job.job}`} />`;
}

// With the shift key: all between the box that was changed last and this one get what this one has.
let lastBox = null;

function selectUpTo(box, page) {
  const boxes = [...document.querySelectorAll(".jobs .check")];
  const [from, to] = [boxes.indexOf(lastBox), boxes.indexOf(box)].sort((one, other) => one - other);
  if (from < 0) return;
  page.select(boxes.slice(from, to + 1).filter((each) => each !== box).map((each) => ({ id: each.dataset.id })), box.checked);
}

// -- one job in a list ---------------------------------------------------------------------------------------

// A name may be written from right to left: it stands by itself, so that nothing beside it changes its place.
function Key({ job }) {
  return html`${job.sub && html`<span class="quiet folder">${job.sub}/</span>`}<bdi>${lastOf(job)}</bdi>`;
}

function Name({ job }) {
  return html`<a class="name" href=${`#/job/${job.id}`}><${Key} job=${job} /></a>`;
}

function What({ job }) {
  const known = [job.template, job.composition].filter(Boolean);
  return html`<span class="quiet">${known.map((word, index) => html`${index > 0 && " · "}<bdi key=${index}>${word}</bdi>`)}${(job.tags ?? []).map((tag) => html`<bdi class="tag" key=${tag}>${tag}</bdi>`)}</span>`;
}

function Bar({ job }) {
  const found = job.progress ?? {};
  const label = `Progress of ${job.job}`;
  return found.percent == null ? html`<progress aria-label=${label}></progress>` : html`<progress max="100" value=${found.percent} aria-label=${label}></progress>`;
}

// How far a render is, in numbers.
function Pace({ page, job }) {
  const found = job.progress ?? {};
  const done = moment(job.eta?.done_at);
  const facts = [
    [found.stage ?? "Progress", html`<span class="percent">${percent(found.percent) || "…"}</span>`],
    ["Frame", found.frame != null && html`<span class="frame">${found.frame}</span>${found.frames != null && html` <span class="quiet">of ${found.frames}</span>`}`],
    ["Speed", found.fps != null && `${found.fps.toFixed(1)} frames/s`],
    ["Left", done != null && duration((done - page.now) / 1000)],
    ["Done", done != null ? html`${clock(job.eta.done_at, page.now)}<span class="band">${band(job.eta, page.now)}</span>` : html`<span class="quiet">${expected(job.eta, page.now)}</span>`],
    ["Running for", took(job.started_at, null, page.now)],
    ["Try", job.attempt > 1 && html`<span class="warn">${job.attempt} of ${job.max_attempts}</span>`],
  ];
  return html`<dl class="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Running({ page, job }) {
  return html`
    <article class="panel now" aria-labelledby=${`r-${job.id}`} data-job=${job.job}>
      <div class="title">
        <${Check} page=${page} job=${job} />
        <div class="what"><h3 id=${`r-${job.id}`}><${Name} job=${job} /></h3> <${What} job=${job} /></div>
        ${page.act && html`<span class="buttons">
          <button class="danger" disabled=${job.cancel_requested} onClick=${() => page.act.one("cancel", job)} aria-label=${`Cancel ${job.job}`}>${job.cancel_requested ? "Ending…" : "Cancel"}</button>
        </span>`}
      </div>
      <${Bar} job=${job} />
      <${Pace} page=${page} job=${job} />
      ${page.act && html`<${LogTail} page=${page} job=${job} lines=${40} />`}
    </article>
  `;
}

function LogTail({ page, job, lines }) {
  const [text, setText] = useState("");
  const box = useRef(null);
  const atEnd = useRef(true); // who reads further up is left there
  const runs = !isOver(job);
  useEffect(() => {
    let gone = false;
    const load = async () => {
      if (document.hidden) return;
      const found = await page.act.log(job.id, lines);
      if (!gone && found != null) setText(found.replace(/\n\s*\n/g, "\n"));
    };
    load();
    const timer = runs ? setInterval(load, 2000) : null;
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [job.id, job.state]);
  useEffect(() => {
    if (box.current && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  const scrolled = ({ target }) => (atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 8);
  return html`<pre class="log" ref=${box} onScroll=${scrolled} tabindex="0" role="region" aria-label=${`Log of ${job.job}`}>${text || "…"}</pre>`;
}

// -- the queue -----------------------------------------------------------------------------------------------

function Queue({ page, jobs }) {
  const most = page.kept.queue ?? SHOWN_AT_FIRST;
  const total = isFiltered(page.filter) ? jobs.length : ["queued", "validating", "pending"].reduce((all, state) => all + (page.state.counts[state] ?? 0), 0);
  const shown = jobs.slice(0, most);
  return html`
    <section aria-labelledby="queue">
      <div class="line">
        <h2 id="queue">Queue <span class="count">${plural(total, "job")}</span></h2>
        ${page.act && shown.length > 0 && html`<${SelectAll} page=${page} list="waiting" jobs=${jobs} total=${total} /><${Keys} />`}
      </div>
      ${shown.length === 0 && html`<p class="panel none">${isFiltered(page.filter) ? "Nothing that matches waits." : "The queue is empty."}</p>`}
      <ol class=${`jobs ${shown.length ? "panel" : ""} ${page.act ? "" : "shown"}`} aria-labelledby="queue" onKeyDown=${(event) => onRowKey(event, page)}>
        ${shown.map((job, index) => html`<${Waiting} page=${page} job=${job} index=${index} key=${job.id} />`)}
      </ol>
      ${jobs.length > most && html`<button class="more-of" onClick=${() => page.keep("queue", most + SHOWN_AT_FIRST)}>Show ${Math.min(SHOWN_AT_FIRST, jobs.length - most)} more</button>`}
      ${jobs.length <= most && total > jobs.length && page.act && html`<button class="more-of" onClick=${() => page.act.more("queued,validating,pending")}>Load more of the queue</button>`}
    </section>
  `;
}

// All jobs of a list that match, also those that nobody has asked the server for yet.
function SelectAll({ page, list, jobs, total }) {
  const { filter, state, selected } = page;
  const partly = isFiltered(filter) ? Boolean(state.more?.next) : total > jobs.length;
  const every = !partly && jobs.every((job) => selected.has(job.id));
  const some = !every && jobs.some((job) => selected.has(job.id));
  const words = isFiltered(filter) && partly ? "all that match" : total === 1 ? "it" : `all ${total}`;
  const box = useRef(null);
  useEffect(() => {
    if (page.loading) return; // until then it is as somebody has set it
    box.current.checked = every;
    box.current.indeterminate = some;
  });
  const set = () => (every ? page.select(jobs, false) : page.act.selectAll(list));
  return html`<label class="inline"><input type="checkbox" ref=${box} disabled=${page.loading} onChange=${set} /> Select ${words}</label>`;
}

// With the keyboard on a job's box.
function Keys() {
  return html`<details class="keys"><summary>Keyboard</summary>
    <p><span><kbd>↑</kbd> <kbd>↓</kbd></span> <span>to the job above, below</span> <span><kbd>Space</kbd></span> <span>select it</span> <span><kbd>Shift</kbd> click</span> <span>select all between</span> <span><kbd>Enter</kbd></span> <span>open it</span>
      <span><kbd>+</kbd> <kbd>−</kbd></span> <span>raise, lower its priority</span> <span><kbd>H</kbd></span> <span>hold or release it</span> <span><kbd>R</kbd></span> <span>try it again</span> <span><kbd>Del</kbd></span> <span>cancel it</span></p>
  </details>`;
}

function Waiting({ page, job, index }) {
  const eta = job.eta ?? {};
  return html`
    <li class=${page.selected.has(job.id) ? "job chosen" : "job"} data-job=${job.job} data-id=${job.id}>
      <${Check} page=${page} job=${job} />
      <span class="position" aria-label="Position">${job.state !== "queued" ? "–" : isFiltered(page.filter) ? job.position ?? "" : index + 1}</span>
      <div class="what"><${Name} job=${job} /> <${What} job=${job} />
        <span class="why">${whyItWaits(job, page.now)}</span>
      </div>
      <div class="when" title=${eta.basis}>
        ${job.state === "queued" && !job.hold && !isStopped(page) && (eta.done_at ? html`<span>done ${clock(eta.done_at, page.now)}</span><span class="quiet">${[band(eta, page.now), eta.starts_at && `starts ${clock(eta.starts_at, page.now)}`].filter(Boolean).join(", ")}</span>` : html`<span class="quiet">${expected(eta, page.now)}</span><span class="quiet">${eta.starts_at ? `starts ${clock(eta.starts_at, page.now)}` : ""}</span>`)}
      </div>
      <div class="set">${page.act ? html`<${Priority} page=${page} job=${job} />` : html`<span class="quiet">priority ${job.priority}</span>`}</div>
      ${page.act && html`<div class="orders">

          ${job.hold ? html`<button onClick=${() => page.act.one("release", job)} aria-label=${`Release ${job.job}`}>Release</button>` : html`<button onClick=${() => page.act.one("hold", job)} aria-label=${`Hold ${job.job}`}>Hold</button>`}
          <button class="danger" onClick=${() => page.act.one("cancel", job)} aria-label=${`Cancel ${job.job}`}>Cancel</button>
      </div>`}
    </li>
  `;
}

// Why nothing starts is said once, at the top.
function isStopped(page) {
  const service = page.state.service ?? {};
  return Boolean(service.paused || service.draining || service.waiting?.length);
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
  const most = page.kept.over ?? 20;
  const shown = jobs.slice(0, most);
  const failed = jobs.filter((job) => job.state === "failed");
  const total = isFiltered(page.filter) ? jobs.length : OVER.reduce((all, state) => all + (page.state.counts[state] ?? 0), 0);
  const isMore = isFiltered(page.filter) ? Boolean(page.state.more?.next) : (page.state.counts.failed ?? 0) > failed.length;
  return html`
    <section aria-labelledby="over">
      <div class="line">
        <h2 id="over">Finished and failed <span class="count">${plural(total, "job")}</span></h2>
        ${page.act && shown.length > 0 && html`<${SelectAll} page=${page} list="over" jobs=${jobs} total=${total} />`}
        ${page.act && failed.length > 1 && html`<button onClick=${() => page.act.many("retry", failed)}>Try ${isMore ? "the" : "all"} ${failed.length} failed${isMore ? " listed here" : ""} again</button>`}
      </div>
      ${shown.length === 0 && html`<p class="panel none">${isFiltered(page.filter) ? "Nothing that matches is over." : "No job has come to its end yet."}</p>`}
      <ul class=${`jobs ${shown.length ? "panel" : ""} ${page.act ? "" : "shown"}`} aria-labelledby="over" onKeyDown=${(event) => onRowKey(event, page)}>
        ${shown.map((job) => html`<${Over} page=${page} job=${job} key=${job.id} />`)}
      </ul>
      ${jobs.length > most && html`<button class="more-of" onClick=${() => page.keep("over", most + 40)}>Show more</button>`}
      ${jobs.length <= most && page.act && (isFiltered(page.filter) ? page.state.more?.next : total > jobs.length) && html`<button class="more-of" onClick=${() => page.act.more(isFiltered(page.filter) ? "" : OVER.join(","))}>Load more</button>`}
    </section>
  `;
}

function Over({ page, job }) {
  const [playing, setPlaying] = useState(false);
  const film = firstFilm(job);
  return html`
    <li class=${page.selected.has(job.id) ? "job over chosen" : "job over"} data-job=${job.job} data-id=${job.id}>
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
const PICTURED = /\.(mp4|m4v|webm|mov|ogv|avi|mkv|mxf|wmv|mpg|mpeg|gif|png|jpe?g|tiff?|tga|exr|psd|dpx|cin|bmp|hdr|webp|jp2|sgi|pcx)$/i;

function isPlayed(output) {
  return PLAYED.test(output.path) && output.frames == null;
}

function firstFilm(job) {
  const index = (job.outputs ?? []).findIndex(isPlayed);
  return index < 0 ? null : index;
}

// The first output is the job's own; what else was made goes by its file's name.
function titleOf(job, number) {
  return number === 0 ? job.job : job.outputs[number].path.split(/[\\/]/).pop();
}

function Thumbnail({ page, job }) {
  const [missing, setMissing] = useState(false);
  const source = job.state === "completed" && page.thumbnail(job);
  if (!source || missing) return html`<span class=${`thumbnail blank ${job.state}`} aria-hidden="true">${{ failed: "!", cancelled: "×" }[job.state] ?? "▸"}</span>`;
  return html`<img class="thumbnail" src=${source} alt="" loading="lazy" onError=${() => setMissing(true)} />`;
}

function Film({ page, job, number, play }) {
  const [broken, setBroken] = useState(false);
  const source = page.output(job, number);
  if (broken) return html`<p class="film">This browser cannot play it, or the film was taken away. <a href=${source} download>Download it</a></p>`;
  return html`<video class="film" controls preload="metadata" autoplay=${play} src=${source} poster=${page.thumbnail(job, number)} aria-label=${`Film of ${titleOf(job, number)}`} onError=${() => setBroken(true)}></video>`;
}

// A picture of an output, where there is one.
function Picture({ source, title, kind }) {
  const [missing, setMissing] = useState(false);
  if (!source || missing) return null;
  return html`<a href=${source}><img class="contact" src=${source} alt=${`${kind} of ${title}`} loading="lazy" onError=${() => setMissing(true)} /></a>`;
}

// -- a job's own page ----------------------------------------------------------------------------------------

function JobPage({ page, id, job }) {
  const [missing, setMissing] = useState("");
  useEffect(() => {
    document.getElementById("main").focus({ preventScroll: true });
    if (page.act) page.act.load(id).then((words) => setMissing(words ?? ""));
  }, [id]);
  if (!job) return html`<p class="back"><a href="#/">← All jobs</a></p><p role="status" class="panel none">${missing || (page.act ? "Loading…" : "This job is not among those shown here.")}</p>`;
  const orders = page.act ? allowed(job) : [];
  return html`
    <p class="back"><a href="#/">← All jobs</a></p>
    <article class="panel whole" aria-labelledby="job">
      <div class="line">
        <h2 id="job"><span><${Key} job=${job} /></span> <span class=${`state ${job.state}`}>${job.state}</span></h2>
        ${page.act && html`<div class="buttons" role="group" aria-label="This job">
          ${orders.includes("hold") && html`<button onClick=${() => page.act.one("hold", job)}>Hold</button>`}
          ${orders.includes("release") && html`<button onClick=${() => page.act.one("release", job)}>Release</button>`}
          ${orders.includes("retry") && html`<button onClick=${() => page.act.one("retry", job)}>Try again</button>`}
          ${orders.includes("cancel") && html`<button class="danger" onClick=${() => page.act.one("cancel", job)}>Cancel</button>`}
          ${orders.includes("prioritize") && html`<${Priority} page=${page} job=${job} />`}
        </div>`}
      </div>
      ${job.state === "rendering" && html`<${Bar} job=${job} /><${Pace} page=${page} job=${job} />`}
      ${job.error && html`<div class="callout"><strong>${job.error.message}</strong><p>${job.error.cure}</p><p><code>${job.error.code}</code></p></div>`}
      ${!isOver(job) && whyItWaits(job, page.now) && html`<p class="callout waits">${whyItWaits(job, page.now)}</p>`}
      <${Facts} page=${page} job=${job} />
      <${Outputs} page=${page} job=${job} />
      ${job.attempts?.length > 0 && html`<${Attempts} page=${page} job=${job} />`}
      ${job.history && html`<${History} page=${page} job=${job} />`}
      ${page.files?.(job).length > 0 && html`<section aria-labelledby="files"><h3 id="files">In its folder</h3><ul class="files">${page.files(job).map(([words, address]) => address && html`<li key=${words}><a href=${address}>${words}</a></li>`)}</ul></section>`}
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
    ["Id", html`<code>${job.id}</code>`],
  ];
  return html`<dl class="facts-list">${rows.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

const MOST_PICTURED = 12; // an encoder may have cut the film into hundreds of pieces

function Outputs({ page, job }) {
  if (!job.outputs?.length) return null;
  return html`
    <section aria-labelledby="films"><h3 id="films">${job.outputs.length === 1 ? "The film" : "Films"}</h3>
      ${job.outputs.map((output, number) => html`<${Output} page=${page} job=${job} output=${output} number=${number} key=${number} />`)}
    </section>
  `;
}

function Output({ page, job, output, number }) {
  const title = titleOf(job, number);
  const pictured = number < MOST_PICTURED && PICTURED.test(output.path);
  const plays = number < MOST_PICTURED && isPlayed(output);
  return html`
    <div class="output" data-output=${output.path}>
      ${(pictured || plays) && html`<div class="films">
        ${plays ? html`<${Film} page=${page} job=${job} number=${number} />` : html`<${Picture} source=${page.thumbnail(job, number)} title=${title} kind="Picture" />`}
        <${Picture} source=${page.contact(job, number)} title=${title} kind="Contact sheet" />
      </div>`}
      <p class="files"><a href=${page.output(job, number)} download>${output.path}</a> <span class="quiet">${bytes(output.bytes)}${output.frames != null ? `, ${output.frames} frames` : ""}</span>${output.sha256 && html`<br /><code class="quiet hash">SHA-256 ${output.sha256}</code>`}</p>
    </div>
  `;
}

function Attempts({ page, job }) {
  return html`
    <section aria-labelledby="tries"><h3 id="tries">Tries</h3>
      <ol class="plain">${job.attempts.map((attempt) => html`<li key=${attempt.number}>
        <strong>Try ${attempt.number}</strong> ${exact(attempt.started_at)}, ${took(attempt.started_at, attempt.finished_at, page.now)}${attempt.exit_code != null ? `, exit code ${attempt.exit_code}` : ""}
        ${attempt.error && (attempt.error.message === job.error?.message ? html` <code>${attempt.error.code}</code>` : html`<${Reason} error=${attempt.error} />`)}
      </li>`)}</ol>
    </section>
  `;
}

function History({ page, job }) {
  return html`
    <section aria-labelledby="history"><h3 id="history">What happened, and why</h3>
      <ol class="history">${job.history.map((line, index) => {
        const before = job.history[index - 1];
        return html`<li key=${index}><time datetime=${line.at} title=${exact(line.at)}>${clock(line.at, page.now, true)}</time>
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
        <tbody>${found.settings.map((setting) => html`<tr key=${setting.key}><th scope="row">${setting.key}</th><td><code>${typeof setting.value === "string" ? setting.value : JSON.stringify(setting.value)}</code></td><td>${setting.source}</td></tr>`)}</tbody>
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
