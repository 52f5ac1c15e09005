// The films that a visitor picks: a search with suggestions, and chips.

import { explained, find, get } from "./api.js";
import { element, named } from "./view.js";

const TYPING_MS = 150; // a pause in typing, after which it is searched
const MAX_PICKS = 50;

const $ = (id) => document.getElementById(id);

let picks = []; // items, in the order in which they were picked
let suggestions = [];
let active = -1; // the suggestion that the keys have reached
let pending = null;
let timer = 0;
let onChange = () => {};
let nRestored = 0;

export function picked() {
  return picks;
}

// Call a function after each change by the visitor.
export function listen(changed) {
  onChange = changed;
}

// Pick the items that an address names; unknown ones are left out.
export async function restore(given) {
  const mine = ++nRestored;
  const wanted = [...new Set(await idsOf(given))].slice(0, MAX_PICKS);
  const have = new Map(picks.map((item) => [String(item.item_id), item]));
  const found = wanted.map((id) => have.get(id) ?? find(`/items/${encodeURIComponent(id)}`));
  const items = (await Promise.all(found)).filter((item) => item !== null);
  if (mine !== nRestored) return; // another address has been opened since
  // drawn anew, the chips would lose the focus
  if (items.length === picks.length && items.every((item, i) => item === picks[i])) return;
  picks = items;
  showChips();
}

// Commas part ids where these are numbers; a text may hold some.
async function idsOf(given) {
  if (!given.some((text) => text.includes(","))) return given;
  const [first] = (await get("/popular", { k: 1 })).items;
  if (typeof first?.item_id !== "number") return given;
  return given.flatMap((text) => text.split(",").filter((id) => id !== ""));
}

export function pick(item) {
  close();
  $("find").value = "";
  if (picks.length === MAX_PICKS) {
    $("picker-note").textContent = `${MAX_PICKS} are the most.`;
  } else if (!picks.some((other) => other.item_id === item.item_id)) {
    picks = [...picks, item];
    showChips();
    onChange();
  }
}

// "50,181": numbers share a parameter; texts, which may hold commas, have one each.
export function query() {
  const ids = picks.map((item) => item.item_id);
  if (ids.every((id) => typeof id === "number")) return ids.length ? `?items=${ids.join(",")}` : "";
  return `?${new URLSearchParams(ids.map((id) => ["items", id]))}`;
}

function showChips() {
  const chips = picks.map((item, i) => {
    const name = named(item.title);
    const remove = element("button", { type: "button", "aria-label": `Remove ${name}` }, "✕");
    remove.addEventListener("click", () => {
      picks = picks.filter((other) => other !== item);
      showChips();
      ($("picks").children[Math.min(i, picks.length - 1)]?.querySelector("button") ?? $("find")).focus();
      onChange();
    });
    return element("li", { class: "chip", "data-item": item.item_id }, name, remove);
  });
  $("picks").replaceChildren(...chips);
  $("picker-note").textContent = "";
}

async function suggest() {
  const text = $("find").value.trim();
  pending?.abort();
  if (!text) return close();
  pending = new AbortController();
  try {
    const found = await get("/search", { q: text }, pending.signal);
    showSuggestions(found.items.filter((item) => !picks.some((p) => p.item_id === item.item_id)));
  } catch (error) {
    if (error.name === "AbortError") return;
    close();
    $("picker-note").textContent = explained(error);
  }
}

function showSuggestions(items) {
  suggestions = items;
  const options = items.map((item, i) => {
    const year = item.year === null ? "" : ` ${item.year}`;
    const option = element("li", { role: "option", id: `found-${i}`, "aria-selected": "false" });
    option.append(named(item.title), element("span", { class: "quiet" }, year));
    option.addEventListener("pointerdown", (event) => event.preventDefault()); // keep the focus
    option.addEventListener("click", () => pick(item));
    return option;
  });
  $("found").replaceChildren(...options);
  $("found").hidden = items.length === 0;
  $("find").setAttribute("aria-expanded", String(items.length > 0));
  const count = items.length === 1 ? "1 suggestion" : `${items.length} suggestions`;
  $("status").textContent = items.length ? count : "";
  $("picker-note").textContent = items.length ? "" : "No title matches.";
  reach(-1);
}

function close() {
  clearTimeout(timer);
  pending?.abort();
  suggestions = [];
  $("found").hidden = true;
  $("found").replaceChildren();
  $("find").setAttribute("aria-expanded", "false");
  $("picker-note").textContent = "";
  reach(-1);
}

// Mark a suggestion as the one that Enter picks.
function reach(place) {
  active = place;
  [...$("found").children].forEach((option, i) => {
    option.setAttribute("aria-selected", String(i === place));
    if (i === place) option.scrollIntoView({ block: "nearest" });
  });
  if (place < 0) {
    $("find").removeAttribute("aria-activedescendant");
  } else {
    $("find").setAttribute("aria-activedescendant", `found-${place}`);
  }
}

$("find").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(suggest, TYPING_MS);
});
$("find").addEventListener("blur", close);
$("find").addEventListener("keydown", (event) => {
  const n = suggestions.length;
  if (event.key === "Escape") {
    close();
  } else if (event.key === "Enter") {
    if (n) pick(suggestions[Math.max(active, 0)]);
    else suggest();
  } else if (event.key === "ArrowDown" && n) {
    reach((active + 1) % n);
  } else if (event.key === "ArrowUp" && n) {
    reach(active <= 0 ? n - 1 : active - 1);
  } else {
    return;
  }
  event.preventDefault();
});
