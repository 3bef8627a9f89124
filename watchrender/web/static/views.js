// What the page shows, as functions of what is known. The dashboard and the page in the folder draw with these; only the
// dashboard hands in `act`, so the folder's page has no buttons.

import { html, useEffect, useRef, useState } from "./html.js";
import { ago, bytes, clock, duration, exact, expected, percent, plural, took } from "./words.js";
import { allowed, isFiltered, isOver, lists, matches, NO_FILTER, STATES, values } from "./jobs.js";

const SHOWN = 200;
const SURE = {
  cancel: "Cancel this? A running render is ended and what it made is thrown away.",
  stop: "Stop the service? The running render is put back in the queue, and the queue stays paused.",
  drain: "Finish the running render, then end the service?",
};

export function Page({ state, now, banner, act, route, tools, throughput, filmOf, thumbnailOf }) {
  const [filter, setFilter] = useState(NO_FILTER);
  const [chosen, setChosen] = useState(new Set());
  const shown = lists(state, filter);
  const service = state.service ?? {};
  const choice = { chosen, setChosen };
  const common = { now, act, choice, filmOf, thumbnailOf };
  return html`
    <a class="skip" href="#queue">To the queue</a>
    <${Header} service=${service} counts=${state.counts} act=${act} tools=${tools} />
    <main>
      <${Banners} service=${service} banner=${banner} now=${now} />
      ${route ? html`<${JobPage} ...${route} now=${now} act=${act} filmOf=${filmOf} thumbnailOf=${thumbnailOf} />` : html`
        <${Tiles} service=${service} now=${now} />
        <${Rendering} jobs=${shown.rendering} ...${common} />
        <${Filters} state=${state} filter=${filter} setFilter=${setFilter} />
        <${Many} choice=${choice} state=${state} act=${act} />
        <${Queue} jobs=${shown.waiting} total=${(state.counts.queued ?? 0)} ...${common} />
        <${Over} jobs=${shown.over} filtered=${isFiltered(filter)} ...${common} />
        <${Throughput} hours=${throughput} />
        <${Ignored} service=${service} />`}
    </main>`;
}

function Header({ service, counts, act, tools }) {
  const state = service.state ?? "…";
  return html`
    <header>
      <h1><a href="#/">watchrender</a> <small>${service.node ?? ""}</small></h1>
      <p class=${`state ${state}`} role="status">${state}</p>
      <ul class="counts" aria-label="Jobs by state">
        ${STATES.filter((name) => counts[name]).map((name) => html`<li key=${name}><b>${counts[name]}</b> ${name}</li>`)}
      </ul>
      ${act && html`<div class="buttons" role="group" aria-label="Queue">
        ${service.paused
          ? html`<button onClick=${() => act.queue("resume")}>Resume</button>`
          : html`<button onClick=${() => act.queue("pause")}>Pause</button>`}
        <button onClick=${() => sure("drain") && act.queue("drain")}>Drain</button>
        <button class="danger" onClick=${() => sure("stop") && act.queue("stop")}>Stop</button>
        ${tools}
      </div>`}
    </header>`;
}

function sure(verb) {
  return !SURE[verb] || window.confirm(SURE[verb]);
}

function Banners({ service, banner, now }) {
  return html`<div aria-live="polite">
    ${banner && html`<p class="banner stale" role="alert">${banner}</p>`}
    ${service.paused && html`<p class="banner">The queue is paused: a <code>_PAUSE</code> lies in the inbox.</p>`}
    ${(service.waiting ?? []).map((found) => html`
      <div class="banner" key=${found.code}>
        <p><b>The queue waits:</b> ${found.message}</p><p>${found.cure}</p>
        <p class="quiet">${found.code}${(service.waiting_since ?? {})[found.code] ? `, since ${clock(service.waiting_since[found.code], now)}` : ""}</p>
      </div>`)}
  </div>`;
}

function Tiles({ service, now }) {
  const health = service.health ?? {};
  const free = health.free_bytes ?? {};
  const codes = (service.waiting ?? []).map((found) => found.code);
  const bad = (...names) => names.some((name) => codes.includes(name));
  const tiles = [
    ["Disk", `${bytes(free.root)} free`, bad("DISK_FULL")],
    ["Share", bad("SHARE_OFFLINE") ? "away" : `${health.volume ?? ""}${health.events === false ? ", no events" : ""}`, bad("SHARE_OFFLINE")],
    ["Last look", health.scan_age == null ? "" : `${duration(health.scan_age)} ago`, health.scan_age > 30],
    ["After Effects", bad("AERENDER_NOT_FOUND", "AERENDER_NOT_PATCHED", "LICENSE") ? "not usable" : "found", bad("AERENDER_NOT_FOUND", "AERENDER_NOT_PATCHED", "LICENSE")],
    ["Oldest waiting", health.oldest_queued_at ? ago(health.oldest_queued_at, now) : "none", false],
  ];
  return html`<section aria-label="Health"><dl class="tiles">
    ${tiles.map(([name, text, wrong]) => html`<div key=${name} class=${wrong ? "wrong" : ""}><dt>${name}</dt><dd>${text || "–"}</dd></div>`)}
  </dl></section>`;
}

export function Bar({ progress, label }) {
  const known = progress && progress.percent != null;
  const value = known ? Math.max(0, Math.min(100, progress.percent)) : null;
  return html`<progress max="100" aria-label=${label} ...${known ? { value } : {}}></progress>`;
}

function Rendering({ jobs, now, act }) {
  return html`<section aria-labelledby="h-now"><h2 id="h-now">Now</h2>
    ${jobs.length === 0 && html`<p class="quiet">Nothing renders.</p>`}
    ${jobs.map((job) => {
      const progress = job.progress ?? {};
      return html`<article class="now" key=${job.id}>
        <h3><${Name} job=${job} act=${act} /></h3>
        <${Bar} progress=${progress} label=${`Progress of ${job.job}`} />
        <p class="facts">
          <b class="percent">${percent(progress.percent) || progress.stage}</b>
          ${progress.frame != null && html`<span>frame ${progress.frame}${progress.frames ? ` of ${progress.frames}` : ""}</span>`}
          ${progress.fps != null && html`<span>${progress.fps.toFixed(1)} fps</span>`}
          <span>${progress.stage}</span>
          <span>try ${job.attempt} of ${job.max_attempts}</span>
          <span>for ${took(job.started_at, null, now)}</span>
          <span>done ${expected(job.eta, now)}</span>
          ${job.cancel_requested && html`<b>being cancelled</b>`}
        </p>
        <${Buttons} job=${job} act=${act} />
        ${act && html`<${Tail} job=${job} act=${act} lines=${8} />`}
      </article>`;
    })}
  </section>`;
}

function Tail({ job, act, lines }) {
  const [text, setText] = useState("");
  const at = job.progress?.frame ?? job.updated_at;
  useEffect(() => {
    let gone = false;
    act.log(job.id, lines).then((found) => gone || setText(found), () => {});
    return () => { gone = true; };
  }, [job.id, Math.floor((job.progress?.percent ?? 0) / 4), job.state, lines]);
  return html`<details data-at=${at}><summary>Log</summary><pre tabindex="0" aria-label=${`Log of ${job.job}`}>${text}</pre></details>`;
}

function Name({ job, act }) {
  return act ? html`<a href=${`#/job/${job.id}`}>${job.job}</a>` : html`<span>${job.job}</span>`;
}

function Buttons({ job, act }) {
  if (!act) return null;
  const can = allowed(job);
  return html`<span class="buttons">
    ${can.includes("cancel") && html`<button class="danger" aria-label=${`Cancel ${job.job}`} onClick=${() => sure("cancel") && act.job(job.id, "cancel")}>Cancel</button>`}
    ${can.includes("hold") && html`<button aria-label=${`Hold ${job.job}`} onClick=${() => act.job(job.id, "hold")}>Hold</button>`}
    ${can.includes("release") && html`<button aria-label=${`Release ${job.job}`} onClick=${() => act.job(job.id, "release")}>Release</button>`}
    ${can.includes("retry") && html`<button aria-label=${`Try ${job.job} again`} onClick=${() => act.job(job.id, "retry")}>Try again</button>`}
  </span>`;
}

function Priority({ job, act }) {
  const box = useRef(null);
  if (!act) return html`<span>${job.priority}</span>`;
  const change = (event) => {
    const value = Number(event.target.value);
    if (Number.isInteger(value) && value >= 0 && value <= 100) act.prioritize(job.id, value);
    else event.target.value = job.priority;
  };
  return html`<input ref=${box} type="number" min="0" max="100" value=${job.priority} onChange=${change}
    aria-label=${`Priority of ${job.job}, from ${job.priority_from}`} title=${`from ${job.priority_from}`} />`;
}

function Choice({ job, choice }) {
  const flip = () => {
    const next = new Set(choice.chosen);
    if (!next.delete(job.id)) next.add(job.id);
    choice.setChosen(next);
  };
  return html`<input type="checkbox" checked=${choice.chosen.has(job.id)} onChange=${flip} aria-label=${`Choose ${job.job}`} />`;
}

function Filters({ state, filter, setFilter }) {
  const set = (name) => (event) => setFilter({ ...filter, [name]: event.target.value });
  const select = (name, title, options) => html`<label>${title}
    <select value=${filter[name]} onChange=${set(name)}><option value="">all</option>
      ${options.map((option) => html`<option key=${option} value=${option}>${option}</option>`)}
    </select></label>`;
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
    <label>Search <input type="search" value=${filter.q} onInput=${set("q")} /></label>
    ${select("state", "State", STATES)}
    ${select("sub", "Folder", values(state, (job) => [job.sub]))}
    ${select("tag", "Tag", values(state, (job) => job.tags ?? []))}
    ${select("code", "Error", values(state, (job) => [job.error && job.error.code]))}
    ${isFiltered(filter) && html`<button type="button" onClick=${() => setFilter(NO_FILTER)}>Show all</button>`}
  </form>`;
}

function Many({ choice, state, act }) {
  if (!act || choice.chosen.size === 0) return null;
  const jobs = [...choice.chosen].map((id) => state.jobs.get(id)).filter(Boolean);
  const verbs = ["cancel", "hold", "release", "retry"].filter((verb) => jobs.some((job) => allowed(job).includes(verb)));
  const titles = { cancel: "Cancel", hold: "Hold", release: "Release", retry: "Try again" };
  const run = (verb) => {
    if (!sure(verb)) return;
    act.many(jobs.filter((job) => allowed(job).includes(verb)).map((job) => job.id), verb);
    choice.setChosen(new Set());
  };
  return html`<div class="many" role="group" aria-label="Chosen jobs">
    <b>${plural(jobs.length, "job")} chosen</b>
    ${verbs.map((verb) => html`<button key=${verb} class=${verb === "cancel" ? "danger" : ""} onClick=${() => run(verb)}>${titles[verb]}</button>`)}
    <button onClick=${() => choice.setChosen(new Set())}>Choose none</button>
  </div>`;
}

function Queue({ jobs, total, now, act, choice }) {
  return html`<section id="queue" tabindex="-1" aria-labelledby="h-queue"><h2 id="h-queue">Queue</h2>
    ${jobs.length === 0 ? html`<p class="quiet">Nothing waits.</p>` : html`<div class="scroll" tabindex="0" role="group" aria-label="Waiting jobs"><table>
      <thead><tr>${act && html`<th><span class="hidden">Choose</span></th>`}<th>Job</th><th>Priority</th><th>State</th><th>Expected</th>${act && html`<th><span class="hidden">Orders</span></th>`}</tr></thead>
      <tbody>${jobs.slice(0, SHOWN).map((job) => html`<tr key=${job.id}>
        ${act && html`<td><${Choice} job=${job} choice=${choice} /></td>`}
        <td><${Name} job=${job} act=${act} /> <span class="quiet">${job.composition ?? ""}</span></td>
        <td><${Priority} job=${job} act=${act} /></td>
        <td>${job.hold ? "held" : job.state}${job.attempt ? `, try ${job.attempt + 1}` : ""}<${Waits} job=${job} now=${now} /></td>
        <td>${job.eta && job.eta.starts_at ? `${clock(job.eta.starts_at, now)}, done ` : ""}${expected(job.eta, now)}</td>
        ${act && html`<td><${Buttons} job=${job} act=${act} /></td>`}
      </tr>`)}</tbody></table></div>`}
    ${total > Math.min(jobs.length, SHOWN) && html`<p class="quiet">${plural(total, "job")} wait in all.</p>`}
  </section>`;
}

function Waits({ job, now }) {
  const why = [...(job.waiting_for ?? [])];
  if (job.not_before && Date.parse(job.not_before) > now) why.push(`not before ${clock(job.not_before, now)}`);
  return why.map((line) => html`<div class="why" key=${line}>${line}</div>`);
}

function Over({ jobs, filtered, now, act, choice, filmOf, thumbnailOf }) {
  return html`<section aria-labelledby="h-over"><h2 id="h-over">Finished</h2>
    ${jobs.length === 0 && html`<p class="quiet">${filtered ? "Nothing fits." : "Nothing is finished yet."}</p>`}
    <ul class="over">${jobs.slice(0, SHOWN).map((job) => html`<li key=${job.id} class=${job.state}>
      ${act && html`<${Choice} job=${job} choice=${choice} />`}
      <${Film} job=${job} filmOf=${filmOf} thumbnailOf=${thumbnailOf} />
      <div class="told">
        <h3><${Name} job=${job} act=${act} /> <span class=${`mark ${job.state}`}>${job.state}</span></h3>
        <p class="quiet">${clock(job.finished_at, now)}${job.started_at ? `, took ${took(job.started_at, job.finished_at, now)}` : ""}${(job.outputs ?? []).map((output) => `, ${bytes(output.bytes)}`).join("")}</p>
        <${Reason} job=${job} />
        <${Buttons} job=${job} act=${act} />
      </div></li>`)}</ul>
  </section>`;
}

function Reason({ job }) {
  if (!job.error || job.state === "completed") return null;
  return html`<p>${job.error.message}</p><p class="cure">${job.error.cure}</p><p class="quiet">${job.error.code}</p>`;
}

export function Film({ job, filmOf, thumbnailOf }) {
  const film = filmOf && filmOf(job);
  const picture = thumbnailOf && thumbnailOf(job);
  if (film) return html`<video controls preload="none" src=${film} poster=${picture ?? ""} aria-label=${`Film of ${job.job}`}></video>`;
  return picture ? html`<img src=${picture} alt="" loading="lazy" />` : null;
}

function Throughput({ hours }) {
  if (!hours || hours.length === 0) return null;
  const most = Math.max(1, ...hours.map((hour) => hour.completed + hour.failed));
  const total = hours.reduce((sum, hour) => sum + hour.completed, 0);
  const failed = hours.reduce((sum, hour) => sum + hour.failed, 0);
  const told = `${plural(total, "film")} finished and ${failed} failed in the last 24 hours`;
  const height = (number) => (number / most) * 60;
  return html`<section aria-labelledby="h-day"><h2 id="h-day">The last day</h2>
    <svg class="plot" viewBox="0 0 240 64" preserveAspectRatio="none" role="img" aria-label=${told}>
      ${hours.map((hour, index) => html`<g key=${hour.at}>
        <rect class="completed" x=${index * 10 + 1} width="8" y=${62 - height(hour.completed)} height=${height(hour.completed)} />
        <rect class="failed" x=${index * 10 + 1} width="8" y=${62 - height(hour.completed + hour.failed)} height=${height(hour.failed)} />
      </g>`)}
    </svg><p class="quiet">${told}.</p></section>`;
}

function Ignored({ service }) {
  const ignored = service.ignored ?? [];
  if (ignored.length === 0) return null;
  return html`<section><details><summary>${plural(ignored.length, "file")} in the inbox left alone</summary>
    <ul>${ignored.map((found) => html`<li key=${found.path}><code>${found.path}</code>: ${found.why}</li>`)}</ul></details></section>`;
}

function JobPage({ job, settings, document, log, now, act, filmOf, thumbnailOf, contact }) {
  if (!job) return html`<p>This job is not known (any more). <a href="#/">Back</a></p>`;
  return html`<article class="job">
    <p><a href="#/">Back to all jobs</a></p>
    <h2 tabindex="-1">${job.job} <span class=${`mark ${job.state}`}>${job.hold ? "held" : job.state}</span></h2>
    <${Buttons} job=${job} act=${act} />
    ${!isOver(job) && html`<p><label>Priority <${Priority} job=${job} act=${act} /></label> from ${job.priority_from}</p>`}
    ${job.state === "rendering" && html`<${Bar} progress=${job.progress} label="Progress" /> ${percent(job.progress.percent)} ${job.progress.stage}`}
    <${Reason} job=${job} />
    ${(job.warnings ?? []).map((line) => html`<p class="why" key=${line}>${line}</p>`)}
    <${Waits} job=${job} now=${now} />
    <${Film} job=${job} filmOf=${filmOf} thumbnailOf=${thumbnailOf} />
    ${contact && html`<details><summary>Contact sheet</summary><img class="contact" src=${contact} alt=${`Contact sheet of ${job.job}`} /></details>`}
    <dl class="facts">
      ${[["Folder", job.folder], ["Project", job.template], ["Composition", job.composition], ["Tags", (job.tags ?? []).join(", ")],
        ["Expected", isOver(job) ? "" : `${expected(job.eta, now)} (${job.eta?.basis ?? ""})`], ["Dropped", exact(job.created_at)],
        ["Finished", exact(job.finished_at)], ["Retry of", job.retry_of], ["Id", job.id]]
        .filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
    <h3>What happened, and why</h3>
    <ol class="history">${(job.history ?? []).map((line, index) => html`<li key=${index}><time dateTime=${line.at}>${exact(line.at)}</time> <b>${line.to}</b> ${line.why}</li>`)}</ol>
    ${(job.attempts ?? []).length > 0 && html`<h3>Tries</h3><ol>${job.attempts.map((entry) => html`<li key=${entry.number}>
      ${took(entry.started_at, entry.finished_at, now)}: ${entry.error ? `${entry.error.code}: ${entry.error.message}` : "good"}</li>`)}</ol>`}
    ${settings && html`<h3>Settings</h3><dl class="facts">${settings.map((one) => html`<div key=${one.key}><dt>${one.key}</dt><dd>${JSON.stringify(one.value)} <span class="quiet">from ${one.source}</span></dd></div>`)}</dl>`}
    ${document && html`<details><summary>The job document</summary><pre tabindex="0" aria-label="The job document">${JSON.stringify(document, null, 2)}</pre></details>`}
    <h3>Log</h3><pre tabindex="0" aria-label="Log">${log || "nothing yet"}</pre>
  </article>`;
}

export { matches };
