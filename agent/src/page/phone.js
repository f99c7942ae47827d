// @ts-check
/**
 * One phone's card: what it does now, its last minute, its day, how it arrives.
 *
 * - What a phone tells is text and nothing else.
 * - Times are the phone's own clock; how long ago it was heard is the browser's.
 * - What is old is not shown as if it were now.
 */
import { Chart, SPAN_MS } from "./chart.js";
import { Ribbon } from "./ribbon.js";
import {
  ago,
  activityWord,
  clock,
  duration,
  exact,
  full,
  late,
  lost,
  midnight,
  sensor,
  sure,
  thousands,
} from "./words.js";

/** @typedef {import("./stream.js").Phone} Phone */
/** @typedef {import("./stream.js").Motion} Motion */

/** A phone that sent nothing for so long is dimmed: twice the app's longest batch period. */
const SILENT_MS = 10_000;
/** Elements of a card that are kept up to date, by class. */
const PARTS = ["name", "activity", "confidence", "since", "heard", "rate", "sensors", "holes", "late", "measured"];
/** From asking for a day to asking again: the first time, and then. */
const [SOON_MS, LATER_MS] = [30_000, 600_000];
/** Windows kept while the day is being asked for. */
const EARLY = 64;
/** Days asked for at once, of all phones: the browser has six connections, and news needs one. */
const AT_ONCE = 3;

/** @type {(() => Promise<void>)[]} */ const waiting = [];
let running = 0;

/** @param {() => Promise<void>} job */
function inTurn(job) {
  waiting.push(job);
  for (; running < AT_ONCE && waiting.length; running += 1) void next();
}

async function next() {
  for (let job = waiting.shift(); job; job = waiting.shift()) await job().catch(() => {});
  running -= 1;
}

export class Card {
  /** @type {HTMLElement} */ article;
  /** What people call it. */ name = "";
  /** @type {string | null} */ activity = null;
  /** @type {string} */ #device;
  #chart;
  #ribbon;
  /** When it was last heard, ms of the browser. */ heardAt = 0;
  /** The phone's clock less the browser's, ms. @type {number | null} */ #ahead = null;
  /** When the activity began, ms of the phone. @type {number | null} */ #since = null;
  /** Windows that closed while the day is asked for. @type {import("./stretches.js").Stretch[] | null} */
  #early = null;
  #wasAsked = false;
  /** When to ask for its day again, ms of the browser. */ #askAt = Infinity;
  #isLost = false;
  #ticks = 0;
  /** @type {Record<string, HTMLElement>} */ #parts = {};
  #observer;

  /** @param {HTMLElement} article @param {string} device */
  constructor(article, device) {
    [this.article, this.#device] = [article, device];
    article.dataset.device = device;
    this.heardAt = Date.now() - Number(article.dataset.ago ?? 0) * 1000;
    for (const name of PARTS) {
      this.#parts[name] = /** @type {HTMLElement} */ (article.querySelector(`.${name}`));
    }
    this.#chart = new Chart(/** @type {HTMLCanvasElement} */ (article.querySelector("canvas.chart")));
    this.#ribbon = new Ribbon(/** @type {HTMLElement} */ (article.querySelector(".today")));
    // Of phones that are far from what is looked at the past is not asked for.
    const near = { rootMargin: "600px" };
    this.#observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      this.#observer.disconnect();
      this.reload();
    }, near);
    this.#observer.observe(article);
  }

  end() {
    this.#observer.disconnect();
    this.#chart.end();
    this.#ribbon.end();
    this.article.remove();
  }

  /** @param {string} name What people call it. */
  call(name) {
    this.name = name;
    say(this.#parts.name, name);
    this.#parts.name.title = this.#device;
    this.#ribbon.name(name);
    this.#chart.name(name);
  }

  /**
   * @param {Phone} phone
   * @param {import("./chart.js").Thresholds} thresholds
   * @param {boolean} isAll Nothing else is told of it: the line of the chart is made of this.
   */
  update(phone, thresholds, isAll) {
    this.call(phone.name ?? phone.deviceId);
    this.heardAt = Date.now() - phone.secondsAgo * 1000;
    this.#chart.thresholds = thresholds;
    this.#since = phone.since === null ? null : Date.parse(phone.since);
    this.#present(phone.activity, phone.confidence);
    if (isAll && phone.magnitude !== null) {
      const at = this.heardAt + (this.#ahead ?? 0);
      this.#chart.means.add(at, phone.magnitude);
      this.#chart.arrive(at, performance.now());
    }
    say(this.#parts.rate, `${thousands(phone.readingsPerSecond)} readings/s`);
    say(this.#parts.sensors, phone.sensors.map(sensor).join(" · "));
    this.#problem("holes", phone.holes, lost);
    this.#problem("late", phone.lateReadings, late);
    this.tick(false);
  }

  /** @param {Motion} motion */
  motion({ bins, running, closed }) {
    const newest = bins.at(-1)?.[0];
    this.heardAt = Date.now();
    if (newest !== undefined) {
      this.#ahead = newest - Date.now();
      this.#chart.isStale = false;
      this.#chart.push(bins, performance.now());
    }
    if (running) {
      this.#chart.means.add(newest ?? Date.parse(running.end), running.magnitude);
      if (running.activity !== this.activity) this.#since = newest ?? Date.parse(running.end);
      this.#present(running.activity, running.confidence);
    }
    const now = Date.now() + (this.#ahead ?? 0);
    if (midnight(now) !== this.#ribbon.from) {
      // The phone's midnight; or its clock is not the browser's.
      this.#ribbon.begin(now, []);
      this.renew();
    }
    const windows = closed.map(timed);
    if (this.#early) this.#early.push(...windows.slice(0, EARLY - this.#early.length));
    this.#ribbon.close(windows);
    this.tick(false);
  }

  /** News had stopped: asks anew for what was missed, if it was ever asked for. */
  renew() {
    if (this.#wasAsked) this.reload();
  }

  /** Asks for its last minutes and its day. */
  reload() {
    if (this.#early) return;
    [this.#early, this.#wasAsked] = [[], true];
    inTurn(async () => {
      try {
        await this.#past();
      } finally {
        this.#early = null;
        // What the agent had heard and not yet noted, and later what a slow connection missed.
        this.#askAt = Date.now() + (this.#askAt === Infinity ? SOON_MS : LATER_MS);
      }
    });
  }

  async #past() {
    const path = `/api/v1/phones/${encodeURIComponent(this.#device)}`;
    if (this.#ahead === null || !this.#chart.means.last) {
      /** @type {{windows: import("./stream.js").Window[]}} */
      const { windows } = await asked(`${path}/windows`);
      const last = windows.at(-1);
      if (last && this.#ahead === null) this.#ahead = Date.parse(last.end) - this.heardAt;
      if (!this.#chart.means.last) {
        for (const window of windows.slice(-60)) this.#chart.means.add(Date.parse(window.end), window.magnitude);
        this.#chart.isDirty = true;
      }
    }
    const now = Date.now() + (this.#ahead ?? 0);
    const from = new Date(midnight(now)).toISOString();
    /** @type {{activities: {activity: string, start: string, end: string}[]}} */
    const { activities } = await asked(`${path}/activities?from=${encodeURIComponent(from)}`);
    this.#ribbon.begin(now, activities.map(timed));
    this.#ribbon.close(this.#early ?? []);
  }

  /** Time went on. @param {boolean} isLost The agent is not heard: nothing is known of now. */
  tick(isLost) {
    this.#ticks += 1;
    this.#isLost = isLost;
    const silent = Date.now() - this.heardAt;
    const isStale = isLost || silent >= SILENT_MS;
    this.article.toggleAttribute("data-gone", !isLost && silent >= SPAN_MS + SILENT_MS);
    this.article.dataset.state = isLost ? "lost" : isStale ? "stale" : "live";
    if (this.#chart.isStale !== isStale) {
      [this.#chart.isStale, this.#chart.isDirty] = [isStale, true];
      this.#chart.redraw();
    }
    if (isLost) {
      say(this.#parts.heard, `heard until ${exact(this.heardAt)}`);
    } else {
      say(this.#parts.heard, silent >= SILENT_MS ? `last heard ${ago(silent / 1000)}` : "heard just now");
      this.#lasting(isStale ? this.heardAt : Date.now());
    }
    if (!isLost && Date.now() > this.#askAt) this.renew();
    if (this.#ticks % 4 === 0) this.#measured();
    if (this.#ticks % 20 === 0) this.#ribbon.at(Date.now() + (this.#ahead ?? 0));
  }

  /** @param {string | null} activity @param {number | null} confidence */
  #present(activity, confidence) {
    this.activity = activity;
    const isHeard = Date.now() - this.heardAt < SILENT_MS;
    this.article.dataset.now = activity ?? "none";
    this.#parts.activity.dataset.activity = activity ?? "none";
    say(this.#parts.activity, activityWord(activity, isHeard));
    say(this.#parts.confidence, activity && confidence !== null ? sure(confidence) : "");
    if (this.#chart.activity !== activity) [this.#chart.activity, this.#chart.isDirty] = [activity, true];
  }

  /** @param {number} until */
  #lasting(until) {
    const since = this.#since;
    if (since === null || !this.activity || Number.isNaN(since)) {
      say(this.#parts.since, "");
      return;
    }
    const seconds = (until + (this.#ahead ?? 0) - since) / 1000;
    // Of a phone whose clock is not known and not the browser's nobody can say for how long.
    const isStrange = this.#ahead === null && (seconds < -60 || seconds > 86_400);
    const lasting = seconds < 3 ? "just begun" : `for ${duration(seconds)}`;
    say(this.#parts.since, isStrange ? `since ${clock(since)}` : lasting);
    this.#parts.since.title = `Since ${full(since)}`;
    this.#parts.since.setAttribute("datetime", new Date(since).toISOString());
  }

  #measured() {
    const summary = this.#isLost ? null : this.#chart.summary(performance.now());
    if (!summary) {
      say(this.#parts.measured, this.#isLost ? "" : "Nothing measured in the last minute");
      return;
    }
    const told = Object.entries(summary).filter(([, value]) => value !== null);
    say(this.#parts.measured, `${told.map(([what, value]) => `${what} ${value?.toFixed(1)}`).join(", ")} m/s²`);
  }

  /** @param {"holes" | "late"} part @param {number} count @param {(count: number) => string} words */
  #problem(part, count, words) {
    say(this.#parts[part], words(count));
    this.#parts[part].classList.toggle("wrong", count > 0);
  }
}

/**
 * Changes a text only where it differs: who reads along hears nothing twice.
 * @param {Element} element @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {{activity: string, start: string, end: string}} told */
const timed = ({ activity, start, end }) => ({ activity, start: Date.parse(start), end: Date.parse(end) });

/** @param {string} path @returns {Promise<any>} */
async function asked(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
