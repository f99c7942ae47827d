// @ts-check
/**
 * Numbers, durations and times in words. Pure: the time is an argument.
 *
 * - A word is never empty: what is not known is a dash.
 * - The same words as the page that the agent renders (words.rs).
 */

/** The activities, the least first. */
export const ACTIVITIES = Object.freeze(["stationary", "walking", "running", "sprinting"]);

const NARROW = "\u202f";

/** "Walking" for "walking". @param {string} word @returns {string} */
export const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

/**
 * The large word.
 * @param {string | null} activity
 * @param {boolean} isHeard The phone sends at present.
 * @returns {string}
 */
export function activityWord(activity, isHeard) {
  if (activity) return capital(activity);
  return isHeard ? "No movement data" : "Not recording";
}

/** "12 345", in groups of three. @param {number} number @returns {string} */
export const thousands = (number) => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, NARROW);

/**
 * "8 s", "3 min", "1 h 5 min", "2 days".
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

/** "just now", "5 min ago". @param {number} seconds @returns {string} */
export const ago = (seconds) => (seconds < 5 ? "just now" : `${duration(seconds)} ago`);

/**
 * "512 B", "3.2 MB", "21 GB"; powers of ten.
 * @param {number} bytes
 * @returns {string}
 */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** "100 Hz", "0.5 Hz". @param {number} rate @returns {string} */
export const hertz = (rate) => `${rate < 9.95 ? Number(rate.toFixed(1)) : Math.round(rate)} Hz`;

/** "87 % sure"; never more than 99 %. @param {number} probability @returns {string} */
export const sure = (probability) => `${Math.min(99, Math.round(probability * 100))}${NARROW}% sure`;

/** "3 pushes lost on the way". @param {number} holes @returns {string} */
export const lost = (holes) => `${count(holes, "push", "pushes")} lost on the way`;

/** "2 readings came late". @param {number} late @returns {string} */
export const late = (late) => `${count(late, "reading", "readings")} came late`;

/**
 * "no push", "1 push", "3 pushes".
 * @param {number} number
 * @param {string} one
 * @param {string} many
 * @returns {string}
 */
export const count = (number, one, many) => `${number ? thousands(number) : "no"} ${number > 1 ? many : one}`;

/** "Accelerometer 100 Hz". @param {{name: string, hertz: number}} sensor @returns {string} */
export const sensor = ({ name, hertz: rate }) => `${name} ${hertz(rate)}`;

/** "14:32" in the browser's time zone. @param {number} ms @returns {string} */
export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

/** "14:32:07" in the browser's time zone. @param {number} ms @returns {string} */
export const exact = (ms) => new Date(ms).toLocaleTimeString("en-GB");

/** "Friday 27 November 2026, 14:32:07". @param {number} ms @returns {string} */
export const full = (ms) => `${day(ms)}, ${exact(ms)}`;

/** "Friday 27 November 2026". @param {number} ms @returns {string} */
export function day(ms) {
  const parts = /** @type {const} */ ({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
  return new Date(ms).toLocaleDateString("en-GB", parts);
}

/** Local midnight before. @param {number} ms @returns {number} */
export const midnight = (ms) => new Date(ms).setHours(0, 0, 0, 0);
