// Requests to the server that the page came from. The key is kept in this module's memory alone.

let key = null;

/** What a request was refused with: a sentence, the status (0: no answer at all), and the seconds until it may be tried again. */
export class Refused extends Error {
  constructor(sentence, status, wait = null) {
    super(sentence);
    this.status = status;
    this.wait = wait;
  }
}

/** Use a key for the requests that come; null: none. Throws Refused for one that no header can hold. */
export function useKey(given) {
  if (given !== null && !/^[\x21-\x7e]+$/.test(given)) {
    throw new Refused("A key has only letters, digits and marks of ASCII, without blanks.", 401);
  }
  key = given;
}

export const hasKey = () => key !== null;

/** The tasks and the trunk: GET v1/tasks. */
export const getTasks = (signal) => ask("v1/tasks", { signal });

/** Predictions: POST v1/predict. */
export const predict = (request, signal) =>
  ask("v1/predict", { method: "POST", body: JSON.stringify(request), headers: { "Content-Type": "application/json" }, signal });

async function ask(address, options) {
  const headers = { Accept: "application/json", ...options.headers };
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    // without the browser's own credentials it does not ask for any in a window of its own, when a key is missing
    response = await fetch(address, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server could not be reached. Is it running, and is there a network?", 0);
  }
  let answer = null;
  try {
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error; // what is no JSON has no sentence for us
  }
  if (response.ok && answer !== null) return answer;
  throw refusal(response, answer);
}

function refusal(response, answer) {
  const sentence = typeof answer?.error === "string" ? answer.error : null;
  const after = response.headers.get("Retry-After") ?? "";
  const wait = /^\d+$/.test(after) ? Number(after) : null;
  const again = wait === null ? "Try again in a moment." : `Try again in ${wait === 1 ? "1 second" : `${wait} seconds`}.`;
  const { status } = response;
  if (status === 401) return new Refused(hasKey() ? "The server does not take this key." : "This server answers only with a key.", 401);
  if (status === 429) return new Refused(`The server has too much to do. ${again}`, status, wait);
  if (status === 503) return new Refused(`The server takes no requests now. ${again}`, status, wait);
  return new Refused(sentence ? whole(sentence) : `The server answered with status ${status} and without a reason.`, status, wait);
}

/** A sentence of the server as one of the page: with a capital letter and a full stop. */
function whole(sentence) {
  const ended = /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
  return ended.charAt(0).toUpperCase() + ended.slice(1);
}
