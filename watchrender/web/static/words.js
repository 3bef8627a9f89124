// Numbers and times as a person reads them. Pure: what time it is, is an argument.

export function duration(seconds) {
  if (seconds == null || !isFinite(seconds)) return "";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 && s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.round(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function moment(stamp) {
  const found = stamp ? Date.parse(stamp) : NaN;
  return isNaN(found) ? null : found;
}

export function ago(stamp, now) {
  const at = moment(stamp);
  return at == null ? "" : `${duration((now - at) / 1000)} ago`;
}

// 14:32, with the day where it is not today, and the year where it is another one.
export function clock(stamp, now, seconds = false) {
  const at = moment(stamp);
  if (at == null) return "";
  const date = new Date(at);
  const time = date.toLocaleTimeString([], { hour: "numeric", minute: "2-digit", second: seconds ? "2-digit" : undefined });
  const today = new Date(now);
  if (date.toDateString() === today.toDateString()) return time;
  const year = date.getFullYear() === today.getFullYear() ? undefined : "numeric";
  return `${date.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short", year })} ${time}`;
}

export function exact(stamp) {
  const at = moment(stamp);
  return at == null ? "" : new Date(at).toLocaleString();
}

export function took(from, to, now) {
  const start = moment(from);
  if (start == null) return "";
  return duration(((moment(to) ?? now) - start) / 1000);
}

export function bytes(number) {
  if (number == null) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = number;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function percent(number) {
  return number == null ? "" : `${Math.floor(number)} %`;
}

export function plural(number, one, many) {
  return `${number} ${number === 1 ? one : many ?? `${one}s`}`;
}

// When a job is expected to be done: "14:32 (14:28 – 14:40)", or what is known instead.
export function expected(eta, now) {
  if (!eta || !eta.done_at) return (eta && eta.basis) || "not known yet";
  const between = band(eta, now);
  return between ? `${clock(eta.done_at, now)} (${between})` : clock(eta.done_at, now);
}

// From the low to the high, saying what both have in common once; nothing where they read the same.
export function band(eta, now) {
  const [low, high] = [moment(eta.low), moment(eta.high)];
  if (low == null || high == null || clock(eta.low, now) === clock(eta.high, now)) return "";
  const today = new Date(now).toDateString();
  const elsewhere = [low, high].some((at) => new Date(at).toDateString() !== today);
  const format = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit", ...(elsewhere && { weekday: "short" }) });
  return format.formatRange(low, high);
}
