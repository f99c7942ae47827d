// @ts-check
/**
 * The live page: takes over the elements that the agent rendered, and keeps them at what the agent tells.
 *
 * - A card stays while its phone is told of, and where it is unless phones come or go.
 * - Without news nothing looks alive.
 */
import { Card, say } from "./phone.js";
import { follow } from "./stream.js";
import { showNotices, showWay } from "./way.js";
import { capital, duration, exact, thousands } from "./words.js";

/** @typedef {import("./stream.js").Status} Status */
/** @typedef {import("./stream.js").Connection} Connection */

/** Between two announcements to who listens to the page. */
const ANNOUNCE_MS = 10_000;
/** A phone that the agent does not tell of (after its restart) is shown for so long. */
const FORGET_MS = 600_000;

/** @param {string} selector @returns {HTMLElement} */
const find = (selector) => /** @type {HTMLElement} */ (document.querySelector(selector));

const phones = find("#phones");
const template = /** @type {HTMLTemplateElement} */ (find("#card"));
const empty = /** @type {HTMLElement} */ (document.getElementById("empty") ?? inside("#no-phone"));
/** @type {Map<string, Card>} */ const cards = new Map();
/** @type {Connection["state"] | null} */ let state = null;
/** @type {Set<string>} What is to be announced. */ const unsaid = new Set();
let saidAt = 0;

for (const article of phones.querySelectorAll("article")) {
  const device = article.dataset.device;
  if (device !== undefined) cards.set(device, new Card(article, device));
}

/** A copy of what a template holds. @param {string} selector @returns {HTMLElement} */
function inside(selector) {
  const { content } = /** @type {HTMLTemplateElement} */ (find(selector));
  return /** @type {HTMLElement} */ (/** @type {Element} */ (content.firstElementChild).cloneNode(true));
}

/** @param {Status} status */
function show(status) {
  say(find("#agent"), status.agent ?? "agent");
  for (const notice of showNotices(status.notices)) unsaid.add(notice);
  showWay(status);
  const told = new Set(status.phones.map((phone) => phone.deviceId));
  for (const [device, card] of cards) {
    if (told.has(device) || Date.now() - card.heardAt < FORGET_MS) continue;
    card.end();
    cards.delete(device);
  }
  for (const phone of status.phones) {
    const card = cards.get(phone.deviceId) ?? made(phone.deviceId);
    const before = card.activity;
    card.update(phone, status.thresholds, state === "polling");
    noticed(card, before);
  }
  arrange();
  say(/** @type {Element} */ (empty.querySelector(".tested")), tested(status));
  say(find("#about"), about(status));
}

/** @param {string} device */
function made(device) {
  const article = /** @type {HTMLElement} */ (
    /** @type {Element} */ (template.content.firstElementChild).cloneNode(true)
  );
  phones.append(article);
  const card = new Card(article, device);
  card.call(device);
  cards.set(device, card);
  return card;
}

/** By name, as the agent renders them. */
function arrange() {
  const order = [...cards.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  order.forEach((card, at) => {
    if (phones.children[at] !== card.article) phones.insertBefore(card.article, phones.children[at] ?? null);
  });
  const size = cards.size;
  phones.dataset.size = size <= 1 ? "one" : size === 2 ? "two" : size <= 8 ? "few" : "many";
  if (size) empty.remove();
  else if (!empty.isConnected) phones.before(empty);
  const [only] = cards.values();
  document.title = size === 1 && only.activity ? `${capital(only.activity)} · gaitway` : "gaitway";
}

/** @param {Status} status */
function tested({ test }) {
  return test ? `The test push arrived ${duration(test.secondsAgo)} ago. Now start a recording.` : "";
}

/** @param {Card} card @param {string | null} before */
function noticed(card, before) {
  if (card.activity && card.activity !== before && before !== null)
    unsaid.add(`${card.name}: ${capital(card.activity)}.`);
  announce();
}

function announce() {
  if (!unsaid.size || Date.now() - saidAt < ANNOUNCE_MS) return;
  saidAt = Date.now();
  // Of many at once the last few; nobody listens to fifty.
  say(find("#announcement"), [...unsaid].slice(-4).join(" "));
  unsaid.clear();
}

/** @param {Status} status */
function about({ version, uptimeSeconds, duplicates, readings }) {
  const again = duplicates ? `, ${thousands(duplicates)} pushes that came again` : "";
  return `gaitway ${version}, up for ${duration(uptimeSeconds)}, ${thousands(readings)} readings${again}`;
}

/** @param {Connection} connection */
function connected({ state: now, since, reason }) {
  const line = find("#connection");
  line.dataset.state = now;
  document.body.dataset.connection = now;
  const why = reason ?? "The agent does not answer.";
  const texts = {
    live: "Live",
    polling: "Asked every 2 s",
    lost: `Connection lost since ${exact(since)}. ${why} What you see is from then. Trying again.`,
  };
  say(line, texts[now]);
  if (now === "lost") document.title = "Connection lost · gaitway";
  if (now === "live" && state !== null) for (const card of cards.values()) card.renew();
  state = now;
  for (const card of cards.values()) card.tick(now === "lost");
}

follow({
  status: show,
  connection: connected,
  motion(motion) {
    // The first push of a phone comes before the status that tells of it.
    const isNew = !cards.has(motion.deviceId);
    const card = cards.get(motion.deviceId) ?? made(motion.deviceId);
    if (isNew) arrange();
    const before = card.activity;
    card.motion(motion);
    noticed(card, before);
  },
});

window.setInterval(() => {
  announce();
  if (document.visibilityState !== "visible") return;
  for (const card of cards.values()) card.tick(state === "lost");
}, 1000);
document.addEventListener("visibilitychange", () => {
  for (const card of cards.values()) card.tick(state === "lost");
});
