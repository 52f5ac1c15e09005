// The page: who is asked for, what is shown of them, and what goes wrong.

import { Refused, find, get, useKey } from "./api.js";
import { age, element, metricsRow, movie, named, rating } from "./view.js";

const PAGE_SIZE = 20;
const RANKERS = [["model", "This model"], ["item_knn", "Item-kNN"], ["popularity", "Popularity"]];

const $ = (id) => document.getElementById(id);

let about = null;
let shown = null; // whose list it is, of which genre, and how much of it there is
let asking = null; // what is under way is given up when something else is asked
let again = () => {};

// --- what happens --------------------------------------------------------------------

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
    // what is said of this user must not stand above the lists of another
    if (error.name !== "AbortError") $("main").hidden = true;
    throw error;
  });
  shown = { userId: list.user_id, genre: "", length: 0 };
  showUser(user, list);
  showOrigin(list);
  $("list").replaceChildren();
  showList(list);
  $("main").hidden = false;
  $("welcome").hidden = true;
}

async function filter() {
  if (!shown) return;
  const genre = $("genre").value;
  await attempt(filter, async () => {
    const list = await page(0, genre);
    shown = { ...shown, genre, length: 0 };
    $("list").replaceChildren();
    showList(list);
  });
}

async function more() {
  await attempt(more, async () => {
    const first = shown.length;
    showList(await page(first, shown.genre));
    $("list").children[first]?.querySelector("button").focus();
  });
}

async function openSimilar(item) {
  $("similar-title").textContent = `Like ${named(item.title)}`;
  $("similar-note").textContent = "Looking…";
  $("similar-list").replaceChildren();
  if (!$("similar").open) $("similar").showModal();
  try {
    const list = await get(`/similar/${item.item_id}`, size());
    $("similar-list").append(...list.items.map((other) => movie(other, openSimilar)));
    $("similar-note").textContent = list.items.length
      ? "Rated by the same people; the number says how much so, up to 1."
      : "Too few people rated it to tell.";
  } catch (error) {
    $("similar-note").textContent = explained(error);
  }
  $("close").focus();
  $("similar").scrollTop = 0;
}

// --- what is shown -------------------------------------------------------------------

function showAbout() {
  showOrigin(about);
  const [users, items] = [about.n_users, about.n_items].map((n) => n.toLocaleString("en"));
  $("extent").textContent = `There are ${users} users and ${items} movies.`;
  $("genre").append(...about.genres.map((name) => element("option", {}, name)));
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

function showOrigin(of) {
  const version = `Model version ${of.model_version}, scored `;
  const generation = element("span", { class: "generation" }, of.generation);
  $("origin").replaceChildren(version, age(of.scored_at), " · generation ", generation);
}

function showUser(user, list) {
  const who = list.user_id;
  document.title = `User ${who} · MovieLens-XGB`;
  $("rated-title").textContent = user ? `User ${who} rated` : `User ${who}`;
  $("rated-note").textContent = user
    ? `${user.n_ratings} movies.`
    : "Nobody of this id has rated anything, so there is nothing to go by.";
  $("rated-lists").hidden = user === null;
  const rows = (items) => items.map((item) => rating(item, openSimilar));
  $("highest").replaceChildren(...rows(user?.highest ?? []));
  $("last").replaceChildren(...rows(user?.last ?? []));
  const isPersonal = list.source === "personal";
  $("recommended-title").textContent = isPersonal
    ? `Recommended to user ${who}` : "What most people rated";
}

function showList(list) {
  $("list").append(...list.items.map((item) => movie(item, openSimilar)));
  shown.length += list.items.length;
  $("more").hidden = list.items.length < list.k;
  const of = shown.genre ? ` of the genre ${shown.genre}` : "";
  const isPersonal = list.source === "personal";
  let note = isPersonal
    ? "Best first. Nothing here was rated before; the number is the model's score."
    : "An unknown user gets the popular list; the number counts ratings.";
  if (shown.length === 0) {
    note = shown.genre ? `Nothing${of} is in this list.` : "Everything there is has been rated.";
  }
  $("recommended-note").textContent = note;
  const kind = isPersonal ? "recommendations" : "popular movies";
  $("status").textContent = `${shown.length} ${kind}${of} for user ${shown.userId}`;
}

// --- what goes wrong -----------------------------------------------------------------

// Do something, and offer to do it again if that fails.
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
      $("retry").hidden = error.status === 422; // it would be as wrong again
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

// --- what is asked -------------------------------------------------------------------

// Without knowing how long lists are, the API's own usual size is safe to ask for.
function size() {
  return about ? { k: Math.min(PAGE_SIZE, about.top_n) } : {};
}

function wanted(offset, genre) {
  return { ...size(), offset, because: 1, ...(genre ? { genre } : {}) };
}

function page(offset, genre) {
  busy(true);
  return get(`/recommend/${shown.userId}`, wanted(offset, genre), renewed());
}

function renewed() {
  asking?.abort();
  asking = new AbortController();
  return asking.signal;
}

function busy(is) {
  $("main").setAttribute("aria-busy", String(is));
}

// --- who begins ----------------------------------------------------------------------

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
  if (event.target === $("similar")) $("similar").close(); // outside of it
});
addEventListener("popstate", returned);

function returned() {
  const asked = new URLSearchParams(location.search).get("user");
  if (asked) {
    attempt(returned, () => open(asked));
  } else {
    $("main").hidden = true;
    $("welcome").hidden = false;
    document.title = "MovieLens-XGB";
    $("user").value = "";
  }
}

start();
