// Asks for the status, the history and the metrics every two seconds, and shows what they say. Rates and percentiles are made of the
// differences between two answers; the last five minutes are kept for the charts, in this page alone.
"use strict";

const EVERY = 2000;
const KEPT = 150;
const WINDOW = 5;
const HELD = 3000;

const seen = [];
const charts = new Map();
const opened = new Set();
let pressed = -Infinity;
let token = sessionStorage.getItem("tidegate-token") || "";

const $ = (id) => document.getElementById(id);

// A new element; its text is never taken for markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Replaces what is shown, unless it is the same, or a button is held down: what has the focus keeps it.
function show(place, ...children) {
  if (performance.now() - pressed < HELD) return;
  const fresh = make("div", {}, ...children);
  if (fresh.innerHTML === place.innerHTML) return;
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.replaceChildren(...fresh.childNodes);
  if (focused && $(focused)) $(focused).focus();
}

async function ask(path, options = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const error = new Error(body.error || `${path}: ${answer.status}`);
  error.status = answer.status;
  error.problems = body.problems || [];
  throw error;
}

// Samples by name: a list of labels and value each.
function metrics(text) {
  const families = new Map();
  const sample = /^(tidegate_\w+)(?:\{(.*)\})? (\S+)/;
  const label = /(\w+)="((?:[^"\\]|\\.)*)"/g;
  for (const line of text.split("\n")) {
    const found = sample.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] || "").matchAll(label)) {
      labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    if (!families.has(found[1])) families.set(found[1], []);
    families.get(found[1]).push([labels, Number(found[3])]);
  }
  return families;
}

function sum(sample, name, wanted = {}) {
  let all = 0;
  for (const [labels, value] of sample.metrics.get(name) || []) {
    if (Object.entries(wanted).every(([key, is]) => labels[key] === is)) all += value;
  }
  return all;
}

// How much it grew a second, since some samples ago. A counter that fell began anew.
function rate(name, wanted, back = WINDOW, now = seen.length - 1) {
  const before = Math.max(0, now - back);
  if (now <= before) return null;
  const grown = sum(seen[now], name, wanted) - sum(seen[before], name, wanted);
  return Math.max(0, grown) / (seen[now].at - seen[before].at);
}

// Seconds, interpolated within the bucket as Prometheus does; null: nothing came.
function percentile(name, wanted, share) {
  const now = seen.at(-1);
  const before = seen[Math.max(0, seen.length - 1 - WINDOW)];
  const buckets = new Map();
  const add = (sample, sign) => {
    for (const [labels, value] of sample.metrics.get(`${name}_bucket`) || []) {
      if (!Object.entries(wanted).every(([key, is]) => labels[key] === is)) continue;
      const le = labels.le === "+Inf" ? Infinity : Number(labels.le);
      buckets.set(le, (buckets.get(le) || 0) + sign * value);
    }
  };
  add(now, 1);
  if (before !== now) add(before, -1);
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const total = sorted.length ? sorted.at(-1)[1] : 0;
  if (total <= 0) return null;
  let [low, under] = [0, 0];
  for (const [le, count] of sorted) {
    if (count >= share * total) return le === Infinity ? low : low + ((le - low) * (share * total - under)) / (count - under || 1);
    [low, under] = [le, count];
  }
  return low;
}

const number = (value, digits = 0) =>
  value === null || Number.isNaN(value) ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: 0 });
const perSecond = (value) => (value === null ? "–" : `${number(value, value < 10 ? 1 : 0)}/s`);
const share = (part, whole) => (!whole ? "–" : `${number((100 * part) / whole, 2)} %`);
function time(seconds) {
  if (seconds === null) return "–";
  if (seconds < 1e-6) return `${number(seconds * 1e9)} ns`;
  if (seconds < 0.001) return `${number(seconds * 1e6, seconds < 1e-5 ? 1 : 0)} µs`;
  return seconds < 1 ? `${number(seconds * 1e3, 1)} ms` : `${number(seconds, 2)} s`;
}
function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const [unit, size] = units.find(([, size]) => seconds >= size) || units.at(-1);
  return `${Math.floor(seconds / size)} ${unit}`;
}

// The last minutes of a value.
function chart(key, value, label) {
  const points = charts.get(key) || [];
  if (points.asOf !== seen.length + seen[0].at) {
    points.push(value || 0);
    points.asOf = seen.length + seen[0].at;
    if (points.length > KEPT) points.shift();
    charts.set(key, points);
  }
  const most = Math.max(...points, 1e-9);
  const place = (value, at) => `${((100 * (at + KEPT - points.length)) / (KEPT - 1)).toFixed(2)} ${(30 - (28 * value) / most).toFixed(2)}`;
  const line = points.map(place).join("L");
  const svg = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(svg, "svg");
  const set = (element, attributes) => Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  set(picture, { class: "chart", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": `${label}, the last five minutes` });
  const area = document.createElementNS(svg, "path");
  const first = ((100 * (KEPT - points.length)) / (KEPT - 1)).toFixed(2);
  set(area, { class: "area", d: `M${first} 30L${line}L100 30Z` });
  const path = document.createElementNS(svg, "path");
  set(path, { d: `M${line}` });
  picture.append(area, path);
  return picture;
}

function table(columns, rows) {
  const cell = ([name, kind], value, at) =>
    at === 0
      ? make("th", { scope: "row" }, value)
      : make("td", { class: kind === "number" ? "number" : null, "data-label": name || null }, value);
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...columns.map(([name, kind]) => make("th", { scope: "col", class: kind === "number" ? "number" : null }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((value, at) => cell(columns[at], value, at))))),
  );
}

const GRADES = { ready: "good", up: "good", warm: "good", running: "good", connected: "good", resolved: "good", drain: "warn", draining: "warn", maint: "warn", starting: "warn" };
const pill = (word) => make("span", { class: `pill ${GRADES[word] || "bad"}` }, word);

function tiles() {
  const now = seen.at(-1);
  const requests = rate("tidegate_requests_total", {});
  const errors = rate("tidegate_requests_total", { code: "5xx" });
  const p99 = percentile("tidegate_request_duration_seconds", {}, 0.99);
  const connections = sum(now, "tidegate_connections_open");
  const flying = sum(now, "tidegate_requests_in_flight");
  const tile = (key, name, text, value) => make("div", { class: "tile" }, make("span", { class: "muted" }, name), make("b", {}, text), chart(key, value, name));
  show(
    $("tiles"),
    tile("requests", "Requests", perSecond(requests), requests),
    tile("errors", "Answered with 5xx", share(errors, requests), errors),
    tile("p99", "99th percentile", time(p99), p99),
    tile("connections", "Open connections", number(connections), connections),
    tile("flying", "Requests in flight", number(flying), flying),
  );
}

// What can be looked at when it is asked for; it stays open from one look to the next.
function fold(id, summary, ...inside) {
  return make("details", { id, open: opened.has(id) }, make("summary", { id: `${id}-summary` }, summary), ...inside);
}

const clock = (at) => make("time", { datetime: at }, new Date(at).toLocaleTimeString());

// State, why, and how it came to be so.
function standing(pool, server) {
  const health = server.state === "ready" && !["up", "unchecked"].includes(server.health) ? ` ${server.health}` : "";
  const seen = server.last_probe === null ? server.health : `${server.last_probe}${server.last_probe_ms === null ? "" : `, ${time(server.last_probe_ms / 1000)}`}`;
  const past = server.history.map((change) => make("li", {}, clock(change.at), " ", pill(change.state), change.why ? ` ${change.why}` : ""));
  return make(
    "div",
    { class: "standing" },
    pill(server.state),
    `${health}${server.backup ? " backup" : ""}`,
    make("div", { class: "muted" }, seen),
    past.length ? fold(`past-${pool}-${server.name}`, past.length === 1 ? "1 change" : `${past.length} changes`, make("ol", { class: "past" }, ...past)) : null,
  );
}

// Who waits for a place, and who was sent away.
function queue(pool) {
  const waiting = pool.queued + pool.servers.reduce((all, server) => all + server.queued, 0);
  const full = rate("tidegate_faults_total", { pool: pool.name, fault: "queue-full" });
  const late = rate("tidegate_faults_total", { pool: pool.name, fault: "queue-timeout" });
  const limited = pool.servers.some((server) => server.max_connections !== null);
  if (!limited && !waiting) return null;
  const bound = pool.max_queue === null ? "no bound" : `at most ${number(pool.max_queue)} a line`;
  return make("p", { class: "muted facts" }, `Queue: ${number(waiting)} waiting, ${bound}; sent away: full ${perSecond(full)}, too late ${perSecond(late)}`);
}

function retries(pool) {
  const again = rate("tidegate_retries_total", { pool: pool.name });
  return again ? make("p", { class: "muted facts" }, `Tried again: ${perSecond(again)}`) : null;
}

// Servers that are names, and the file that lists some.
function sources(pool) {
  const row = (name) => [
    name.server,
    make("code", {}, name.address),
    number(name.servers),
    pill(name.problem ? "failing" : "resolved"),
    name.next_seconds === null ? "now" : `in ${duration(name.next_seconds)}`,
    name.problem ? `${name.problem}${name.failing_seconds === null ? "" : `, for ${duration(name.failing_seconds)}`}` : "–",
  ];
  const columns = [["name"], ["address"], ["servers", "number"], ["state"], ["next look-up"], ["last failure"]];
  const file = pool.servers_file;
  return [
    pool.names.length ? make("h4", {}, "Looked up by name") : null,
    pool.names.length ? table(columns, pool.names.map(row)) : null,
    file ? make("p", { class: "muted facts" }, `Also from ${file.path}`) : null,
    ...(file ? file.problems.map((problem) => make("pre", { class: "notice" }, problem)) : []),
  ];
}

// What may be done with a server.
function switches(pool, server) {
  const to = server.state === "ready" || server.state === "down" ? ["drain", "Drain"] : ["ready", "Use again"];
  return make("button", { type: "button", id: `set-${pool}-${server.name}`, "data-pool": pool, "data-server": server.name, "data-state": to[0], disabled: !token }, to[1]);
}

function pools(status) {
  const card = (pool) => {
    const of = { pool: pool.name };
    const requests = rate("tidegate_requests_total", of);
    const errors = rate("tidegate_requests_total", { ...of, code: "5xx" });
    const times = [0.5, 0.9, 0.99].map((share) => time(percentile("tidegate_request_duration_seconds", of, share)));
    const row = (server) => {
      const its = { ...of, server: server.name };
      const all = rate("tidegate_requests_total", its);
      return [
        server.name,
        make("code", {}, server.address),
        standing(pool.name, server),
        number(server.weight),
        server.max_connections === null ? number(server.in_flight) : `${number(server.in_flight)} of ${number(server.max_connections)}`,
        number(server.queued),
        perSecond(all),
        share(rate("tidegate_requests_total", { ...its, code: "5xx" }), all),
        time(server.ewma_us ? server.ewma_us / 1e6 : null),
        switches(pool.name, server),
      ];
    };
    const columns = [["server"], ["address"], ["state"], ["weight", "number"], ["in flight", "number"], ["waiting", "number"], ["requests", "number"], ["5xx", "number"], ["first byte", "number"], [""]];
    return make(
      "article",
      { class: "card" },
      make(
        "div",
        { class: "head" },
        make("h3", {}, pool.name, " ", make("span", { class: "muted" }, `by ${pool.balancer}`)),
        make("span", { class: "muted" }, `${perSecond(requests)}, 5xx ${share(errors, requests)}, median ${times[0]}, 90th percentile ${times[1]}, 99th ${times[2]}`),
      ),
      chart(`pool ${pool.name}`, requests, `Requests to ${pool.name}`),
      queue(pool),
      retries(pool),
      table(columns, pool.servers.map(row)),
      ...sources(pool),
    );
  };
  show($("pools"), ...status.pools.map(card));
}

// Until the first of a listener's certificates expires.
function expiry(listener) {
  const samples = seen.at(-1).metrics.get("tidegate_tls_certificate_expiry_seconds") || [];
  const left = samples.filter(([labels]) => labels.listener === listener).map(([, value]) => value);
  if (!left.length) return "–";
  const first = Math.min(...left);
  if (first <= 0) return pill("expired");
  return first < 7 * 86400 ? make("span", { class: "pill warn" }, `in ${duration(first)}`) : `in ${duration(first)}`;
}

function listeners(status) {
  const row = (listener) => [
    listener.name,
    make("code", {}, listener.addresses.join(", ")),
    listener.protocol,
    expiry(listener.name),
    listener.filters.join(", ") || "–",
    listener.router || "–",
    listener.pool || "–",
    number(sum(seen.at(-1), "tidegate_connections_open", { listener: listener.name })),
    perSecond(rate("tidegate_connections_total", { listener: listener.name })),
  ];
  const columns = [["name"], ["addresses"], ["protocol"], ["certificate expires"], ["filters"], ["router"], ["pool"], ["open", "number"], ["new", "number"]];
  show($("listeners"), make("div", { class: "card" }, table(columns, status.listeners.map(row))));
}

// Failures, by what they were: a trap before all else.
function failures(plugin) {
  const all = seen.at(-1).metrics.get("tidegate_plugin_failures_total") || [];
  const some = all.filter(([labels, value]) => labels.plugin === plugin.name && value > 0);
  return some.length ? some.map(([labels, value]) => `${number(value)} ${labels.cause}`).join(", ") : "0";
}

function plugins(status) {
  const row = (plugin) => [
    plugin.name,
    make("code", { title: plugin.sha256 }, plugin.sha256.slice(0, 8)),
    plugin.source,
    plugin.roles.join(", "),
    pill(plugin.state),
    number(plugin.instances),
    perSecond(rate("tidegate_plugin_calls_total", { plugin: plugin.name })),
    time(plugin.mean_call_ns ? plugin.mean_call_ns / 1e9 : null),
    failures(plugin),
  ];
  const columns = [["name"], ["version"], ["source"], ["roles"], ["state"], ["instances", "number"], ["calls", "number"], ["a call", "number"], ["traps, failures", "number"]];
  show($("plugins"), make("div", { class: "card" }, table(columns, status.plugins.map(row))));
}

function shared(status) {
  const place = status.shared_state;
  $("shared").hidden = !place;
  if (!place) return;
  const now = seen.at(-1);
  const looked = (result) => perSecond(rate("tidegate_state_lookups_total", { result }));
  const wrote = (result) => perSecond(rate("tidegate_state_writes_total", { result }));
  const refused = ["password", "unreachable", "refused"].map((result) => [result, sum(now, "tidegate_state_connects_total", { result })]).filter(([, count]) => count > 0);
  const row = [
    make("code", {}, place.redis),
    pill(place.answers ? "connected" : "no answer"),
    `hit ${looked("hit")}, miss ${looked("miss")}, late ${looked("timeout")}`,
    `done ${wrote("done")}, dropped ${wrote("dropped")}`,
    `${number(sum(now, "tidegate_state_waiting_bytes"))} B`,
    number(sum(now, "tidegate_state_breaker_opened_total")),
    refused.map(([result, count]) => `${number(count)} ${result}`).join(", ") || "–",
  ];
  const columns = [["redis"], ["state"], ["look-ups"], ["writes"], ["waiting", "number"], ["ceased to answer", "number"], ["failed connections"]];
  show($("state-shared"), make("div", { class: "card" }, table(columns, [row])));
}

function generations(history) {
  const row = (past) => {
    const back = make("button", { type: "button", id: `back-${past.generation}`, "data-back": past.generation, disabled: !token }, "Go back");
    return [String(past.generation), new Date(past.at).toLocaleString(), past.what, past.running ? pill("running") : back];
  };
  show($("history"), make("div", { class: "card" }, table([["generation"], ["since"], ["by"], [""]], history.map(row))));
}

function heading(status) {
  const state = status.draining ? "draining" : "running";
  $("state").textContent = state;
  $("state").className = `pill ${GRADES[state]}`;
  $("facts").textContent = `${status.version}, generation ${status.generation}, ${status.workers} workers, up ${duration(status.uptime_seconds)}, ${status.config}`;
  $("lock").textContent = token ? "unlocked" : "";
}

// What is wrong now: the last change, and what this page was told.
let told = null;
function trouble(status) {
  const notices = [];
  const change = status && status.last_change;
  if (change && change.problems.length) {
    notices.push(make("div", { class: "notice" }, `The last change (${change.what}) was refused; what ran before runs on.`, ...change.problems.map((problem) => make("pre", {}, problem))));
  }
  if (told) notices.push(make("div", { class: "notice bad" }, told.message, ...(told.problems || []).map((problem) => make("pre", {}, problem))));
  $("trouble").hidden = notices.length === 0;
  show($("trouble"), ...notices);
}

async function look() {
  const answers = await Promise.all(["/api/v1/status", "/api/v1/history", "/metrics"].map((path) => ask(path)));
  const [status, history, text] = [await answers[0].json(), await answers[1].json(), await answers[2].text()];
  seen.push({ at: performance.now() / 1000, metrics: metrics(text) });
  if (seen.length > KEPT) seen.shift();
  heading(status);
  trouble(status);
  tiles();
  pools(status);
  listeners(status);
  plugins(status);
  shared(status);
  generations(history);
}

function lost(error) {
  const locked = error.status === 401 || error.status === 403;
  $("state").textContent = locked ? "locked" : "no answer";
  $("state").className = "pill bad";
  told = locked ? error : { message: `The proxy does not answer: ${error.message}` };
  trouble(null);
}

async function keepLooking() {
  for (;;) {
    try {
      if (!document.hidden || !seen.length) {
        await look();
        if (told && !told.change) told = null;
      }
    } catch (error) {
      lost(error);
    }
    await new Promise((done) => setTimeout(done, EVERY));
  }
}

// Asks first; resolves with whether the answer was yes.
function sure(question) {
  const dialog = $("ask");
  $("ask-question").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

async function change(question, path, options) {
  if (!(await sure(question))) return;
  told = null;
  try {
    await ask(path, options);
  } catch (error) {
    error.change = true;
    told = error;
  }
  await look().catch(lost);
}

const QUESTIONS = {
  drain: (name) => `Send ${name} no new users? Those that it has may come back to it.`,
  ready: (name) => `Use ${name} again?`,
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-state]");
  if (button) {
    const { pool, server, state } = button.dataset;
    const path = `/api/v1/pools/${encodeURIComponent(pool)}/servers/${encodeURIComponent(server)}`;
    const headers = { "content-type": "application/json" };
    change(QUESTIONS[state](`${pool}/${server}`), path, { method: "PATCH", headers, body: JSON.stringify({ state }) });
  }
  const back = event.target.closest("[data-back]");
  if (back) {
    const to = back.dataset.back;
    change(`Run the configuration and the plugins of generation ${to} again?`, `/api/v1/rollback/${to}`, { method: "POST" });
  }
});

document.addEventListener("pointerdown", () => { pressed = performance.now(); });
for (const kind of ["pointerup", "pointercancel"]) document.addEventListener(kind, () => { pressed = -Infinity; });

// It does not bubble.
document.addEventListener("toggle", (event) => {
  if (event.target.open) opened.add(event.target.id);
  else opened.delete(event.target.id);
}, true);

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  $("token").value = "";
  if (token) sessionStorage.setItem("tidegate-token", token);
  else sessionStorage.removeItem("tidegate-token");
  told = null;
  look().catch(lost);
});

keepLooking();
