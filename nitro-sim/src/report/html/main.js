// Puts the page together: reads the account, makes a diagram a run, and wires bar, wheel and keys.

const began = performance.now();

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue("--" + name).trim();
  const family = getComputedStyle(document.body).fontFamily;
  const look = (name) => ({ ink: of(name), paper: of(name + "-paper") });
  return {
    paper: of("paper"), edge: of("edge"), ink: of("ink"), quiet: of("quiet"), line: of("line"),
    stripe: of("edge"), blame: of("blame"), blamePaper: of("blame-paper"), pass: of("pass"), message: of("message"),
    thread: of("message-thread"), late: of("late"), gone: of("gone"), fault: of("fault"),
    faultPaper: of("fault-paper"), down: of("down"), note: of("note"), log: of("log"),
    outcomes: [look("ok"), look("failed"), look("open"), look("lost"), look("lost")],
    small: "11.5px " + family, boldSmall: "600 11.5px " + family, bold: "600 13px " + family,
  };
}

function legend(paint) {
  const place = document.getElementById("legend");
  place.replaceChildren();
  const add = (text, draw) => {
    const canvas = element("canvas");
    const ratio = window.devicePixelRatio || 1;
    canvas.width = 34 * ratio;
    canvas.height = 16 * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    draw(pen);
    place.append(element("span", {}, canvas, text));
  };
  const arrow = (colour, dash) => (pen) => {
    line(pen, 2, 3, 30, 13, colour, 1.6, dash);
    head(pen, 2, 3, 31, 13, colour, 7);
  };
  const box = (look, dash, edge) => (pen) => {
    pen.fillStyle = look.paper;
    pen.fillRect(2, 2, 30, 12);
    pen.setLineDash(dash);
    pen.strokeStyle = edge || look.ink;
    pen.lineWidth = edge ? 2.5 : 1;
    pen.strokeRect(2, 2, 30, 12);
  };
  add("message", arrow(paint.thread, []));
  add("delayed", arrow(paint.late, [6, 3]));
  add("held", arrow(paint.late, [2, 3]));
  add("never read", (pen) => {
    line(pen, 2, 3, 18, 9, paint.gone, 1.6);
    cross(pen, 18, 9, paint.gone, 3.5);
  });
  add("operation, ok", box(paint.outcomes[0], []));
  add("failed", box(paint.outcomes[1], [4, 2]));
  add("no answer", box(paint.outcomes[2], [4, 2]));
  add("lost with its node", box(paint.outcomes[3], [4, 2]));
  add("blamed", box(paint.outcomes[0], [], paint.blame));
  add("fault", (pen) => {
    pen.fillStyle = paint.faultPaper;
    pen.fillRect(2, 1, 30, 14);
    line(pen, 2, 1, 2, 15, paint.fault, 1, [2, 3]);
    line(pen, 32, 1, 32, 15, paint.fault, 1, [2, 3]);
  });
  add("crash, start", (pen) => {
    cross(pen, 9, 8, paint.blame, 5, 2.5);
    pen.fillStyle = paint.pass;
    pen.beginPath();
    pen.moveTo(20, 2);
    pen.lineTo(29, 8);
    pen.lineTo(20, 14);
    pen.fill();
  });
  add("paused", (pen) => {
    pen.fillStyle = paint.down;
    pen.fillRect(2, 3, 30, 10);
  });
  add("note, log", (pen) => {
    line(pen, 10, 3, 10, 12, paint.note, 2);
    line(pen, 24, 3, 24, 14, paint.log, 2);
  });
}

class Page {
  constructor(data) {
    this.runs = data.runs.map((raw) => new Run(raw));
    this.difference = data.difference;
    this.filter = new Filter();
    this.scale = new Scale(Math.max(...this.runs.map((run) => run.duration)));
    this.paint = colours();
    this.diagrams = this.runs.map((run) => new Diagram(run, this.scale, this.filter, this.paint));
    this.whole = new Whole(this.runs[0], this.scale, this.paint);
    const go = (at) => this.scale.centre(at);
    this.panel = new Panel(this.runs[0], go);
    this.build();
    this.bar();
    this.wire();
    this.fitFailure();
  }

  build() {
    const { account } = this.runs[0];
    document.title = account.verdict + " · " + account.scenario + " · seed " + account.seed;
    const place = document.getElementById("diagrams");
    this.diagrams.forEach((diagram, at) => {
      const section = element("div", { class: "diagram" });
      if (this.runs.length > 1) {
        const own = this.runs[at].account;
        section.append(element("h2", {}, element("span", { class: "verdict " + own.verdict }, own.verdict), (at === 0 ? "one: " : "other: ") + own.scenario + ", seed " + own.seed + ", " + own.engine));
      }
      const space = element("div", { class: "space" });
      space.append(diagram.canvas);
      section.append(space);
      place.append(section);
    });
    place.append(this.whole.canvas);
    if (this.difference) {
      parted(this.panel, this.difference, this.runs);
      for (const diagram of this.diagrams) diagram.difference = this.difference.at_us;
    } else {
      heading(account);
    }
    this.panel.all();
    legend(this.paint);
  }

  bar() {
    const run = this.runs[0];
    const fill = (id, first, all, changed) => {
      const select = document.getElementById(id);
      select.append(element("option", { value: "-1" }, first));
      for (const [value, text] of all) select.append(element("option", { value: String(value) }, text));
      select.addEventListener("change", () => {
        changed(Number(select.value));
        this.redraw();
      });
    };
    const distinct = (of) => [...new Set(run.operations.map(of))].sort((a, b) => a - b);
    fill("node", "all", run.nodes.map((name, node) => [node, name]), (node) => this.filter.choose(run, node));
    fill("key", "all", distinct((operation) => operation.key).map((key) => [key, String(key)]), (key) => (this.filter.key = key));
    fill("name", "all", distinct((operation) => operation.name).map((name) => [name, run.text(name)]), (name) => (this.filter.name = name));
    const highlight = document.getElementById("highlight");
    if (!run.hasSlice()) highlight.parentElement.hidden = true;
    highlight.addEventListener("change", () => {
      this.filter.highlight = highlight.value;
      this.redraw();
    });
    const check = (id, changed) => {
      const box = document.getElementById(id);
      box.addEventListener("change", () => {
        changed(box.checked);
        this.redraw();
      });
    };
    check("show-messages", (shown) => (this.filter.showsMessages = shown));
    check("show-marks", (shown) => (this.filter.showsMarks = shown));
    const press = (id, act) => document.getElementById(id).addEventListener("click", act);
    press("zoom-in", () => this.scale.zoom(0.6));
    press("zoom-out", () => this.scale.zoom(1 / 0.6));
    press("fit-all", () => this.scale.show(0, this.scale.duration));
    press("fit-failure", () => this.fitFailure());
    if (!run.hasSlice()) document.getElementById("fit-failure").hidden = true;
  }

  fitFailure() {
    let [from, to] = this.runs[0].window;
    if (!this.runs[0].hasSlice()) {
      // Where nothing is to be framed, no more than can be told apart.
      const inside = this.runs[0].messages.filter((m) => m.sent >= from && m.sent <= to).length;
      const span = (to - from) * Math.min(1, 500 / Math.max(inside, 1));
      const first = this.runs[0].faults.find((fault) => fault.from >= from && fault.from < to);
      if (first) from = Math.max(from, first.from - span / 3);
      to = from + span;
    }
    const air = Math.max((to - from) * 0.12, 500);
    this.scale.show(from - air, to + air * 1.6);
  }

  wire() {
    this.scale.listeners.push(() => this.redraw());
    for (const diagram of this.diagrams) this.pointer(diagram);
    window.addEventListener("resize", () => this.redraw());
    window.addEventListener("keydown", (event) => this.key(event));
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => {
      Object.assign(this.paint, colours());
      legend(this.paint);
      this.redraw();
    });
  }

  pointer(diagram) {
    const { canvas } = diagram;
    let down = null;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const isAside = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (isAside) this.scale.pan(event.deltaX || event.deltaY);
      else this.scale.zoom(Math.exp(event.deltaY * 0.0015), event.offsetX);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      down = { x: event.clientX, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (down) {
        const by = event.clientX - down.x;
        if (Math.abs(by) > 2) down.moved = true;
        if (down.moved) {
          canvas.classList.add("dragging");
          this.scale.pan(-by);
          down.x = event.clientX;
        }
        return;
      }
      this.tip(diagram, event);
    });
    canvas.addEventListener("pointerup", (event) => {
      canvas.classList.remove("dragging");
      if (down && !down.moved) this.pick(diagram, diagram.at(event.offsetX, event.offsetY));
      down = null;
    });
    canvas.addEventListener("pointerleave", () => (document.getElementById("tip").hidden = true));
  }

  // A picked operation is lit with all that lies between its call and its end.
  pick(diagram, hit) {
    this.filter.pick(diagram.run, hit && hit.kind === "operation" ? hit.what : null);
    this.panel.run = diagram.run;
    this.panel.show(hit);
    this.redraw();
  }

  tip(diagram, event) {
    const tip = document.getElementById("tip");
    const hit = diagram.at(event.offsetX, event.offsetY);
    diagram.canvas.classList.toggle("pointing", hit !== null);
    tip.hidden = hit === null;
    if (hit === null) return;
    tip.replaceChildren(details(diagram.run, hit));
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    const top = Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8);
    tip.style.left = left + "px";
    tip.style.top = top + "px";
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT)$/.test(event.target.tagName)) return;
    const acts = {
      "+": () => this.scale.zoom(0.7),
      "=": () => this.scale.zoom(0.7),
      "-": () => this.scale.zoom(1 / 0.7),
      ArrowLeft: () => this.scale.pan(-90),
      ArrowRight: () => this.scale.pan(90),
      a: () => this.scale.show(0, this.scale.duration),
      f: () => this.fitFailure(),
      s: () => this.turnHighlight(),
      Escape: () => this.pick(this.diagrams[0], null),
    };
    if (acts[event.key]) {
      event.preventDefault();
      acts[event.key]();
    }
  }

  turnHighlight() {
    const select = document.getElementById("highlight");
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
    this.filter.highlight = select.value;
    this.redraw();
  }

  // Many changes of one frame are drawn once.
  redraw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.isDue = false;
    for (const diagram of this.diagrams) diagram.draw();
    this.whole.draw();
    const { from, to } = this.scale;
    const span = document.getElementById("span");
    const fine = (to - from) / 100;
    span.textContent = seconds(Math.max(from, 0), fine) + " to " + seconds(to, fine) + " (" + took(Math.round(to - from)) + ")";
  }
}

const data = JSON.parse(document.getElementById("account").textContent);
const page = new Page(data);
page.draw();
// For who measures: from the first byte to the first picture.
document.body.dataset.drawnMs = String(Math.round(performance.now()));
document.body.dataset.scriptMs = String(Math.round(performance.now() - began));
document.body.dataset.events = String(data.runs.reduce((sum, run) => sum + run.events, 0));
