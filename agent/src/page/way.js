// @ts-check
/** From here to the warehouse: the relay, what waits, the disk; and what should not be so. The same words as way.rs. */
import { say } from "./phone.js";
import { capital, count, duration, size } from "./words.js";

/** @typedef {import("./stream.js").Status} Status */

/** @param {string} id @returns {HTMLElement} */
const part = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** A value and what explains it. @param {string} id @param {string} value @param {string} [more] */
function tell(id, value, more = "") {
  const [first, second] = part(id).children;
  say(first, value);
  say(second, more);
}

/** @param {Status} status */
export function showWay({ relay, spool }) {
  part("relay").dataset.state = relay.isLinked ? "linked" : "away";
  tell("relay", relay.isLinked ? "Linked" : "Away", relay.isLinked ? "It takes what comes." : "What comes is kept here.");
  const oldest = spool.oldestSeconds ?? 0;
  const age = oldest < 5 ? "" : `, the oldest for ${duration(oldest)}`;
  const room = spool.maxBytes ? ` of ${size(spool.maxBytes)}` : "";
  tell(
    "spool",
    spool.frames ? count(spool.frames, "frame", "frames") : "Nothing",
    spool.frames ? `${size(spool.bytes)}${room}${age}` : "",
  );
  const left = spool.drainedInSeconds;
  const drain = left === null ? "Not known" : left < 1 ? "A moment" : `About ${duration(left)}`;
  tell("drain", spool.frames ? drain : "Drained");
  tell("committed", capital(count(relay.committedFrames, "frame", "frames")), "since the agent's start");
  tell("disk", spool.diskFreeBytes === null ? "Not known" : size(spool.diskFreeBytes));
}

/** @param {string[]} told Sentences. @returns {string[]} Those that are new. */
export function showNotices(told) {
  const notices = told.map(capital);
  const list = part("notices");
  const shown = [...list.children].map((notice) => notice.textContent ?? "");
  if (shown.length === notices.length && shown.every((text, at) => text === notices[at])) return [];
  list.replaceChildren(
    ...notices.map((text) => {
      const notice = document.createElement("li");
      notice.className = "notice";
      notice.textContent = text;
      return notice;
    }),
  );
  return notices.filter((text) => !shown.includes(text));
}
