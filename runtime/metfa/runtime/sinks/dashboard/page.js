// What /events says, on the page. All text goes in as text, never as HTML: labels and names come from files and scanners.

import { clock, colourOf as colour, decision, element, make, percent, QUIET, stateOf } from "./common.js";

const EDGE = "#1d2732";
const GAP_SECONDS = 2.5;     // between two samples, after which they do not belong together
const RATE_SECONDS = 4;      // over which frames per second are counted
const SHORTEST_SECONDS = 30; // that the drawings show

let hello = null;      // what does not change
let samples = [];      // points of the timeline, the oldest first; their times are seconds into the stream
let events = [];       // of the timeline, likewise
let statistics = [];   // the last few, for the rate
let ended = false;
let connected = false;

const newest = () => samples.at(-1)?.time ?? 0;
const shownSeconds = () => Math.min(Math.max(newest(), SHORTEST_SECONDS), hello.history_seconds);

const colourOf = (plane) => colour(plane, hello.labels);

// ---- the stream ----

function onHello(message) {
  hello = message;
  samples = message.history;
  events = [];
  statistics = [];
  ended = false;
  element("name").textContent = message.name;
  element("all").hidden = !message.name;
  element("source").textContent = message.source;
  element("backend").textContent = message.backend;
  element("snapshots").replaceChildren();
  element("frozen").hidden = true;
  element("bars").classList.toggle("many", message.labels.length > 8);
  element("bars").replaceChildren(...message.labels.map((label) => {
    const row = make("li");
    const track = make("span");
    track.append(make("i"));
    row.append(make("span", label), make("span"), track);
    row.style.setProperty("--plane", colourOf(label));
    return row;
  }));
}

function onFrame(frame) {
  const held = frame.plane !== null;
  [element("label").textContent, element("confidence").textContent] = decision(frame);
  document.body.classList.toggle("undecided", !held);
  document.body.style.setProperty("--plane", held ? colourOf(frame.plane) : QUIET);
  hello.labels.forEach((label, place) => {
    const row = element("bars").children[place];
    row.classList.toggle("best", label === (frame.plane ?? frame.label));
    row.children[1].textContent = percent(frame.probabilities[place]);
    row.querySelector("i").style.transform = `scaleX(${frame.probabilities[place]})`;
  });
  samples.push(frame);
  while (samples[0].time < frame.time - hello.history_seconds) samples.shift();
  showPicture();
}

function onEvent(event) {
  events.push(event);
  events = events.slice(-200);
  const shown = make("li");
  const picture = make("img");
  picture.src = `snapshots/${event.number}`;
  picture.id = `best-${event.number}`;
  picture.alt = `Best frame of ${event.plane}`;
  const caption = make("p");
  caption.append(make("b", event.plane), make("span", `${percent(event.confidence)} · ${clock(event.best)}`));
  shown.append(picture, caption);
  shown.style.setProperty("--plane", colourOf(event.plane));
  element("snapshots").prepend(shown);
  while (element("snapshots").children.length > 24) element("snapshots").lastChild.remove();
  element("frozen").hidden = false;
}

// When the stream ends, pictures that may not have come when they were asked for come by themselves.
const toUrl = ({ jpeg }) => `data:image/jpeg;base64,${jpeg}`;

function onBest(message) {
  element(`best-${message.number}`).src = toUrl(message);
}

function onStatistics(summary) {
  statistics.push(summary);
  while (statistics.length > 2 && summary.time - statistics[0].time > RATE_SECONDS) statistics.shift();
  const seconds = summary.time - statistics[0].time;
  const rate = (name) => (seconds > 0 ? (summary[name] - statistics[0][name]) / seconds : 0);
  setNumber("p50", summary.p50_ms.toFixed(1), "ms");
  setNumber("p95", summary.p95_ms.toFixed(1), "ms");
  setNumber("p99", summary.p99_ms.toFixed(1), "ms");
  if (seconds > 0) setNumber("rate", rate("frames").toFixed(1));
  setNumber("dropped", summary.dropped, "", rate("dropped") > 0);
  setNumber("stale", summary.stale, "", rate("stale") > 0);
  setNumber("losses", summary.losses);
  element("backend").textContent = summary.backend;
  if (summary.scanner) showScanner(summary.scanner);
  showState();
}

function setNumber(id, value, unit = "", warn = false) {
  element(id).replaceChildren(String(value), make("small", unit));
  element(id).classList.toggle("warn", warn);
}

function showScanner({ verdict, text, scanners: inFull }) {
  // Of a path, the end tells the scanners apart.
  const scanners = inFull.map((scanner) => ({ ...scanner, name: scanner.name.split("/").pop() }));
  element("scanner").hidden = false;
  const place = ["source", "target"].indexOf(verdict);
  element("verdict").textContent = text;
  element("verdict").className = verdict === "unknown" ? "warn" : "";
  element("distances").replaceChildren(...scanners.map(({ name, distance }, index) => {
    const row = make("li", "", index === place ? "best" : "");
    const track = make("span");
    const bar = make("i");
    // The middle of the track is the limit that 95 % of the scanner's own pictures keep.
    bar.style.transform = `scaleX(${Math.min((distance ?? 0) / 2, 1)})`;
    track.append(bar);
    row.append(make("span", name), make("span", distance === null ? "–" : distance.toFixed(1)), track);
    row.style.setProperty("--plane", distance > 1 ? "var(--warn)" : "var(--good)");
    return row;
  }));
}

function showState() {
  const [text, kind] = ended ? ["ended", "waiting"] : stateOf(statistics.at(-1), hello?.live, connected);
  element("state").textContent = text;
  element("state").className = `pill ${kind}`;
  document.body.classList.toggle("past", kind !== "live" && text !== "ended");
}

// ---- the picture: the next is asked for when the last has come, so a slow line shows fewer, never older ones ----

let loading = false, again = false, asked = 0;
const next = new Image();
next.onload = () => {
  element("picture").src = next.src;
  element("picture").hidden = false;
  loaded();
};
next.onerror = () => loaded();

function showPicture() {
  if (document.hidden) return;
  if (loading) {
    again = true;
    return;
  }
  loading = true;
  again = false;
  next.src = `picture?${asked++}`;
}

function onPicture(message) {
  loading = true;
  again = false;
  next.src = toUrl(message);
}

function loaded() {
  loading = false;
  if (again && connected) showPicture();
}

// ---- drawings ----

function prepare(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  context.textBaseline = "middle";
  return { context, width, height };
}

function drawLatency() {
  const { context, width, height } = prepare(element("latency"));
  const end = newest(), span = shownSeconds();
  const x = (time) => width * (1 - (end - time) / span);
  const highest = Math.max(10, ...samples.map((sample) => sample.latency_ms)) * 1.1;
  const y = (latency) => height - 1 - (height - 12) * (latency / highest);
  context.strokeStyle = EDGE;
  context.beginPath();
  context.moveTo(0, height - 0.5);
  context.lineTo(width, height - 0.5);
  context.stroke();
  context.fillStyle = QUIET;
  context.fillText(`${Math.round(highest)} ms`, 0, 6);
  context.strokeStyle = "#4cc9f0";
  context.lineWidth = 1.25;
  context.lineJoin = "round";
  context.beginPath();
  samples.forEach((sample, place) => {
    const gap = place === 0 || !belong(samples[place - 1], sample);
    context[gap ? "moveTo" : "lineTo"](x(sample.time), y(sample.latency_ms));
  });
  context.stroke();
}

function drawTimeline() {
  const { context, width, height } = prepare(element("timeline"));
  const end = newest(), span = shownSeconds(), left = 64;
  const x = (time) => left + (width - left) * (1 - Math.max(0, end - time) / span);
  const lanes = { held: [4, 36], frames: [48, 14] }; // top and height
  const axis = height - 10;
  context.fillStyle = QUIET;
  context.fillText("planes", 0, 22);
  context.fillText("frames", 0, 55);
  context.textAlign = "center";
  for (let ago = 0; ago < span - 1; ago += span > 60 ? 15 : 5) {
    const place = x(end - ago);
    context.fillStyle = EDGE;
    context.fillRect(place - 0.5, 2, 1, axis - 12);
    context.fillStyle = QUIET;
    context.textAlign = ago ? "center" : "right";
    context.fillText(ago ? `−${ago} s` : "now", place, axis);
  }
  context.textAlign = "left";
  const [top, tall] = lanes.frames;
  runs(samples, "label").forEach((run) => {
    context.fillStyle = colourOf(run.value);
    context.globalAlpha = 0.75;
    context.fillRect(x(run.start), top, Math.max(x(run.end) - x(run.start), 1), tall);
  });
  context.globalAlpha = 1;
  const last = events.at(-1)?.end ?? -Infinity;
  events.filter((event) => event.end > end - span)
    .forEach((event) => block(event.plane, event.start, event.end, event.best));
  const running = runs(samples, "plane").at(-1);
  if (running?.value && running.end > last) block(running.value, Math.max(running.start, last), running.end);

  function block(plane, start, stop, best) {
    const [upper, lane] = lanes.held;
    const from = x(start), wide = Math.max(x(stop) - from, 3);
    context.fillStyle = colourOf(plane);
    context.globalAlpha = 0.9;
    context.beginPath();
    context.roundRect(from, upper, wide, lane, 5);
    context.fill();
    context.globalAlpha = 1;
    context.save();
    context.clip();
    context.fillStyle = "#0a0e13";
    if (best !== undefined) context.fillRect(x(best) - 1, upper + lane - 8, 2, 8);
    if (wide > 30) context.fillText(plane, from + 7, upper + lane / 2);
    context.restore();
  }
}

function belong(earlier, later) {
  return earlier.session === later.session && later.time - earlier.time < GAP_SECONDS;
}

// Neighbouring samples that agree, as spans of time.
function runs(list, name) {
  const found = [];
  list.forEach((sample, place) => {
    const near = place > 0 && belong(list[place - 1], sample);
    if (near) found.at(-1).end = sample.time;
    if (!near || found.at(-1).value !== sample[name]) {
      found.push({ value: sample[name], start: sample.time, end: sample.time });
    }
  });
  return found;
}

setInterval(() => {
  if (hello && !ended && !document.hidden) {
    drawLatency();
    drawTimeline();
  }
}, 100);

// ---- the connection: the browser itself connects again where it is lost ----

const stream = new EventSource("events");
stream.onopen = () => { connected = true; };
stream.onerror = () => { connected = false; showState(); };
for (const [name, handle] of Object.entries({
  hello: onHello, frame: onFrame, event: onEvent, statistics: onStatistics, end: () => { ended = true; showState(); },
  best: onBest, picture: onPicture,
})) {
  stream.addEventListener(name, (message) => handle(JSON.parse(message.data)));
}
