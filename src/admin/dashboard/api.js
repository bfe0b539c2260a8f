// The admin API: the token, one question at a time, and errors in words.

const TOKEN = "pointsman-token";
const PATIENCE_MS = 5000;

/** Answered, and refused. */
class Refusal extends Error {
  constructor(status, body) {
    const error = record(record(body).error);
    super(words(error.message) || `the answer was ${status}`);
    this.status = status;
    this.hint = words(error.hint);
    this.body = body;
  }

  sentence() {
    return this.message + (this.hint ? ` (${this.hint})` : "");
  }
}

/** Not answered. */
class Unreachable extends Error {}

/** Whether a header can have it: `fetch` fails with any other, as if nobody answered. */
const isSendable = (text) => /^[\x20-\x7e]*$/.test(text);

const token = {
  // Storage may be forbidden; then the token lasts as long as the page.
  value: (() => {
    try {
      const kept = sessionStorage.getItem(TOKEN) ?? "";
      return isSendable(kept) ? kept : "";
    } catch {
      return "";
    }
  })(),
  set(value) {
    this.value = value;
    try {
      if (value) sessionStorage.setItem(TOKEN, value);
      else sessionStorage.removeItem(TOKEN);
    } catch {
      // As above.
    }
  },
};

/** Asks, and gives what the JSON holds; throws `Refusal` or `Unreachable`. */
async function ask(path, { method = "GET", body } = {}) {
  const headers = { accept: "application/json" };
  if (token.value) headers.authorization = `Bearer ${token.value}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  // What changes something may take as long as it takes.
  const signal = method === "GET" ? AbortSignal.timeout(PATIENCE_MS) : undefined;
  const options = { method, headers, body: text, signal, cache: "no-store", credentials: "omit", redirect: "error" };
  let response;
  let answer;
  try {
    response = await fetch(path, options);
    answer = await response.text();
  } catch (error) {
    throw new Unreachable(`no answer (${error.message})`);
  }
  let value = null;
  try {
    value = answer ? JSON.parse(answer) : null;
  } catch {
    value = null;
  }
  if (!response.ok) throw new Refusal(response.status, value);
  return value;
}

/** Does something that a person asked for, and tells how it ended. */
async function act(button, what, path, options) {
  button.disabled = true;
  try {
    const answer = await ask(path, { method: "POST", ...options });
    tell(`Done: ${what}.`, true);
    return answer;
  } catch (error) {
    const why = error instanceof Refusal ? error.sentence() : "the admin endpoint did not answer";
    tell(`Not done: ${what}. ${why[0].toUpperCase()}${why.slice(1)}`, false);
    if (error instanceof Refusal && error.status === 401) askForToken();
    return error instanceof Refusal ? error : null;
  } finally {
    button.disabled = false;
    askNow();
  }
}
