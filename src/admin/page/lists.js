// Events, calls, submits that wait or are uncertain, and what became of the configuration.

import { byId, element, list, refresh, show, write } from "./draw.js";
import { counted, milliseconds, moment, span } from "./units.js";

const MOST = 12;

export function drawEvents(answer) {
  list(byId("events"), newest(answer?.events), ({ at, kind, subject, text }) => line(at, [subject, kind].filter(Boolean).join(" "), text), "Nothing yet.");
}

export function drawCalls(answer) {
  list(byId("calls"), newest(answer?.calls), (call) => {
    const who = [call.tenant, call.key && `with ${call.key}`, call.task && `task ${call.task}`].filter(Boolean).join(" · ");
    const took = call.tries > 0 ? `vendor ${milliseconds(call.vendor_ms)}` : "from memory";
    const tries = call.tries > 1 ? `, ${counted(call.tries, "try", "tries")}` : "";
    return line(call.at, `${call.call} ${call.outcome.replaceAll("_", " ")}`, [who, took + tries].filter(Boolean).join(" · "));
  }, "None yet.");
}

export function drawParked(answer) {
  const rows = answer?.parked ?? [];
  listed("parked", "Parked submits", answer?.count ?? 0, rows, (row) =>
    line(row.at, `${row.type}, ${row.state}`, [row.tenant, row.project, `lacks ${row.lacks}`, `polled ${span(row.polled_seconds)} ago`, `id ${row.id}`].filter(Boolean).join(" · ")));
}

export function drawUncertain(answer) {
  const rows = answer?.uncertain ?? [];
  listed("uncertain", "Uncertain submits", rows.length, rows, (row) =>
    line(row.at, `${row.type} with ${row.key}`, [row.tenant, row.project, row.why, row.task && `found: task ${row.task}`].filter(Boolean).join(" · ")));
}

function listed(id, title, number, rows, build) {
  write(byId(`${id}-title`), number ? `${title}: ${number}` : title);
  list(byId(id), rows.slice(0, MOST), build, "None.");
}

export function drawReload({ reload }) {
  if (!reload) return;
  const { adopted, refused } = reload;
  refresh(byId("reload"), reload, () => [
    element("dt", {}, "In use since"), element("dd", {}, moment(adopted)),
    element("dt", {}, "Last look"), element("dd", {}, refused ? `refused at ${moment(refused.at)}` : "adopted"),
  ]);
  show(byId("reload-why"), refused !== null);
  write(byId("reload-why"), refused?.why ?? "");
}

function newest(rows) {
  return (rows ?? []).slice(0, MOST);
}

function line(at, what, more) {
  return element("li", {},
    element("time", { datetime: at }, moment(at)),
    element("span", {}, element("b", {}, what), " ", element("span", { class: "quiet" }, more)));
}
