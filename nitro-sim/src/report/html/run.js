// One run as the page uses it. What Rust wrote as columns becomes rows that can be asked; nothing
// here knows of pixels.

const OUTCOMES = ["ok", "failed", "unfinished", "crashed", "skipped"];
const FATES = ["sent", "delayed", "held", "dropped"];

class Run {
  constructor(raw) {
    this.account = raw.account;
    this.plan = raw.plan;
    this.nodes = raw.nodes;
    this.duration = Math.max(raw.duration_us, 1);
    this.lives = raw.lives;
    this.faults = raw.faults;
    this.strings = raw.strings;
    this.operations = rows(raw.operations);
    this.messages = rows(raw.messages);
    this.marks = rows(raw.marks);
    this.blamed = new Set(raw.slice.blamed);
    this.brought = new Set(raw.slice.brought);
    this.flags = flags(raw.events, raw.slice);
    this.window = raw.window_us;
    this.events = raw.events;
    this.byReading = this.messages.filter((m) => m.read >= 0).sort((a, b) => a.read - b.read);
    for (const lives of this.lives) lives.forEach((life, at) => (life.after = at > 0 ? lives[at - 1].state : "none"));
    for (const operation of this.operations) operation.isBlamed = this.isBlamed(operation);
  }

  // When it has gone wrong: the last of what is blamed.
  failedAt() {
    const times = [];
    for (const operation of this.operations) {
      if (this.blamed.has(operation.call)) times.push(operation.called);
      if (this.blamed.has(operation.end)) times.push(operation.ended);
    }
    for (const mark of this.marks) if (this.blamed.has(mark.event)) times.push(mark.at);
    return times.length > 0 ? Math.max(...times) : null;
  }

  isBlamed(operation) {
    return this.blamed.has(operation.call) || this.blamed.has(operation.end);
  }

  text(number) {
    return number < 0 ? "" : this.strings[number];
  }

  // Whether an event is part of what is highlighted; `thread` is of an operation that was picked.
  isLit(event, highlight, thread) {
    if (thread) return event >= 0 && isWithin(thread, event);
    if (highlight === "all" || !this.hasSlice()) return true;
    if (event < 0) return false;
    return (this.flags[event] & (highlight === "thread" ? 2 : 1)) !== 0;
  }

  hasSlice() {
    return this.blamed.size > 0;
  }

  // The events between two: those after the first and before the last, by the messages that were
  // read. As a node's events are in order, they are one range for each node.
  between(nodeOf, first, last) {
    const from = this.nodes.map(() => Infinity);
    const to = this.nodes.map(() => -1);
    from[nodeOf] = first;
    to[nodeOf] = last;
    for (const m of this.byReading) {
      if (m.event >= from[m.from]) from[m.to] = Math.min(from[m.to], m.read);
    }
    for (let at = this.byReading.length - 1; at >= 0; at--) {
      const m = this.byReading[at];
      if (m.read <= to[m.to]) to[m.from] = Math.max(to[m.from], m.event);
    }
    const events = new Set();
    const add = (node, event) => {
      if (event >= from[node] && event <= to[node]) events.add(event);
    };
    for (const m of this.messages) {
      add(m.from, m.event);
      if (m.read >= 0) add(m.to, m.read);
    }
    for (const mark of this.marks) add(mark.node, mark.event);
    for (const operation of this.operations) {
      add(operation.node, operation.call);
      add(operation.node, operation.end);
    }
    return events;
  }
}

function isWithin(thread, event) {
  return thread.has(event);
}

// Columns of equal length, as one object a row.
function rows(columns) {
  const names = Object.keys(columns);
  const count = names.length === 0 ? 0 : columns[names[0]].length;
  const all = new Array(count);
  for (let at = 0; at < count; at++) {
    const row = { index: at };
    for (const name of names) row[name] = columns[name][at];
    all[at] = row;
  }
  return all;
}

// Bit 0: happened before what is blamed; bit 1: between the blamed. Written as runs of events:
// how many to skip, how many to take, and so on.
function flags(count, slice) {
  const all = new Uint8Array(count);
  const mark = (runs, bit) => {
    let at = 0;
    for (let index = 0; index < runs.length; index += 2) {
      at += runs[index];
      for (let left = runs[index + 1]; left > 0; left--) all[at++] |= bit;
    }
  };
  mark(slice.past, 1);
  mark(slice.thread, 2);
  return all;
}
