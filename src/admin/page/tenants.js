// Tenants: what each used of what it may.

import { bar, byId, element, refresh, show, table, write } from "./draw.js";
import { count, counted, dollars, span } from "./units.js";

const MOST = 200;

// A tenant that looks sees itself alone.
export function drawTenants({ tenants }, isOwn) {
  show(byId("tenants-part"), tenants.length > 0 || isOwn);
  write(byId("tenants-title"), isOwn ? "Your usage" : "Tenants");
  // Who is nearest to its limit comes first only where not all fit: rows that change places are hard to read.
  const shown = tenants.length > MOST ? [...tenants].sort((a, b) => fullness(b) - fullness(a)) : tenants;
  table(byId("tenants"), COLUMNS, shown.slice(0, MOST), (tenant) => tenant.name);
  const more = tenants.length - MOST;
  write(byId("tenants-more"), more > 0 ? `${counted(more, "more tenant")}, further from their limits: see /api/tenants` : "");
}

const COLUMNS = [
  { label: "Tenant", draw: drawName },
  { label: "Today", draw: (cell, { solves_today, limits }) => drawUsed(cell, solves_today, limits.daily_limit, count, "solves") },
  { label: "This month", draw: (cell, { spent_this_month, limits }) => drawUsed(cell, spent_this_month, limits.monthly_budget, dollars, "") },
  { label: "Running", draw: (cell, { running, limits }) => drawUsed(cell, running, limits.max_tasks, count, "") },
  { label: "Most a minute", kind: "number", draw: (cell, { limits }) => refresh(cell, limits.rate_per_minute, (rate) => (rate === null ? "no limit" : count(rate))) },
  { label: "Last call", draw: drawLastUse },
];

function fullness({ solves_today, spent_this_month, running, limits }) {
  const part = (used, most) => (most > 0 ? used / most : 0);
  return Math.max(part(solves_today, limits.daily_limit), part(spent_this_month, limits.monthly_budget), part(running, limits.max_tasks));
}

function drawName(cell, tenant) {
  const where = tenant.keys === null ? `pool ${tenant.pool}` : `own keys: ${tenant.keys.join(", ") || "none"}`;
  const about = [tenant.role === "user" ? null : tenant.role, tenant.project, where].filter(Boolean).join(" · ");
  refresh(cell, [tenant.name, about, tenant.active, tenant.why], () => [
    element("span", { class: "name" }, tenant.name),
    tenant.active ? null : element("span", { class: "pill off" }, "not active"),
    element("span", { class: "quiet" }, tenant.why ? `${about} · ${tenant.why}` : about),
  ]);
}

function drawUsed(cell, used, most, unit, what) {
  const text = most === null ? `${unit(used)} ${what}` : `${unit(used)} of ${unit(most)} ${what}`;
  refresh(cell, [used, most], () => [element("span", {}, text.trim()), most === null ? null : bar(used, most || 1)]);
}

function drawLastUse(cell, { last_use_seconds: ago }) {
  const text = ago === null ? "none since the start" : ago < 2 ? "just now" : `${span(ago)} ago`;
  refresh(cell, text, () => text);
}
