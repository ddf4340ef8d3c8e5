"use strict";
/** The server's answers: every request of a page goes through here. */
const Api = (() => {
  const BASE = "/api/v1";
  let key = "";

  /** Ask; a page that is not signed in any more goes to where that is done. */
  async function ask(path, options = {}) {
    const answer = await fetch(BASE + path, {cache: "no-store", ...options});
    if (answer.status === 401) {
      location.assign("/open");
      throw new Error("signed out");
    }
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error);
    return body;
  }

  function get(path, query = {}) {
    const words = new URLSearchParams(query).toString();
    return ask(words ? `${path}?${words}` : path);
  }

  /** Return the key of the session, which goes with every change. */
  async function session() {
    key = (await get("/session")).key;
    return key;
  }

  async function change(method, path, body = {}) {
    const headers = {"Content-Type": "application/json", "X-Quantkit-Key": key || await session()};
    return ask(path, {method, headers, body: JSON.stringify(body)});
  }

  document.getElementById("leave")?.addEventListener("click", async () => {
    await change("DELETE", "/session");
    location.assign("/open");
  });

  return {get, session, change};
})();
