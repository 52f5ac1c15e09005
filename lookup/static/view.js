// Makes elements from responses. Typed or published strings become plain text.

const ARTICLE = /^(.+), (The|A|An|La|Le|Les|Il|El|Das|Der|Die)$/;

// The lists of all: heading and note.
export const CATALOGUE = {
  popular: ["What most people rated", "The bar counts ratings."],
  trending: ["Trending", "Rated most of late."],
  new: ["New", "What came last."],
};

// What a list is, by its fallback_reason or source.
export const NOTES = {
  personal: "Best first. Nothing here was rated before; the bar is the model's score.",
  session: "Best first; changes with each pick.",
  unknown_user: "An unknown user gets the popular list; the bar counts ratings.",
  unknown_items: "Nothing follows from these picks, so this is the popular list.",
  too_little_data:
    "There are too few ratings to learn from, so everybody gets the popular list; "
    + "the bar counts ratings.",
};

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    made.setAttribute(attribute, value);
  }
  made.append(...children); // strings become text nodes
  return made;
}

// "Wrong Trousers, The (1993)" → "The Wrong Trousers"; the year is shown elsewhere.
export function named(title) {
  const bare = title.replace(/\s*\(\d{4}\)\s*$/, "") || title;
  return bare.replace(ARTICLE, "$2 $1");
}

// An entry of a list. `onPick`, if given, adds a button that picks the item, and
// `verb` says what the items that explain it are: such as "they rated".
export function movie(item, onSimilar, { onPick, verb = "they rated" } = {}) {
  const text = element("div", { class: "text" }, opener(item, onSimilar), facts(item));
  if (item.because?.length) text.append(because(item.because, verb));
  const words = `score ${scored(item.score)}`;
  const score = element("data", { class: "score", value: item.score, title: words });
  score.append(element("span", { class: "hidden" }, words), element("span", { class: "bar" }));
  const row = element("li", { "data-rank": item.rank, "data-item": item.item_id }, text, score);
  if (onPick) {
    const label = `Pick ${named(item.title)}`;
    const button = element("button", { type: "button", class: "plain", "aria-label": label }, "+");
    button.title = "I like this";
    button.addEventListener("click", () => onPick(item));
    row.append(button);
  }
  return row;
}

// Draw the scores of a list as bars, the longest one for the best.
export function drawBars(list) {
  const scores = [...list.querySelectorAll(".score")];
  const values = scores.map((score) => Number(score.value));
  const low = Math.min(0, ...values); // scores of a model may be negative
  const length = Math.max(...values) - low || 1;
  scores.forEach((score, i) => {
    score.lastChild.style.setProperty("--share", (values[i] - low) / length);
  });
}

export function rating(item, onSimilar) {
  const text = element("div", { class: "text" }, opener(item, onSimilar), facts(item));
  const stars = element("span", { class: "stars" }, `${item.rating} `);
  stars.append(
    element("span", { "aria-hidden": "true" }, "★"),
    element("span", { class: "hidden" }, "of 5 stars"),
  );
  return element("li", { "data-item": item.item_id }, text, stars);
}

export function metricsRow(name, metrics, best, isModel) {
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", metrics.ndcg_at_10 / best);
  const ndcg = element("td", { class: "with-bar" }, number(metrics.ndcg_at_10), bar);
  const low = metrics.ndcg_at_10_low;
  const high = metrics.ndcg_at_10_high;
  const interval = low === undefined ? "–" : `${number(low)} – ${number(high)}`;
  const others = ["recall_at_10", "hit_rate_at_10", "coverage_at_10"];
  return element(
    "tr",
    isModel ? { class: "model" } : {},
    element("th", { scope: "row" }, name),
    ndcg,
    element("td", { class: "quiet" }, interval),
    ...others.map((metric) => element("td", {}, number(metrics[metric]))),
  );
}

export function age(text) {
  const seconds = (new Date(text) - Date.now()) / 1000;
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, n]) => Math.abs(seconds) >= n) ?? units.at(-1);
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const relative = words.format(Math.round(seconds / size), unit);
  return element("time", { datetime: text, title: text }, relative);
}

// Scores of the popular list are numbers of ratings.
function scored(score) {
  return Number.isInteger(score) ? score.toLocaleString("en") : score.toFixed(2);
}

function opener(item, onSimilar) {
  const button = element("button", {
    type: "button",
    class: "movie",
    "aria-haspopup": "dialog",
    title: "What is similar",
  });
  button.append(named(item.title));
  button.addEventListener("click", () => onSimilar(item));
  return button;
}

function facts(item) {
  const parts = [item.year, ...item.genres].filter((part) => part !== null);
  return element("p", { class: "facts" }, parts.join(" · "));
}

function because(reasons, verb) {
  const text = element("p", { class: "because" }, `Because ${verb} `);
  reasons.forEach((reason, i) => {
    if (i > 0) text.append(i === reasons.length - 1 ? " and " : ", ");
    text.append(element("cite", {}, named(reason.title)));
  });
  return text;
}

function number(value) {
  return value === undefined ? "–" : value.toFixed(3);
}
