// What the page of a source and the grid of several share.

const COLOURS = [
  "#4cc9f0", "#ffb454", "#5ee0a0", "#ff7b9c", "#b69cff", "#ffe066", "#5c96ff",
  "#ff8a5c", "#2dd4bf", "#e879f9", "#c5e063", "#fda4af", "#93c5fd", "#d4a373",
];
const STATUSES = { frozen: "frozen picture", saturated: "saturated picture" };
const SILENCE_SECONDS = 1.5; // without a frame, after which the page says so

export const QUIET = "#8494a4";

export const element = (id) => document.getElementById(id);
export const percent = (share) => `${Math.round(100 * share)}%`;

export function make(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

export function colourOf(plane, labels) {
  const place = labels.indexOf(plane);
  if (place < 0) return QUIET;
  return COLOURS[place] ?? `hsl(${(place * 137.508) % 360} 75% 68%)`;
}

export function clock(time) {
  const seconds = Math.max(0, Math.floor(time));
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60].map((part) => String(part).padStart(2, "0"));
  return seconds >= 3600 ? `${Math.floor(seconds / 3600)}:${parts.join(":")}` : parts.join(":");
}

// What a frame shows: the plane with how sure that is, or why there is none.
export function decision(frame) {
  if (frame.plane !== null) return [frame.plane, percent(frame.plane_confidence)];
  return [STATUSES[frame.status] ?? frame.status, ""];
}

// What the pill of a source says, and its kind.
export function stateOf(summary, live, connected) {
  if (summary?.failure) return [summary.failure, "lost"];
  if (summary?.ended) return ["ended", "waiting"];
  if (!connected) return ["not connected", "lost"];
  if (!summary?.frames) return ["waiting for frames", "waiting"];
  if (summary.idle_s > SILENCE_SECONDS) return [`no frame for ${Math.round(summary.idle_s)} s`, "waiting"];
  return [`${live ? "live" : "recording"} ${clock(summary.time)}`, "live"];
}
