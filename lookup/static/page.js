// The page: requests for a user's lists, rendering, and errors.

import { Refused, find, get, useKey } from "./api.js";
import { age, element, metricsRow, movie, named, rating } from "./view.js";

const PAGE_SIZE = 20;
const RANKERS = [
  ["model", "This model"],
  ["ease", "EASE"],
  ["item_knn", "Item-kNN"],
  ["popularity", "Popularity"],
];

const TITLE = document.title;

const $ = (id) => document.getElementById(id);

let about = null;
let current = null; // the list on the page: its user, genre and length
let pending = null; // aborts the last request when another one begins
let again = () => {};

// --- actions -------------------------------------------------------------------------

async function start() {
  await attempt(start, async () => {
    about = await find("/about");
    if (about) {
      showAbout();
    } else {
      showOrigin(await get("/ready"));
    }
    const asked = new URLSearchParams(location.search).get("user");
    if (asked) await open(asked);
  });
}

function ask(userId) {
  history.pushState(null, "", `?${new URLSearchParams({ user: userId })}`);
  return attempt(() => ask(userId), () => open(userId));
}

async function open(userId) {
  $("user").value = userId;
  $("genre").value = "";
  const signal = renewed();
  const path = encodeURIComponent(userId);
  busy(true);
  const [user, list] = await Promise.all([
    find(`/users/${path}`, {}, signal),
    get(`/recommend/${path}`, wanted(0, ""), signal),
  ]).catch((error) => {
    // else an error for this user would stand above the lists of another
    if (error.name !== "AbortError") $("main").hidden = true;
    throw error;
  });
  current = { userId: list.user_id, genre: "", length: 0 };
  showUser(user, list);
  showOrigin(list);
  $("list").replaceChildren();
  showList(list);
  $("main").hidden = false;
  $("welcome").hidden = true;
}

async function filter() {
  if (!current) return;
  const genre = $("genre").value;
  await attempt(filter, async () => {
    const list = await page(0, genre);
    current = { ...current, genre, length: 0 };
    $("list").replaceChildren();
    showList(list);
  });
}

async function more() {
  await attempt(more, async () => {
    const first = current.length;
    showList(await page(first, current.genre));
    $("list").children[first]?.querySelector("button").focus();
  });
}

async function openSimilar(item) {
  $("similar-title").textContent = `Like ${named(item.title)}`;
  $("similar-note").textContent = "Looking…";
  $("similar-list").replaceChildren();
  if (!$("similar").open) $("similar").showModal();
  try {
    const list = await get(`/similar/${encodeURIComponent(item.item_id)}`, size());
    $("similar-list").append(...list.items.map((other) => movie(other, openSimilar)));
    $("similar-note").textContent = list.items.length
      ? "Rated by the same people; the number is the similarity, up to 1."
      : "Too few people rated it.";
  } catch (error) {
    $("similar-note").textContent = explained(error);
  }
  $("close").focus();
  $("similar").scrollTop = 0;
}

// --- rendering -----------------------------------------------------------------------

function showAbout() {
  showOrigin(about);
  const [users, items] = [about.n_users, about.n_items].map((n) => n.toLocaleString("en"));
  $("extent").textContent = `There are ${users} users and ${items} ${things()}.`;
  document.body.classList.toggle("unrated", !about.has_ratings);
  $("genre").append(...about.genres.map((name) => element("option", {}, name)));
  if (typeof about.examples[0] === "string") {
    for (const name of ["pattern", "title", "inputmode"]) $("user").removeAttribute(name);
    $("user").placeholder = about.examples[0];
  }
  const picks = about.examples.map((userId) => {
    const button = element("button", { type: "button", class: "pick" }, String(userId));
    button.setAttribute("aria-label", `User ${userId}`);
    button.addEventListener("click", () => ask(String(userId)));
    return button;
  });
  $("examples").append(...picks);
  $("examples").hidden = picks.length === 0;
  const known = RANKERS.filter(([name]) => about.metrics[name]?.ndcg_at_10 !== undefined);
  const best = Math.max(...known.map(([name]) => about.metrics[name].ndcg_at_10)) || 1;
  const rows = known.map(([name, words]) =>
    metricsRow(words, about.metrics[name], best, name === "model"));
  $("metrics").replaceChildren(...rows);
  $("protocol").textContent = about.protocol ? `Protocol: ${about.protocol}.` : "";
  $("measured").hidden = rows.length === 0;
}

// What the items are called.
function things() {
  return about?.has_films === false ? "items" : "movies";
}

function showOrigin(of) {
  const version = `Model version ${of.model_version}, scored `;
  const generation = element("span", { class: "generation" }, of.generation);
  $("origin").replaceChildren(version, age(of.scored_at), " · generation ", generation);
}

function showUser(user, list) {
  const who = list.user_id;
  document.title = `User ${who} · ${TITLE}`;
  $("rated-title").textContent = user ? `User ${who} rated` : `User ${who}`;
  $("rated-note").textContent = user
    ? `${user.n_ratings} ${things()}.`
    : `No user has this id, so these are the popular ${things()}.`;
  $("rated-lists").hidden = user === null;
  const rows = (items) => items.map((item) => rating(item, openSimilar));
  $("highest").replaceChildren(...rows(user?.highest ?? []));
  $("last").replaceChildren(...rows(user?.last ?? []));
  const isPersonal = list.source === "personal";
  $("recommended-title").textContent = isPersonal
    ? `Recommended to user ${who}` : "What most people rated";
}

const REASONS = {
  unknown_user: "An unknown user gets",
  too_little_data: "There are too few ratings to learn from, so everybody gets",
};

function showList(list) {
  $("list").append(...list.items.map((item) => movie(item, openSimilar)));
  current.length += list.items.length;
  $("more").hidden = list.items.length < list.k;
  const of = current.genre ? ` of the genre ${current.genre}` : "";
  const isPersonal = list.source === "personal";
  let note = isPersonal
    ? "Best first. Nothing here was rated before; the number is the model's score."
    : `${REASONS[list.fallback_reason]} the popular list; the number counts ratings.`;
  if (current.length === 0) {
    note = current.genre ? `Nothing${of} is in this list.` : "Everything there is has been rated.";
  }
  $("recommended-note").textContent = note;
  const kind = isPersonal ? "recommendations" : `popular ${things()}`;
  $("status").textContent = `${current.length} ${kind}${of} for user ${current.userId}`;
}

// --- errors --------------------------------------------------------------------------

// Run an action, and offer to retry it if it fails.
async function attempt(retry, action) {
  $("trouble").hidden = true;
  $("key-form").hidden = true;
  try {
    await action();
  } catch (error) {
    if (error.name === "AbortError") return;
    again = retry;
    if (error.status === 401) {
      $("key-form").hidden = false;
      $("key").focus();
    } else {
      $("trouble-text").textContent = explained(error);
      $("retry").hidden = error.status === 422; // a retry would fail again
      $("trouble").hidden = false;
    }
  }
  busy(false);
}

function explained(error) {
  if (!(error instanceof Refused)) return `Something went wrong: ${error.message}`;
  if (error.code === "no_generation") {
    return "Nothing has been published yet. A batch has to run first.";
  }
  if (error.status === 503) return "The lists cannot be read just now. Try again in a moment.";
  return error.message;
}

// --- requests ------------------------------------------------------------------------

// While the length of lists is unknown, let the API use its default.
function size() {
  return about ? { k: Math.min(PAGE_SIZE, about.top_n) } : {};
}

function wanted(offset, genre) {
  return { ...size(), offset, because: 1, ...(genre ? { genre } : {}) };
}

function page(offset, genre) {
  busy(true);
  return get(`/recommend/${current.userId}`, wanted(offset, genre), renewed());
}

function renewed() {
  pending?.abort();
  pending = new AbortController();
  return pending.signal;
}

function busy(is) {
  $("main").setAttribute("aria-busy", String(is));
}

// --- events --------------------------------------------------------------------------

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask($("user").value.trim());
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value);
  $("key").value = "";
  (about ? again : start)();
});
$("retry").addEventListener("click", () => (about ? again : start)());
$("genre").addEventListener("change", filter);
$("more").addEventListener("click", more);
$("close").addEventListener("click", () => $("similar").close());
$("similar").addEventListener("click", (event) => {
  if (event.target === $("similar")) $("similar").close(); // outside the dialog
});
addEventListener("popstate", returned);

function returned() {
  const asked = new URLSearchParams(location.search).get("user");
  if (asked) {
    attempt(returned, () => open(asked));
  } else {
    $("main").hidden = true;
    $("welcome").hidden = false;
    document.title = TITLE;
    $("user").value = "";
  }
}

start();
