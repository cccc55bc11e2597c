// Figures and metrics as the page reads and writes them.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// As a browser takes it: a module, whatever node thinks of its name and folder.
const source = await readFile(new URL("../../src/admin/page/units.js", import.meta.url), "utf8");
const { count, counted, dollars, lasts, milliseconds, moment, span } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

test("money has cents, and more digits only where cents show nothing", () => {
  assert.deepEqual([0, 0.0036, 0.05, 12.3, 1234.5, -3].map(dollars), ["$0.00", "$0.0036", "$0.05", "$12.30", "$1,234.50", "−$3.00"]);
});

test("a span has two units at most", () => {
  assert.deepEqual([-1, 0, 59.6, 61, 3599, 3700, 90_000, 900_000].map(span), ["0 s", "0 s", "1 min", "1 min", "59 min", "1 h 1 min", "1 d 1 h", "10 d"]);
  assert.deepEqual([0, 0.5, 30, 9000].map(lasts), ["nothing left", "30 min", "1 d 6 h", "over a year"]);
});

test("a time that a call took is in the unit that suits it", () => {
  assert.deepEqual([3, 1500, 75_000].map(milliseconds), ["3 ms", "1.5 s", "1 min"]);
});

test("counts have separators and the right word", () => {
  assert.deepEqual([count(1234567), counted(1, "key"), counted(2, "key"), counted(2, "try", "tries")], ["1,234,567", "1 key", "2 keys", "2 tries"]);
});

test("a moment of another day names the day, and what is no time is nothing", () => {
  const now = new Date(2026, 10, 21, 12);
  assert.equal(moment(new Date(2026, 10, 21, 9, 5, 7), now), "09:05:07");
  assert.equal(moment(new Date(2026, 10, 20, 9, 5, 7), now), "20 Nov 09:05:07");
  assert.equal(moment("<b>", now), "");
});
