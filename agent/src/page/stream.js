// @ts-check
/**
 * The agent's news: server-sent events, and where they fail the status asked for every 2 s.
 *
 * - Whoever follows always knows which of the two it is, or since when nothing was heard.
 * - An answer of the agent is news; an open connection alone is not.
 * - A device that wakes asks at once. A page that nobody sees holds no connection: browsers have six for a host.
 */

/**
 * @typedef {{name: string, hertz: number}} Sensor
 * @typedef {{deviceId: string, name: string | null, sessionId: string, activity: string | null,
 *   confidence: number | null, magnitude: number | null, since: string | null, secondsAgo: number, readings: number,
 *   readingsPerSecond: number, sensors: Sensor[], holes: number, lateReadings: number}} Phone
 * @typedef {{agent: string | null, version: string, uptimeSeconds: number, notices: string[], isOpen: boolean,
 *   readings: number, duplicates: number, test: {deviceId: string | null, secondsAgo: number} | null,
 *   spool: {frames: number, bytes: number, maxBytes: number, oldestSeconds: number | null,
 *     diskFreeBytes: number | null, drainedInSeconds: number | null},
 *   relay: {isLinked: boolean, waitingFor: string | null, committedFrames: number},
 *   thresholds: {walking: number, running: number, sprinting: number}, phones: Phone[]}} Status
 * @typedef {{start: string, end: string, samples: number, magnitude: number, activity: string,
 *   confidence: number}} Window
 * @typedef {{deviceId: string, sessionId: string, bins: [number, number, number][], running: Window | null,
 *   closed: Window[]}} Motion
 * @typedef {{state: "live" | "polling" | "lost", since: number, reason: string | null}} Connection `since`: when the
 *   agent was last heard, ms; `reason`: what the agent answered instead.
 * @typedef {{status?: (status: Status) => void, motion?: (motion: Motion) => void,
 *   connection?: (connection: Connection) => void}} Followers
 */

const EVENTS = "/api/v1/events";
const STATUS = "/api/v1/status";

/** Without news for so long events have failed; the agent sends some every 5 s. */
const SILENCE_MS = 15_000;
/** Between two questions. */
const POLL_MS = 2000;
/** An answer takes no longer. */
const ANSWER_MS = 5000;
/** Before events are tried again: after the first failures, and while polling works. */
const RETRY_MS = [300, 1500, 5000, 20_000];
/** Before who is let in no more asks again. */
const CLOSED_MS = 30_000;
/** A tick that comes so late means that the device slept. */
const SLEPT_MS = 6000;

/**
 * Tells followers what the agent does until the function that it answers is called.
 * @param {Followers} followers
 * @returns {() => void}
 */
export function follow(followers) {
  const stream = new Stream(followers);
  stream.begin();
  return () => stream.end();
}

class Stream {
  #followers;
  /** @type {EventSource | null} */ #events = null;
  /** @type {AbortController | null} */ #asking = null;
  /** When news last came. */ #heard = Date.now();
  /** When events last brought some, or were last connected to. */ #quietSince = Date.now();
  /** Failures of events since they last brought news. */ #failures = 0;
  /** When to try events again, when to ask. */ #retryAt = Infinity;
  #pollAt = Infinity;
  #ticked = Date.now();
  #timer = 0;
  #stopped = new AbortController();
  /** @type {Connection | null} */ #told = null;

  /** @param {Followers} followers */
  constructor(followers) {
    this.#followers = followers;
  }

  begin() {
    const { signal } = this.#stopped;
    const wake = () => this.#wake();
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#sleep() : wake()), { signal });
    window.addEventListener("online", wake, { signal });
    window.addEventListener("pageshow", (event) => event.persisted && wake(), { signal });
    // A page that is kept for "back" holds no connection.
    window.addEventListener("pagehide", () => this.#drop(), { signal });
    this.#timer = window.setInterval(() => this.#tick(), 500);
    if (!document.hidden) this.#connect();
  }

  end() {
    this.#stopped.abort();
    window.clearInterval(this.#timer);
    this.#drop();
    this.#asking?.abort();
  }

  #tick() {
    const now = Date.now();
    const slept = now - this.#ticked > SLEPT_MS && document.visibilityState === "visible";
    this.#ticked = now;
    if (document.hidden) return;
    if (slept) return this.#wake();
    if (this.#events && now - this.#quietSince > SILENCE_MS) this.#failed();
    if (now >= this.#retryAt) this.#connect();
    if (now >= this.#pollAt && !this.#asking) void this.#ask();
  }

  #wake() {
    if (this.#events && Date.now() - this.#heard < SLEPT_MS && this.#told?.state === "live") return;
    this.#failures = 0;
    this.#connect();
    if (!this.#asking) void this.#ask();
  }

  #sleep() {
    this.#drop();
    // What comes first afterwards is told as new: something was missed.
    [this.#retryAt, this.#pollAt, this.#told] = [Infinity, Infinity, null];
  }

  #drop() {
    this.#events?.close();
    this.#events = null;
  }

  #connect() {
    this.#drop();
    [this.#retryAt, this.#quietSince] = [Infinity, Date.now()];
    const events = new EventSource(EVENTS);
    this.#events = events;
    events.addEventListener("status", (event) => {
      this.#news(event, (status) => this.#followers.status?.(status));
    });
    events.addEventListener("motion", (event) => {
      this.#news(event, (motion) => this.#followers.motion?.(motion));
    });
    // The browser's own retries say nothing of why and when; ours do.
    events.addEventListener("error", () => events === this.#events && this.#failed());
  }

  /** @param {MessageEvent<string>} event @param {(news: any) => void} tell */
  #news(event, tell) {
    const told = parsed(event.data);
    if (told === null) return;
    [this.#failures, this.#pollAt, this.#retryAt, this.#quietSince] = [0, Infinity, Infinity, Date.now()];
    this.#heardNow("live");
    tell(told);
  }

  #failed() {
    this.#drop();
    this.#retryAt = Date.now() + RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)];
    this.#failures += 1;
    // Once may be the agent's restart; whoever looks at it is told by the first question that is not answered.
    if (this.#pollAt === Infinity) this.#pollAt = Date.now() + (this.#failures > 1 ? 0 : RETRY_MS[0]);
  }

  async #ask() {
    const asking = new AbortController();
    this.#asking = asking;
    const late = window.setTimeout(() => asking.abort(), ANSWER_MS);
    /** @type {string | null} */ let reason = null;
    let isClosed = false;
    try {
      const answer = await fetch(STATUS, { cache: "no-store", signal: asking.signal });
      if (answer.ok) {
        const status = await answer.json();
        if (this.#stopped.signal.aborted) return;
        if (this.#pollAt !== Infinity) {
          if (this.#told?.state === "lost" && !this.#events) this.#retryAt = Date.now();
          this.#heardNow("polling");
        }
        this.#followers.status?.(status);
        return;
      }
      isClosed = answer.status === 403;
      reason = isClosed ? "This browser is not let in any more: it needs a new link." : `The agent answers ${answer.status}.`;
    } catch {
      // Nothing answers: the state says so.
    } finally {
      window.clearTimeout(late);
      this.#asking = null;
      if (this.#pollAt !== Infinity) this.#pollAt = Date.now() + POLL_MS;
    }
    if (this.#stopped.signal.aborted) return;
    if (this.#pollAt === Infinity || isClosed) this.#pollAt = Date.now() + (isClosed ? CLOSED_MS : POLL_MS);
    if (isClosed) this.#retryAt = Infinity;
    this.#tell({ state: "lost", since: this.#heard, reason });
  }

  /** @param {"live" | "polling"} state */
  #heardNow(state) {
    this.#heard = Date.now();
    this.#tell({ state, since: this.#heard, reason: null });
  }

  /** @param {Connection} connection */
  #tell(connection) {
    const told = this.#told;
    this.#told = connection;
    if (told?.state !== connection.state || told.reason !== connection.reason) this.#followers.connection?.(connection);
  }
}

/** @param {string} text @returns {any} Null if it is no JSON object. */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
