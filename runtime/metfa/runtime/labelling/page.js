// One frame at a time, one key an answer. All text goes in as text, never as HTML: names come from files.

const POLL_MILLISECONDS = 1500; // other pages answer, too, and frames come and go
const SKIP = "";

let state = null;
let shown = null;    // the frame that is on the page, and can be answered
let waited = null;   // the one whose picture is being loaded
let busy = false;    // an answer is on its way
let given = JSON.parse(sessionStorage.getItem("given") ?? "[]"); // [name, answer] of this tab, for undo
const loaded = new Map(); // pictures of the queue, by name

const element = (id) => document.getElementById(id);
const pictureOf = (name) => `image?name=${encodeURIComponent(name)}`;
const spoken = (answer) => (answer === SKIP ? "skipped" : answer);

// ---- what the server knows ----

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("metfa-label does not answer. Nothing is lost: start it again.");
  }
  if (!(response.headers.get("content-type") ?? "").startsWith("application/json")) throw new Error(await response.text());
  const content = await response.json();
  if (!response.ok) throw new Error(content.problem);
  return content;
}

async function refresh() {
  try {
    take(await ask("state"));
    tell("");
  } catch (problem) {
    tell(problem.message);
  }
}

function tell(problem) {
  element("problem").textContent = problem;
  element("problem").hidden = !problem;
}

// Show what is new; the frame that somebody is looking at stays.
function take(news) {
  if (!state) build(news);
  state = news;
  news.classes.forEach((each, place) => {
    const button = element("classes").children[place].firstChild;
    button.classList.toggle("full", news.counts[place] >= news.wanted);
    button.querySelector("b").textContent = `${news.counts[place]} of ${news.wanted}`;
    button.querySelector("progress").value = Math.min(news.counts[place], news.wanted);
  });
  const labelled = news.counts.reduce((sum, count) => sum + count, 0);
  element("summary").textContent = `${labelled} labelled, ${news.skipped} skipped, ${news.open} open`;
  element("done").hidden = !news.counts.every((count) => count >= news.wanted);
  for (const name of loaded.keys()) if (!news.queue.includes(name) && name !== shown) loaded.delete(name);
  news.queue.forEach(load);
  if (shown === null && waited === null) next();
}

function build(news) {
  element("folder").textContent = news.folder;
  element("table").textContent = `Labels: ${news.table}`;
  element("classes").replaceChildren(...news.classes.map((each) => {
    const button = document.createElement("button");
    const progress = document.createElement("progress");
    const parts = ["kbd", "span", "b"].map((tag) => document.createElement(tag));
    parts[0].textContent = each.key.toUpperCase();
    parts[1].textContent = each.name;
    progress.max = news.wanted;
    progress.setAttribute("aria-hidden", "true"); // the number says it
    button.type = "button";
    button.setAttribute("aria-keyshortcuts", each.key.toUpperCase());
    button.append(...parts, progress);
    button.addEventListener("click", () => give(each.name));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

// ---- pictures ----

function load(name) {
  if (loaded.has(name)) return loaded.get(name);
  const image = new Image();
  image.alt = "The frame to label";
  image.src = pictureOf(name);
  const loading = image.decode().then(() => image);
  loading.catch(() => loaded.delete(name)); // it is asked for again, or no longer in the folder
  loaded.set(name, loading);
  return loading;
}

// Show a frame: the one that is named, or the first of the queue. Until its picture is there, no key answers it.
async function next(name = state.queue[0]) {
  shown = null;
  waited = name ?? null;
  enable();
  if (name === undefined) {
    element("picture").replaceChildren();
    element("message").textContent = state.open
      ? `Looking at the frames, ${state.unsorted} to go`
      : "All frames of the folder have an answer.";
    return;
  }
  let image;
  try {
    image = await load(name);
  } catch {
    if (waited === name) waited = null; // the next state tells which frames are there
    return;
  }
  if (waited !== name) return;
  element("picture").replaceChildren(image);
  element("message").textContent = "";
  waited = null;
  shown = name;
  enable();
}

function enable() {
  const can = shown !== null && !busy;
  for (const button of document.querySelectorAll("#classes button, #skip")) button.ariaDisabled = String(!can);
  element("undo").ariaDisabled = String(busy || !given.length);
}

// ---- answers ----

async function send(name, answer, before) {
  busy = true;
  try {
    const body = JSON.stringify({ name, answer, before });
    const news = await ask("answer", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    tell("");
    return news;
  } finally {
    busy = false;
  }
}

function remember(answers) {
  given = answers;
  sessionStorage.setItem("given", JSON.stringify(given));
}

async function give(answer) {
  if (busy || shown === null) return;
  const name = shown;
  try {
    const news = await send(name, answer, null);
    remember([...given, [name, answer]]);
    shown = null;
    take(news);
    element("last").textContent = `The last frame: ${spoken(answer)}.`;
  } catch (problem) {
    await goOn(problem);
  }
}

async function undo() {
  if (busy || !given.length) return;
  const [name, answer] = given.at(-1);
  remember(given.slice(0, -1));
  try {
    const news = await send(name, null, answer);
    element("last").textContent = `No longer ${spoken(answer)}.`;
    shown = name; // so that no other frame comes first
    take(news);
    await next(name);
  } catch (problem) {
    await goOn(problem);
  }
}

// After an answer that was not taken: whatever the reason, the state says what there is to answer.
async function goOn(problem) {
  try {
    const news = await ask("state");
    if (!news.queue.includes(shown)) shown = null;
    take(news);
  } catch {
    // the first problem says more
  }
  tell(problem.message);
  enable();
}

// ---- keys and buttons ----

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !state) return;
  const key = event.key.toLowerCase();
  if (key === " ") {
    if (event.target.matches("button:focus-visible")) return; // it presses the button that somebody went to
    event.preventDefault();
    give(SKIP);
  } else if (key === "u" || key === "backspace") {
    event.preventDefault();
    undo();
  } else {
    const label = state.classes.find((each) => each.key === key);
    if (label) give(label.name);
  }
});
// A button that the mouse pressed must not take the next Space.
addEventListener("click", (event) => { if (event.detail) event.target.closest("button")?.blur(); });
element("skip").addEventListener("click", () => give(SKIP));
element("undo").addEventListener("click", undo);

refresh();
setInterval(() => { if (!busy) refresh(); }, POLL_MILLISECONDS);
