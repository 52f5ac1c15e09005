// What the page asks the API, and what may go wrong with that.

let key = null; // in memory only: gone with the page

export function useKey(text) {
  // as the API reads it: UTF-8, of which a header takes each byte for a letter
  key = String.fromCharCode(...new TextEncoder().encode(text));
}

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Give the JSON of a route; throw Refused if the API has no answer, or is not there.
export async function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams(parameters).toString();
  const headers = key === null ? {} : { "X-API-Key": key };
  let answer;
  try {
    answer = await fetch(query ? `${path}?${query}` : path, { headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The server cannot be reached.");
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const { code = "unknown", message = answer.statusText } = body.error ?? {};
  throw new Refused(answer.status, code, message);
}

// The same, but null where the API knows of none.
export async function find(path, parameters, signal) {
  try {
    return await get(path, parameters, signal);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}
