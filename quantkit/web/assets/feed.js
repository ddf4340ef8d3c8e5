"use strict";
/** The socket of the live page: it comes back by itself, and says honestly for how long nothing has come. */
const Feed = (() => {
  const WAITS_MS = [250, 500, 1000, 2000, 4000];
  const SIGNED_OUT = 4401;
  let tries = 0, arrived = 0, age = 0, isOpen = false, reason = "connecting", told = "";

  /** Follow the run; `take` gets each message. */
  async function follow(take) {
    let key;
    try {
      key = await Api.session();
    } catch (error) {
      return lost("the server does not answer", () => follow(take));
    }
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live/socket`);
    socket.addEventListener("open", () => { socket.send(JSON.stringify({key})); });
    socket.addEventListener("message", event => {
      const message = JSON.parse(event.data);
      [tries, isOpen, arrived, age, reason] = [0, true, performance.now(), message.age_ms, message.reason];
      told = reason;
      take(message);
    });
    socket.addEventListener("close", event => {
      if (event.code === SIGNED_OUT) return location.assign("/open");
      return lost(event.reason || "the server does not answer", () => follow(take));
    });
    return undefined;
  }

  function lost(why, again) {
    // What the server knew of the run stays true when the server has gone as well.
    [isOpen, reason] = [false, told ? `${told}; ${why}` : why];
    setTimeout(again, WAITS_MS[Math.min(tries++, WAITS_MS.length - 1)]);
  }

  /** Return how old the newest status is, in milliseconds; null before the first. */
  function ageMs() { return arrived ? age + performance.now() - arrived : null; }

  return {follow, ageMs, isOpen: () => isOpen, reason: () => reason};
})();
