// What /overview says, as a tile for each source. All text goes in as text, never as HTML.

import { colourOf, decision, element, make, stateOf } from "./common.js";

const PICTURE_SECONDS = 0.5; // between two pictures of a tile

let tiles = [];
let connected = false;
let ended = false;

function makeTile(name, number) {
  const tile = make("a", "", "card tile");
  tile.href = `${number}/`;
  const picture = make("img");
  picture.alt = `The newest frame of ${name}`;
  picture.hidden = true;
  const caption = make("div", "", "caption");
  caption.append(make("b"), make("span"));
  const head = make("p");
  head.append(make("b", name), make("span", "", "pill"));
  tile.append(head, picture, caption);
  element("tiles").append(tile);
  return { tile, picture, number, shown: 0, askedAt: 0 };
}

function onOverview({ sources }) {
  if (tiles.length !== sources.length) {
    element("tiles").replaceChildren();
    tiles = sources.map(({ name }, place) => makeTile(name, place + 1));
  }
  sources.forEach((source, place) => show(source, tiles[place]));
  const live = sources.filter(({ statistics }) => !statistics.ended).length;
  element("state").textContent = ended ? "ended" : `${live} of ${sources.length} running`;
  element("state").className = `pill ${ended || live < sources.length ? "waiting" : "live"}`;
}

function show(source, one) {
  const [text, kind] = stateOf(source.statistics, source.live, connected || ended);
  const pill = one.tile.querySelector(".pill");
  pill.textContent = text;
  pill.title = text;
  pill.className = `pill ${kind}`;
  one.tile.classList.toggle("past", kind !== "live" && !source.statistics.ended);
  if (source.frame === null) return;
  const [label, sure] = decision(source.frame);
  const [of_label, of_share] = one.tile.querySelector(".caption").children;
  of_label.textContent = label;
  of_share.textContent = sure;
  one.tile.classList.toggle("undecided", source.frame.plane === null);
  one.tile.style.setProperty("--plane", colourOf(source.frame.plane, source.labels));
  const now = performance.now() / 1000;
  if (document.hidden || one.shown === source.frame.number || now - one.askedAt < PICTURE_SECONDS) return;
  one.shown = source.frame.number;
  one.askedAt = now;
  const next = new Image(); // swapped in when it has come, so that nothing flickers
  next.onload = () => {
    one.picture.src = next.src;
    one.picture.hidden = false;
  };
  next.src = `${one.number}/thumbnail?${one.shown}`;
}

const stream = new EventSource("overview");
stream.onopen = () => { connected = true; };
stream.onerror = () => {
  connected = false;
  if (ended) return;
  element("state").textContent = "not connected";
  element("state").className = "pill lost";
};
stream.addEventListener("end", () => {
  ended = true;
  element("state").textContent = "ended";
  element("state").className = "pill waiting";
});
stream.addEventListener("overview", (message) => {
  ended = false;
  onOverview(JSON.parse(message.data));
});
