// @ts-check
/**
 * The last minute of one phone's acceleration: the classes' bands, the envelope of the magnitude, the running windows'
 * mean.
 *
 * - Nothing is drawn that nobody sees: hidden tabs and charts out of view cost nothing, a silent phone's chart stands
 *   still.
 * - Colours are the style sheet's; each band has its name in it.
 * - The axis is the root of the magnitude, so that sitting and sprinting have room in one picture; its marks are the
 *   thresholds.
 */
import { Bins, BIN_MS, Edge, Line } from "./series.js";
import { ACTIVITIES, capital } from "./words.js";

/** Shown at once, ms. */
export const SPAN_MS = 60_000;
/** The axis ends here at least, m/s². */
const LEAST_TOP = 40;
/** Windows are 10 s long: a line between points much further apart would tell of what nobody measured, ms. */
const GAP_MS = 15_000;

const GUTTER = 32;
const FOOT = 18;

/** @typedef {{walking: number, running: number, sprinting: number}} Thresholds */

const still = window.matchMedia("(prefers-reduced-motion: reduce)");
/** Changes with the style sheet's colours. */
export const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** The style sheet's colours; asked again when they change. @type {Record<string, string> | null} */
let colours = null;

/** @returns {Record<string, string>} By custom property. */
export function palette() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    const names = [...ACTIVITIES, ...ACTIVITIES.map((name) => `${name}-ink`), "text", "quiet", "line", "card"];
    colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return colours;
}

export class Chart {
  bins = new Bins();
  means = new Line();
  edge = new Edge();
  /** Drawn in grey. */ isStale = false;
  /** @type {string | null} */ activity = null;
  /** @type {Thresholds} */ thresholds = { walking: 2, running: 8, sprinting: 20 };
  #canvas;
  #context;
  #top = LEAST_TOP;
  /** Where the edge stood when it was drawn last, in device pixels. */ #drawnAt = NaN;
  isDirty = true;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    stage.add(canvas, this);
  }

  /** @param {string} name Whose it is. */
  name(name) {
    const label = `${name}: acceleration over the last minute, over the bands of the activities`;
    if (this.#canvas.getAttribute("aria-label") !== label) this.#canvas.setAttribute("aria-label", label);
  }

  end() {
    stage.remove(this.#canvas);
  }

  /** @param {[number, number, number][]} bins @param {number} now Ms of the browser, monotonic. */
  push(bins, now) {
    for (const [ms, low, high] of bins) this.bins.add(ms, low, high);
    const last = bins.at(-1);
    if (last) this.arrive(last[0] + BIN_MS, now);
  }

  /** Something was told up to that time. @param {number} ms Of the phone. @param {number} now */
  arrive(ms, now) {
    this.edge.arrive(ms, now);
    this.redraw();
  }

  redraw() {
    this.isDirty = true;
    stage.wake();
  }

  /** The mean, least and greatest magnitude of the minute. @param {number} now */
  summary(now) {
    const edge = this.edge.at(now);
    if (edge === null) return null;
    const range = this.bins.range(edge - SPAN_MS, edge + SPAN_MS);
    const last = this.means.last;
    if (!range && (!last || edge - last.ms > SPAN_MS)) return null;
    return { mean: last?.value ?? null, least: range?.[0] ?? null, greatest: range?.[1] ?? null };
  }

  /** Draws what moved. @param {number} now @returns {boolean} Whether it goes on moving. */
  draw(now) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width || !height) return false;
    const ratio = window.devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== wide || this.#canvas.height !== high) {
      [this.#canvas.width, this.#canvas.height] = [wide, high];
      this.isDirty = true;
    }
    const edge = this.#edgeAt(now);
    const newest = this.edge.newest;
    const moves = edge !== null && newest !== null && edge - newest < SPAN_MS + 2000 && !this.isStale;
    const at = edge === null ? NaN : (edge / SPAN_MS) * (wide - GUTTER * ratio);
    if (!this.isDirty && (!moves || Math.abs(at - this.#drawnAt) < 0.5)) return moves;
    [this.#drawnAt, this.isDirty] = [at, false];
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#paint(width, height, edge);
    return moves;
  }

  /** Whoever wants less motion sees a picture a second. @param {number} now @returns {number | null} */
  #edgeAt(now) {
    const edge = this.edge.at(now);
    return still.matches && edge !== null ? Math.floor(edge / 1000) * 1000 : edge;
  }

  /** @param {number} width @param {number} height @param {number | null} edge */
  #paint(width, height, edge) {
    const context = this.#context;
    const isSmall = height < 110;
    const [left, foot] = [isSmall ? 0 : GUTTER, isSmall ? 0 : FOOT];
    const floor = height - foot;
    this.#follow(edge);
    const y = (/** @type {number} */ value) => floor - Math.sqrt(Math.max(0, value) / this.#top) * (floor - 4);
    context.clearRect(0, 0, width, height);
    this.#bands(y, left, width, isSmall);
    if (!isSmall) this.#axis(y, left, width, floor);
    if (edge !== null) this.#data(y, left, width, floor, edge);
    if (!isSmall) this.#names(y, left);
  }

  /**
   * @param {(value: number) => number} y
   * @param {number} left
   * @param {number} width
   * @param {number} floor
   * @param {number} edge
   */
  #data(y, left, width, floor, edge) {
    const context = this.#context;
    const x = (/** @type {number} */ ms) => width - ((edge - ms) / SPAN_MS) * (width - left);
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, floor);
    context.clip();
    this.#envelope(x, y, edge);
    this.#mean(x, y, edge);
    context.restore();
  }

  /** The axis grows for what would not fit, by doubling. @param {number | null} edge */
  #follow(edge) {
    const range = edge === null ? null : this.bins.range(edge - SPAN_MS, edge);
    let top = Math.max(LEAST_TOP, this.thresholds.sprinting * 1.5);
    while (range && range[1] > top && top < 1e6) top *= 2;
    this.#top = top;
  }

  /** @returns {[string, number, number][]} Activity, from, to. */
  #classes() {
    const { walking, running, sprinting } = this.thresholds;
    const edges = [0, walking, running, sprinting, this.#top];
    return ACTIVITIES.map((activity, at) => [activity, edges[at], edges[at + 1]]);
  }

  /** @param {(value: number) => number} y @param {number} left @param {number} width @param {boolean} isSmall */
  #bands(y, left, width, isSmall) {
    const context = this.#context;
    for (const [activity, from, to] of this.#classes()) {
      const isNow = activity === this.activity && !this.isStale;
      context.globalAlpha = isNow ? 0.3 : 0.1;
      context.fillStyle = this.isStale ? palette().line : palette()[activity];
      context.fillRect(left, y(to), width - left, y(from) - y(to) - (isSmall ? 0 : 1));
    }
    context.globalAlpha = 1;
  }

  /** @param {(value: number) => number} y @param {number} left @param {number} width @param {number} floor */
  #axis(y, left, width, floor) {
    const context = this.#context;
    const { walking, running, sprinting } = this.thresholds;
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = palette().quiet;
    [context.textAlign, context.textBaseline] = ["right", "middle"];
    for (const mark of [0, walking, running, sprinting]) {
      if (mark !== 0) context.fillText(String(Number(mark.toFixed(1))), left - 5, y(mark));
    }
    context.textBaseline = "bottom";
    context.fillText("0", left - 5, floor + 2);
    context.textBaseline = "top";
    context.fillText("m/s²", left - 5, 2);
    [context.textAlign, context.textBaseline] = ["left", "top"];
    context.strokeStyle = palette().line;
    context.lineWidth = 1;
    for (const seconds of [45, 30, 15]) {
      const at = Math.round(width - (seconds / 60) * (width - left)) + 0.5;
      context.globalAlpha = 0.6;
      context.beginPath();
      context.moveTo(at, 4);
      context.lineTo(at, floor);
      context.stroke();
      context.globalAlpha = 1;
      context.textAlign = "center";
      if (seconds === 30 || width > 360) context.fillText(`${seconds} s`, at, floor + 4);
    }
    context.textAlign = "left";
    context.fillText("1 min ago", left, floor + 4);
    context.textAlign = "right";
    context.fillText("now", width, floor + 4);
  }

  /**
   * Over the data, with the ground's colour around each letter.
   * @param {(value: number) => number} y
   * @param {number} left
   */
  #names(y, left) {
    const context = this.#context;
    context.font = "600 11px system-ui, sans-serif";
    [context.textAlign, context.textBaseline] = ["left", "middle"];
    [context.lineWidth, context.lineJoin] = [4, "round"];
    for (const [activity, from, to] of this.#classes()) {
      if (y(from) - y(to) < 14) continue;
      context.strokeStyle = palette().card;
      context.fillStyle = this.isStale ? palette().quiet : palette()[`${activity}-ink`];
      const at = (y(from) + y(to)) / 2;
      context.strokeText(capital(activity), left + 8, at);
      context.fillText(capital(activity), left + 8, at);
    }
  }

  /** @param {(ms: number) => number} x @param {(value: number) => number} y @param {number} edge */
  #envelope(x, y, edge) {
    const context = this.#context;
    /** @type {[number, number][]} Below, to go back along. */ let under = [];
    let last = -Infinity;
    const close = () => {
      for (const [at, low] of under.reverse()) context.lineTo(at, low);
      if (under.length) context.closePath();
      under = [];
    };
    context.beginPath();
    this.bins.each(edge - SPAN_MS - 1000, edge + 1000, (ms, low, high) => {
      const [at, top, bottom] = [x(ms + BIN_MS / 2), y(high) - 0.5, y(low) + 0.5];
      if (ms - last > BIN_MS * 5) {
        close();
        context.moveTo(at - 0.5, top);
        under.push([at - 0.5, bottom]);
      }
      context.lineTo(at, top);
      under.push([at, bottom]);
      last = ms;
    });
    close();
    context.globalAlpha = this.isStale ? 0.3 : 0.42;
    context.fillStyle = palette().quiet;
    context.fill();
    context.globalAlpha = 1;
  }

  /** @param {(ms: number) => number} x @param {(value: number) => number} y @param {number} edge */
  #mean(x, y, edge) {
    const context = this.#context;
    /** @type {{ms: number, value: number} | null} */ let last = null;
    context.beginPath();
    this.means.each(edge - SPAN_MS, edge, (ms, value) => {
      if (!last || ms - last.ms > GAP_MS) context.moveTo(x(ms), y(value));
      else context.lineTo(x(ms), y(value));
      last = { ms, value };
    });
    context.lineJoin = "round";
    [context.strokeStyle, context.lineWidth] = [palette().card, 5];
    context.stroke();
    [context.strokeStyle, context.lineWidth] = [this.isStale ? palette().quiet : palette().text, 2.5];
    context.stroke();
  }
}

/** The charts that somebody sees, drawn together. */
class Stage {
  /** @type {Map<Element, Chart>} */ #charts = new Map();
  /** @type {Set<Chart>} */ #seen = new Set();
  #frame = 0;
  #observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const chart = this.#charts.get(entry.target);
      if (!chart) continue;
      if (entry.isIntersecting) this.#seen.add(chart);
      else this.#seen.delete(chart);
    }
    this.redraw();
  });

  constructor() {
    const again = () => {
      colours = null;
      this.redraw();
    };
    dark.addEventListener("change", again);
    window.addEventListener("resize", () => this.redraw());
    document.addEventListener("visibilitychange", () => this.wake());
    still.addEventListener("change", again);
  }

  /** @param {Element} canvas @param {Chart} chart */
  add(canvas, chart) {
    this.#charts.set(canvas, chart);
    this.#observer.observe(canvas);
  }

  /** @param {Element} canvas */
  remove(canvas) {
    const chart = this.#charts.get(canvas);
    this.#observer.unobserve(canvas);
    this.#charts.delete(canvas);
    if (chart) this.#seen.delete(chart);
  }

  redraw() {
    for (const chart of this.#seen) chart.isDirty = true;
    this.wake();
  }

  wake() {
    if (!this.#frame && document.visibilityState === "visible" && this.#seen.size) {
      this.#frame = requestAnimationFrame((now) => this.#draw(now));
    }
  }

  /** @param {number} now */
  #draw(now) {
    this.#frame = 0;
    let moves = false;
    for (const chart of this.#seen) moves = chart.draw(now) || moves;
    if (moves) this.wake();
  }
}

export const stage = new Stage();
