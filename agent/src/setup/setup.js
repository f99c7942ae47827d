// The light on the set-up page. It says what the agent says of the first state, in the same words.
import { follow } from "./stream.js";

const TESTED_FOR = 600;

const light = document.getElementById("light");
const said = light.querySelector(".said");
const hint = light.querySelector(".hint");

function seen({ sensors }) {
  const fastest = Math.round(Math.max(0, ...sensors.map((sensor) => sensor.hertz)));
  if (sensors.length === 0) return "Phone seen";
  return `Phone seen: ${sensors.length} ${sensors.length === 1 ? "sensor" : "sensors"}, ${fastest} Hz`;
}

function read({ phones, test, uptimeSeconds }) {
  const { phone: name, since = 0 } = light.dataset;
  const phone = phones.find((phone) => name === undefined || phone.name === name);
  const isTested = test && test.secondsAgo < TESTED_FOR && uptimeSeconds - test.secondsAgo >= Number(since);
  if (isTested && (!phone || test.secondsAgo < phone.secondsAgo)) {
    const next = "Sensor Logger reaches this agent. Now tap “Start Recording” on the Logger page.";
    return ["tested", "The test push arrived.", next];
  }
  if (phone) return ["seen", seen(phone), "It works: every reading that arrives is kept."];
  return ["waiting", "Waiting for the phone…", "Tap “Tap to Test Pushing” in the app, or start a recording."];
}

function show(status) {
  const [state, text, next] = read(status);
  // A reader of the screen hears of it when it changes, not once a second.
  if (said.textContent !== text) said.textContent = text;
  if (hint.textContent !== next) hint.textContent = next;
  if (light.dataset.state !== state) light.dataset.state = state;
}

follow({ status: show, motion() {}, connection() {} });
