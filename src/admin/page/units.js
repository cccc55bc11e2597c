// Figures as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function count(number) {
  return whole.format(number);
}

export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// Cents, and more digits only where cents would show nothing.
export function dollars(usd) {
  const size = Math.abs(usd);
  const digits = size > 0 && size < 0.01 ? 4 : 2;
  const text = size.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${usd < 0 ? "−" : ""}$${text}`;
}

export function microDollars(micro) {
  return dollars(micro / 1e6);
}

// Two units at most: "3 d 4 h", "12 min", "8 s".
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  if (first < 0) return "0 s";
  const [unit, size] = units[first];
  const amount = Math.floor(whole / size);
  const next = units[first + 1];
  const rest = next && first < 2 ? Math.floor((whole % size) / next[1]) : 0;
  return rest && amount < 10 ? `${count(amount)} ${unit} ${rest} ${next[0]}` : `${count(amount)} ${unit}`;
}

export function lasts(hours) {
  if (hours === 0) return "nothing left";
  return hours > 8760 ? "over a year" : span(hours * 3600);
}

export function milliseconds(ms) {
  if (ms >= 10_000) return span(ms / 1000);
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`;
}

// The time of day where the reader is, with the day if that is another one.
export function moment(text, now = new Date()) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return "";
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return at.toDateString() === now.toDateString() ? time : `${at.getDate()} ${months[at.getMonth()]} ${time}`;
}
