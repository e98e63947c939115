// The account in words: the head of the page, what happened in order, why it is impossible, the
// plan. All text goes in as text, never as markup.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  for (const child of children) made.append(child);
  return made;
}

function heading(account) {
  const head = document.getElementById("head");
  const title = element("div", { class: "title" });
  title.append(element("span", { class: "verdict " + account.verdict }, account.verdict));
  title.append(element("h1", {}, account.scenario));
  title.append(element("span", { class: "quiet" }, "seed " + account.seed + " · " + account.engine + " engine · " + account.nodes.map((n) => n.count + " " + n.role).join(", ") + " · " + account.duration_ms / 1000 + " s"));
  head.append(title);
  const first = account.reasons[0];
  if (first) {
    const why = element("p", { class: "why" }, element("b", {}, first.check + ": "), first.what.split("\n")[0]);
    const others = account.reasons.length - 1;
    if (others > 0) why.append(element("span", { class: "quiet" }, " and " + others + " more"));
    head.append(why);
  }
  const facts = element("p", { class: "facts" });
  facts.append(element("span", {}, "replay ", element("code", {}, account.command)));
  facts.append(element("span", {}, "digest ", element("code", {}, account.digest)));
  head.append(facts);
}

class Panel {
  constructor(run, go) {
    this.run = run;
    this.go = go;
    this.side = document.getElementById("side");
    this.picked = element("div", { id: "picked", hidden: "" });
    this.side.append(this.picked);
  }

  all() {
    const { account } = this.run;
    this.reasons(account.reasons);
    const found = account.reasons.find((reason) => reason.contradiction);
    if (found) this.contradiction(found.contradiction, found.check.startsWith("sequential"));
    this.story(account);
    this.faults();
    this.work(account);
    this.measured(account.measured);
    this.plan();
  }

  title(text) {
    this.side.append(element("h2", {}, text));
  }

  reasons(reasons) {
    if (reasons.length === 0) return;
    this.title("What is wrong");
    for (const reason of reasons) {
      const [first] = reason.what.split("\n");
      this.side.append(element("p", { class: "impossible" }, element("b", {}, reason.check), element("br"), first));
    }
  }

  story(account) {
    if (account.story.length === 0) return;
    this.title("What happened, in order");
    const list = element("ol");
    for (const step of account.story) {
      if (step.skipped > 0) {
        list.append(element("li", { class: "between" }, element("span", { class: "at" }, "⋮"), step.skipped + " more"));
      }
      const kind = step.is_blamed ? "step blamed" : step.node === null ? "step fault" : "step";
      const item = element("li", { class: kind, tabindex: "0" });
      item.append(element("span", { class: "at" }, (step.at_us / 1e6).toFixed(4)));
      const words = element("span");
      if (step.node !== null) words.append(element("span", { class: "who" }, step.node), " ");
      words.append(step.node === null ? element("span", { class: "who" }, step.what) : step.what);
      item.append(words);
      this.step(item, step.at_us);
      list.append(item);
    }
    this.side.append(list);
  }

  step(item, at) {
    item.addEventListener("click", () => this.go(at));
    item.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.go(at);
    });
  }

  contradiction(found, isOfNodes) {
    this.title(found.key === null ? "Why no order is possible" : "Why no order is possible for key " + found.key);
    const kept = isOfNodes ? "each node's own" : "who returned before who was called";
    this.side.append(element("p", { class: "quiet" }, "The fewest operations found that contradict one another; put them in any order that keeps " + kept + ", and one answer is wrong."));
    const table = element("table");
    table.append(row("th", ["from", "to", "operation", "asked", "answered"]));
    for (const made of found.operations) {
      const at = (us) => (us === null ? "—" : (us / 1e6).toFixed(4));
      const cells = [at(made.called_us), at(made.returned_us), "#" + made.operation + " " + made.name + " by " + made.node, made.input, made.output === null ? "not heard" : made.output];
      const line = row("td", cells);
      line.className = made.operation === found.last ? "step last" : "step";
      this.step(line, made.returned_us === null ? made.called_us : made.returned_us);
      table.append(line);
    }
    this.side.append(table);
    const states = found.states.length > 0 ? ": by then it could only be " + found.states.join(" or ") : "";
    this.side.append(element("p", { class: "impossible" }, "Impossible when operation #" + found.last + " returns" + states + "."));
  }

  faults() {
    this.title("Faults of the plan");
    if (this.run.faults.length === 0) this.side.append(element("p", { class: "quiet" }, "none"));
    const table = element("table");
    if (this.run.faults.length > 0) table.append(row("th", ["from", "to", "what", "touched"]));
    for (const fault of this.run.faults) {
      const to = fault.to < 0 ? "end" : (fault.to / 1e6).toFixed(3);
      const line = row("td", [(fault.from / 1e6).toFixed(3), to, clip(fault.what, 90), String(fault.touched)]);
      line.title = fault.what;
      line.className = "step";
      this.step(line, fault.from);
      table.append(line);
    }
    this.side.append(table);
  }

  work(account) {
    this.title("Operations");
    const table = element("table");
    table.append(row("th", ["", "planned", "ok", "failed", "open", "lost"]));
    for (const line of account.workloads) {
      table.append(row("td", [line.operation, line.planned, line.ok, line.failed, line.unfinished, line.lost].map(String)));
    }
    for (const [kind, count] of Object.entries(account.failed)) {
      const line = row("td", ["  " + kind, "", "", String(count), "", ""]);
      line.className = "quiet";
      table.append(line);
    }
    this.side.append(table);
    const m = account.messages;
    this.side.append(element("p", { class: "quiet" }, "messages: " + m.sent + " sent, " + m.delayed + " delayed, " + m.held + " held, " + m.dropped + " dropped; " + m.unread + " never read"));
  }

  // The figures that the scenario asks for, each beside its bounds.
  measured(all) {
    if (all.length === 0) return;
    this.title("Measured");
    const table = element("table", { id: "measured" });
    table.append(row("th", ["", "figure", "least", "most"]));
    const bound = (figure) => (figure === undefined ? "—" : String(figure));
    for (const { measure, figure } of all) {
      const told = figure === null ? "nothing to measure" : figure.toFixed(3);
      const line = row("td", [measure.id, told, bound(measure.min), bound(measure.max)]);
      if (figure === null || figure < measure.min || figure > measure.max) line.className = "differs";
      table.append(line);
    }
    this.side.append(table);
  }

  plan() {
    const all = element("details", {}, element("summary", {}, "The whole plan"));
    all.append(element("pre", {}, this.run.plan));
    this.title("Plan");
    this.side.append(all);
  }

  // What was picked, with all there is to say of it.
  show(hit) {
    this.picked.replaceChildren();
    this.picked.hidden = !hit;
    if (hit) this.picked.append(details(this.run, hit));
  }
}

function row(kind, cells) {
  const line = element("tr");
  for (const cell of cells) line.append(element(kind, kind === "td" && /^[\d.—]+$/.test(cell) ? { class: "number" } : {}, cell));
  return line;
}

// All there is to say of what is under the pointer.
function details(run, hit) {
  const what = hit.what;
  const list = element("dl");
  const add = (name, value) => {
    if (value !== "" && value !== null && value !== undefined) list.append(element("dt", {}, name), element("dd", {}, String(value)));
  };
  const time = (us) => (us / 1e6).toFixed(6) + " s";
  let title = "";
  if (hit.kind === "operation") {
    title = "Operation #" + what.id + " " + run.text(what.name);
    add("by", run.nodes[what.node]);
    add("key", what.key);
    add("value", what.value);
    add("called", time(what.called));
    add("ended", time(what.ended) + " (after " + took(what.ended - what.called) + ")");
    add("outcome", OUTCOMES[what.outcome]);
    add(what.outcome === 0 ? "reply" : "error", run.text(what.said));
    if (what.isBlamed) add("part", "blamed by the check");
  } else if (hit.kind === "message") {
    title = "Message " + run.nodes[what.from] + " → " + run.nodes[what.to];
    add("event", what.event);
    add("bytes", what.bytes);
    add("sent", time(what.sent));
    add("read", what.read_us < 0 ? "never" : time(what.read_us) + " (after " + took(what.read_us - what.sent) + ")");
    add("on its way", FATES[what.fate]);
  } else if (hit.kind === "mark") {
    title = run.text(what.kind) + " of " + run.nodes[what.node];
    add("event", what.event);
    add("at", time(what.at));
    add("says", run.text(what.text));
    if (run.blamed.has(what.event)) add("part", "blamed by the check");
  } else {
    title = what.id;
    add("what", what.what);
    add("from", time(what.from));
    add("to", what.to < 0 ? "the end" : time(what.to));
    add("touched", what.touched);
  }
  const box = document.createDocumentFragment();
  box.append(element("b", {}, title), list);
  return box;
}
