// The page: requests for a user's lists, rendering, and errors.

import { explained, find, get, useKey } from "./api.js";
import * as picks from "./picks.js";
import { beside, other, spread } from "./users.js";
import { CATALOGUE, NOTES, age, drawBars, element, metricsRow, movie, named, rating } from "./view.js";

const PAGE_SIZE = 20;
const N_EXAMPLES = 8;
const RANKERS = [
  ["model", "This model"],
  ["ease", "EASE"],
  ["item_knn", "Item-kNN"],
  ["popularity", "Popularity"],
];

const TITLE = document.title;

const $ = (id) => document.getElementById(id);

let about = null;
// the list on the page: its path and parameters, whose it is, its genre and length
let current = null;
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
    await openAsked();
  });
}

// Show what the address asks for: a user, picks, or a list of all.
async function openAsked() {
  const asked = new URLSearchParams(location.search);
  const userId = asked.get("user");
  if (userId) return openUser(userId);
  await picks.restore(asked.getAll("items"));
  return picks.picked().length ? openPicks() : openCatalogue(asked.get("list"));
}

function go(query) {
  history.pushState(null, "", query || location.pathname);
  return reopen();
}

function reopen() {
  return attempt(reopen, openAsked);
}

function ask(userId) {
  return go(`?${new URLSearchParams({ user: userId })}`);
}

async function openUser(userId) {
  $("user").value = userId;
  const path = encodeURIComponent(userId);
  const wanted = { path: `/recommend/${path}`, because: 1, verb: "they rated" };
  const [list, user] = await open(wanted, (signal) => find(`/users/${path}`, {}, signal));
  current.whose = `user ${list.user_id}`;
  showUser(user, list);
  showList(list);
}

async function openPicks() {
  const items = picks.picked().map((item) => ["item_id", item.item_id]);
  const wanted = { path: "/session", items, because: 1, verb: "you picked", whose: "your picks" };
  const [list] = await open(wanted);
  showPlace("What comes next", `Your picks · ${TITLE}`);
  showList(list);
}

async function openCatalogue(asked) {
  const name = Object.hasOwn(CATALOGUE, asked ?? "") ? asked : "popular";
  const [list] = await open({ path: `/${name}`, name, whose: "everybody" });
  showPlace(CATALOGUE[name][0], TITLE);
  for (const link of $("catalogue").children) {
    const isThis = (new URLSearchParams(link.search).get("list") ?? "popular") === name;
    if (isThis) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  showList(list);
}

// Request a list, and what stands beside it; then make room for them.
async function open(wanted, beside = () => null) {
  const signal = renewed();
  busy(true);
  const found = await Promise.all([get(wanted.path, parameters(wanted, 0), signal), beside(signal)])
    .catch((error) => {
      // else an error for this list would stand above another
      if (error.name !== "AbortError") $("main").hidden = true;
      throw error;
    });
  const isOfUser = wanted.path.startsWith("/recommend/");
  current = { ...wanted, genre: "", length: 0 };
  $("genre").value = "";
  if (!isOfUser) $("user").value = "";
  $("rated").hidden = $("previous").hidden = $("next").hidden = !isOfUser;
  $("picker").hidden = isOfUser;
  $("catalogue").hidden = !wanted.name;
  $("welcome").hidden = !wanted.name;
  $("main").hidden = false;
  $("list").replaceChildren();
  showOrigin(found[0]);
  return found;
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

async function step(by) {
  await attempt(() => step(by), async () => {
    const userId = await beside(current.userId, by, about?.examples ?? []);
    if (userId === null) {
      $("status").textContent = $("rated-note").textContent = "There is no user beside this one.";
    } else {
      await ask(userId);
    }
  });
}

async function openSimilar(item) {
  $("similar-title").textContent = `Like ${named(item.title)}`;
  $("similar-note").textContent = "Looking…";
  $("similar-list").replaceChildren();
  if (!$("similar").open) $("similar").showModal();
  try {
    const list = await get(`/similar/${encodeURIComponent(item.item_id)}`, size());
    $("similar-list").append(...list.items.map((like) => movie(like, openSimilar)));
    drawBars($("similar-list"));
    $("similar-note").textContent = list.items.length
      ? "Rated by the same people."
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
  $("picker-title").textContent = `Not a user? Pick ${things()} you like`;
  $("random").hidden = about.examples.length < 2;
  const buttons = spread(about.examples, N_EXAMPLES).map((userId) => {
    const button = element("button", { type: "button", class: "pick" }, String(userId));
    button.setAttribute("aria-label", `User ${userId}`);
    button.addEventListener("click", () => ask(String(userId)));
    return button;
  });
  $("examples").append(...buttons);
  $("examples").hidden = buttons.length === 0;
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
  return about?.has_films === false ? "items" : "films";
}

function showOrigin(of) {
  const version = `Model version ${of.model_version}, scored `;
  const generation = element("span", { class: "generation" }, of.generation);
  $("origin").replaceChildren(version, age(of.scored_at), " · generation ", generation);
}

// Name the list and the page.
function showPlace(heading, title) {
  $("recommended-title").textContent = heading;
  document.title = title;
}

function showUser(user, list) {
  const who = current.userId = list.user_id;
  $("rated-title").textContent = user ? `User ${who} rated` : `User ${who}`;
  $("rated-note").textContent = user
    ? `${user.n_ratings} ${things()}.`
    : `No user has this id, so these are the popular ${things()}.`;
  $("rated-lists").hidden = user === null;
  const rows = (items) => items.map((item) => rating(item, openSimilar));
  $("highest").replaceChildren(...rows(user?.highest ?? []));
  $("last").replaceChildren(...rows(user?.last ?? []));
  const isPersonal = list.source === "personal";
  const heading = isPersonal ? `Recommended to user ${who}` : CATALOGUE.popular[0];
  showPlace(heading, `User ${who} · ${TITLE}`);
}

function pickListed(item) {
  picks.pick(item);
  $("recommended").focus({ preventScroll: true }); // its button is about to go
}

function showList(list) {
  // a user's films are not picks
  const onPick = current.userId === undefined ? pickListed : undefined;
  const options = { verb: current.verb, onPick };
  $("list").append(...list.items.map((item) => movie(item, openSimilar, options)));
  drawBars($("list"));
  current.length += list.items.length;
  $("more").hidden = list.items.length < list.k;
  const of = current.genre ? ` of the genre ${current.genre}` : "";
  let note = current.name ? CATALOGUE[current.name][1] : NOTES[list.fallback_reason ?? list.source];
  if (current.length === 0) {
    note = of ? `Nothing${of} is in this list.` : "There is nothing more to recommend.";
  }
  $("recommended-note").textContent = note ?? "";
  const isPopular = list.source === "popular";
  const kind = isPopular || current.name ? `${list.source} ${things()}` : "recommendations";
  $("status").textContent = `${current.length} ${kind}${of} for ${current.whose}`;
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

// --- requests ------------------------------------------------------------------------

// While the length of lists is unknown, let the API use its default.
function size() {
  return about ? { k: Math.min(PAGE_SIZE, about.top_n) } : {};
}

function parameters({ because, items = [] }, offset, genre) {
  const one = { ...size(), offset, ...(because && { because }), ...(genre && { genre }) };
  return [...items, ...Object.entries(one)];
}

function page(offset, genre) {
  busy(true);
  return get(current.path, parameters(current, offset, genre), renewed());
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
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("random").addEventListener("click", () => ask(other(current?.userId, about.examples)));
for (const link of [$("home"), ...$("catalogue").children]) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a tab of its own
    event.preventDefault(); // a key that was typed is gone with the page
    go(link.search);
  });
}
addEventListener("popstate", reopen);
picks.listen(() => go(picks.query()));

// on a phone, what a user rated is one line above the recommendations
const narrow = matchMedia("(max-width: 46rem)");
const fold = () => { $("rated-details").open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();

start();
