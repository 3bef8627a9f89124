// The page in the folder: what was known when it was written, drawn as the dashboard draws it. It loads itself again.

import { html, render, useEffect, useState } from "./html.js";
import { empty } from "./jobs.js";
import { Page } from "./views.js";
import { duration } from "./words.js";

const AGAIN = 5000;

function Folder({ data }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    const again = setTimeout(() => location.reload(), AGAIN);
    return () => { clearInterval(timer); clearTimeout(again); };
  }, []);
  const age = (now - Date.parse(data.service.at)) / 1000;
  const ended = data.service.state === "stopped";
  const banner = ended
    ? "The service has been stopped. Jobs wait in the inbox until it is started again."
    : age > data.stale_seconds
      ? `No sign of life for ${duration(age)}: the service or its machine is down, or this share is. What you see is old.`
      : "";
  return html`<${Page} state=${stateOf(data)} now=${now} banner=${banner} act=${null} />`;
}

function stateOf({ queue, service }) {
  const jobs = [...(queue.rendering ?? []), ...(queue.queue ?? []), ...(queue.recent ?? [])];
  return { ...empty(), service, counts: queue.counts ?? {}, jobs: new Map(jobs.map((job) => [job.id, job])) };
}

const data = JSON.parse(document.getElementById("data").textContent);
render(html`<${Folder} data=${data} />`, document.getElementById("page"));
