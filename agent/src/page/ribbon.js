// @ts-check
/**
 * A day of one phone as a ribbon: the more it moved, the taller. Pointer and arrow keys tell what was when.
 *
 * - Colour never stands alone: height tells the activity too, and the list beside it names each.
 * - It is drawn at most once for what changed, and not while it is out of view.
 */
import { dark, palette } from "./chart.js";
import { Day } from "./stretches.js";
import { ACTIVITIES, capital, clock, day as dayOf, duration, exact, midnight } from "./words.js";

const HOUR = 3_600_000;
/** Time under the ribbon, px. */
const FOOT = 16;
/** A ribbon shorter than this would tell little, ms. */
const LEAST_MS = HOUR / 2;

export class Ribbon {
  #canvas;
  #context;
  #frame;
  /** @type {HTMLElement} */ #readout;
  /** @type {HTMLElement} */ #totals;
  /** @type {HTMLElement} */ #title;
  #day = new Day(midnight(Date.now()));
  /** The phone's time, ms. */ #now = Date.now();
  /** What is looked at, ms. @type {number | null} */ #cursor = null;
  #isSeen = false;
  /** The agent told what was before. */ #isTold = false;
  #pending = 0;
  #abort = new AbortController();
  #observer;
  #sizes;

  /** @param {HTMLElement} root The section with all of it. */
  constructor(root) {
    const find = (/** @type {string} */ name) => /** @type {HTMLElement} */ (root.querySelector(name));
    this.#frame = find(".ribbon");
    this.#canvas = /** @type {HTMLCanvasElement} */ (find(".ribbon canvas"));
    this.#context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    [this.#readout, this.#totals, this.#title] = [find(".readout"), find(".totals"), find(".day")];
    this.#observer = new IntersectionObserver(([entry]) => {
      this.#isSeen = entry.isIntersecting;
      this.redraw();
    });
    this.#observer.observe(this.#frame);
    this.#sizes = new ResizeObserver(() => this.redraw());
    this.#sizes.observe(this.#frame);
    this.#listen();
    this.tell();
  }

  /** @param {string} name Whose day it is. */
  name(name) {
    const label = `${name}: what was when`;
    if (this.#frame.getAttribute("aria-label") !== label) this.#frame.setAttribute("aria-label", label);
  }

  end() {
    this.#abort.abort();
    this.#observer.disconnect();
    this.#sizes.disconnect();
    cancelAnimationFrame(this.#pending);
  }

  /** The phone's midnight, ms. */
  get from() {
    return this.#day.from;
  }

  /** Begins the day of that time anew. @param {number} now @param {import("./stretches.js").Stretch[]} stretches */
  begin(now, stretches) {
    this.#now = now;
    this.#day = new Day(midnight(now));
    for (const stretch of stretches) this.#day.add(stretch);
    this.#isTold = true;
    this.tell();
  }

  /** @param {import("./stretches.js").Stretch[]} windows Closed ones; what is of another day is left out. */
  close(windows) {
    for (const window of windows) {
      this.#day.close(window);
      this.#now = Math.max(this.#now, window.end);
    }
    if (windows.length) this.tell();
  }

  /** The phone's time goes on. @param {number} now */
  at(now) {
    if (midnight(now) === this.#day.from) this.#now = now;
    this.redraw();
  }

  /** Says in words what the ribbon shows. */
  tell() {
    const isToday = this.#day.from === midnight(Date.now());
    this.#title.textContent = isToday ? "Today" : dayOf(this.#day.from);
    for (const activity of ACTIVITIES) {
      const seconds = this.#day.seconds[activity] ?? 0;
      const shown = this.#totals.querySelector(`[data-activity="${activity}"] dd`);
      if (shown) shown.textContent = seconds ? duration(seconds) : this.#isTold ? "none" : "…";
      shown?.parentElement?.classList.toggle("never", !seconds);
    }
    this.#read();
    this.redraw();
  }

  redraw() {
    if (this.#isSeen && !this.#pending && document.visibilityState === "visible") {
      this.#pending = requestAnimationFrame(() => {
        this.#pending = 0;
        this.#paint();
      });
    }
  }

  /**
   * First and last time shown, ms: from midnight, or the first hour of which something is known.
   * @returns {[number, number]}
   */
  #span() {
    const { from, list } = this.#day;
    const first = list.length ? from + Math.floor((list[0].start - from) / HOUR) * HOUR : from;
    return [first, Math.max(this.#now, first + LEAST_MS)];
  }

  #listen() {
    const { signal } = this.#abort;
    const frame = this.#frame;
    frame.addEventListener("pointermove", (event) => this.#look(this.#timeAt(event.clientX)), { signal });
    frame.addEventListener("pointerdown", (event) => this.#look(this.#timeAt(event.clientX)), { signal });
    frame.addEventListener("pointerleave", () => document.activeElement !== frame && this.#look(null), { signal });
    frame.addEventListener("focus", () => this.#cursor === null && this.#step("End"), { signal });
    frame.addEventListener("blur", () => this.#look(null), { signal });
    frame.addEventListener("keydown", (event) => this.#step(event.key) && event.preventDefault(), { signal });
    document.addEventListener("visibilitychange", () => this.redraw(), { signal });
    dark.addEventListener("change", () => this.redraw(), { signal });
  }

  /** @param {number} clientX @returns {number} */
  #timeAt(clientX) {
    const { left, width } = this.#canvas.getBoundingClientRect();
    const [from, to] = this.#span();
    return from + Math.min(1, Math.max(0, (clientX - left) / width)) * (to - from);
  }

  /** @param {number | null} ms */
  #look(ms) {
    this.#cursor = ms;
    this.#read();
    this.redraw();
  }

  /** Goes to another stretch. @param {string} key @returns {boolean} Whether the key means something. */
  #step(key) {
    const { list } = this.#day;
    const at = this.#cursor ?? this.#now;
    /** @type {Record<string, () => import("./stretches.js").Stretch | null | undefined>} */
    const ways = {
      ArrowRight: () => this.#day.next(at, 1),
      ArrowUp: () => this.#day.next(at, 1),
      ArrowLeft: () => this.#day.next(at, -1),
      ArrowDown: () => this.#day.next(at, -1),
      Home: () => list[0],
      End: () => list.at(-1),
    };
    if (!Object.hasOwn(ways, key)) return false;
    const found = ways[key]();
    if (found) this.#look((found.start + found.end) / 2);
    return true;
  }

  /** The stretch under the cursor; within two pixels of it, so that short ones can be met. */
  #found() {
    if (this.#cursor === null) return null;
    const [from, to] = this.#span();
    const near = ((to - from) / Math.max(1, this.#canvas.clientWidth)) * 2;
    const at = this.#cursor;
    return this.#day.at(at) ?? this.#day.at(at - near) ?? this.#day.at(at + near);
  }

  #read() {
    const found = this.#found();
    const text = this.#cursor === null ? "" : found ? told(found) : `${clock(this.#cursor)}: nothing heard`;
    this.#readout.textContent = text;
    const [from, to] = this.#span();
    const minutes = (/** @type {number} */ ms) => String(Math.round((ms - from) / 60_000));
    this.#frame.setAttribute("aria-valuemax", minutes(to));
    this.#frame.setAttribute("aria-valuenow", minutes(this.#cursor ?? to));
    this.#frame.setAttribute(
      "aria-valuetext",
      text || (this.#day.list.length ? "Arrow keys tell what was when" : "Nothing yet"),
    );
  }

  #paint() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    [this.#canvas.width, this.#canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const context = this.#context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [from, to] = this.#span();
    const floor = height - FOOT;
    const x = (/** @type {number} */ ms) => ((ms - from) / (to - from)) * width;
    this.#hours(x, width, floor, from, to);
    const found = this.#found();
    for (const stretch of this.#day.list) {
      const level = ACTIVITIES.indexOf(stretch.activity) + 1;
      if (!level) continue;
      const tall = floor * (level * 0.22 + 0.12);
      const [start, end] = [x(stretch.start), x(stretch.end)];
      context.globalAlpha = this.#cursor === null || stretch === found ? 1 : 0.45;
      context.fillStyle = palette()[stretch.activity];
      context.fillRect(start, floor - tall, Math.max(0.4, end - start), tall);
    }
    context.globalAlpha = 1;
    if (this.#cursor === null) return;
    context.fillStyle = palette().text;
    context.fillRect(Math.min(width - 1, Math.max(0, x(this.#cursor) - 0.5)), 0, 1, floor);
  }

  /**
   * @param {(ms: number) => number} x
   * @param {number} width
   * @param {number} floor
   * @param {number} from
   * @param {number} to
   */
  #hours(x, width, floor, from, to) {
    const context = this.#context;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "top";
    const steps = [HOUR / 6, HOUR / 2, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR];
    const step = steps.find((step) => ((to - from) / step) * 58 < width) ?? 12 * HOUR;
    context.fillStyle = palette().line;
    context.fillRect(0, floor - 1, width, 1);
    let end = -Infinity;
    const first = Math.ceil((from - this.#day.from) / step) * step;
    for (let ms = this.#day.from + first; ms <= to; ms += step) {
      const text = clock(ms);
      const wide = context.measureText(text).width;
      const at = x(ms);
      context.fillStyle = palette().line;
      context.fillRect(Math.min(width - 1, at), 0, 1, floor + 3);
      const left = Math.min(width - wide, Math.max(0, at - wide / 2));
      if (left < end + 8) continue;
      context.fillStyle = palette().quiet;
      context.textAlign = "left";
      context.fillText(text, left, floor + 4);
      end = left + wide;
    }
  }
}

/** "Walking, 14:02 to 14:09 (7 min)". @param {import("./stretches.js").Stretch} stretch */
function told({ activity, start, end }) {
  const isShort = end - start < 120_000;
  const time = isShort ? exact : clock;
  return `${capital(activity)}, ${time(start)} to ${time(end)} (${duration((end - start) / 1000)})`;
}
