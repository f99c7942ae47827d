// @ts-check
/**
 * The light on the set-up page: what the agent says of the first state (light.rs), in the same words.
 *
 * - What was heard before the page was asked for is another phone's, but for a moment that the agent tells.
 * - Without news of the agent nothing is lit.
 */
import { follow } from "./stream.js";
import { duration } from "./words.js";

/** @typedef {import("./stream.js").Status} Status */
/** @typedef {import("./stream.js").Connection} Connection */
/** @typedef {import("./stream.js").Phone} Phone */
/** @typedef {[state: "waiting" | "tested" | "seen" | "silent" | "lost", text: string, hint: string]} Told */

/** A push of the app's test button is celebrated for so long, seconds. */
const TESTED_FOR = 600;
/** A phone that sent nothing for so long is not lit, seconds. */
const LATELY = 30;

/** @param {string} selector @returns {HTMLElement} */
const find = (selector) => /** @type {HTMLElement} */ (document.querySelector(selector));

const light = find("#light");
const said = find("#light .said");
const hint = find("#light .hint");
const name = light.dataset.phone;
/** From when on what is heard counts, ms of this browser's clock: an agent that starts anew counts its own time anew. */
const since = performance.timeOrigin - Number(light.dataset.ago) * 1000;

/** @param {number} secondsAgo */
const counts = (secondsAgo) => Date.now() - secondsAgo * 1000 >= since;

/** @param {Phone} phone */
function seen({ sensors }) {
  const fastest = Math.round(Math.max(0, ...sensors.map((sensor) => sensor.hertz)));
  if (sensors.length === 0) return "Phone seen";
  return `Phone seen: ${sensors.length} ${sensors.length === 1 ? "sensor" : "sensors"}, ${fastest} Hz`;
}

/** @param {Status} status @returns {Told} */
function read({ phones, test }) {
  const phone = phones.find((phone) => (name === undefined ? counts(phone.secondsAgo) : phone.name === name));
  const isTested = test !== null && test.secondsAgo < TESTED_FOR && counts(test.secondsAgo);
  if (isTested && (!phone || test.secondsAgo < phone.secondsAgo)) {
    const next = "Sensor Logger reaches this agent. Now tap “Start Recording” on the Logger page.";
    return ["tested", "The test push arrived.", next];
  }
  if (!phone) {
    return ["waiting", "Waiting for the phone…", "Tap “Tap to Test Pushing” in the app, or start a recording."];
  }
  if (phone.secondsAgo < LATELY) return ["seen", seen(phone), "It works: what arrives is accepted."];
  // Who listens to the page is not told every second how long a phone is silent.
  const silent = duration(phone.secondsAgo < 60 ? LATELY : phone.secondsAgo);
  return ["silent", `Phone last heard ${silent} ago`, "Nothing came since. See in the app that the recording runs."];
}

/** @param {Told} told */
function show([state, text, next]) {
  // A reader of the screen hears of it when it changes, not once a second.
  if (said.textContent !== text) said.textContent = text;
  if (hint.textContent !== next) hint.textContent = next;
  if (light.dataset.state !== state) light.dataset.state = state;
}

/** @param {Connection} connection */
function connected({ state, reason }) {
  // Back again, the status follows.
  if (state === "lost") show(["lost", reason ?? "The agent cannot be reached.", "Trying again…"]);
}

follow({ status: (status) => show(read(status)), connection: connected });
