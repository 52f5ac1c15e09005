// Requests to the API, and its errors.

// the API is where this file is, below whatever path a proxy serves it
const ROOT = new URL("..", import.meta.url).href.replace(/\/$/, "");

let key = null; // in memory only: gone with the page

export function useKey(text) {
  // encoded as the API reads it: UTF-8, one header character per byte
  key = String.fromCharCode(...new TextEncoder().encode(text));
}

class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Return the JSON of a route; throw Refused for an error or if nothing answers.
export async function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams(parameters).toString();
  const headers = key === null ? {} : { "X-API-Key": key };
  let answer;
  try {
    answer = await fetch(`${ROOT}${path}${query && "?"}${query}`, { headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The server cannot be reached.");
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const { code = "unknown", message = answer.statusText } = body.error ?? {};
  throw new Refused(answer.status, code, message);
}

// Like get, but return null for a 404.
export async function find(path, parameters, signal) {
  try {
    return await get(path, parameters, signal);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

// Say what an error means to a person.
export function explained(error) {
  if (!(error instanceof Refused)) return `Something went wrong: ${error.message}`;
  if (error.code === "no_generation") {
    return "Nothing has been published yet. A batch has to run first.";
  }
  if (error.status === 503) return "The lists cannot be read just now. Try again in a moment.";
  return error.message;
}
