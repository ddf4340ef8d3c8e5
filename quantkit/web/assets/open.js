"use strict";
/** Signs the browser in: by the key behind `#` of the one-time link, or by the token that somebody pastes. */
(() => {
  const $ = id => document.getElementById(id);

  async function signIn(credential) {
    const answer = await fetch("/api/v1/session", {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({credential}),
    });
    const told = await answer.json();
    if (answer.ok) return location.replace(told.has_live ? "/live" : "/");
    $("told").textContent = told.error;
    $("form").hidden = false;
    $("token").focus();
    return undefined;
  }

  $("form").addEventListener("submit", event => {
    event.preventDefault();
    signIn($("token").value.trim());
  });
  const key = location.hash.slice(1);
  // The key is spent with its first use, and does not have to stand in the history.
  history.replaceState(null, "", "/open");
  if (key) signIn(key); else { $("form").hidden = false; $("token").focus(); }
})();
