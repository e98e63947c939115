// The space-time diagram of one run: a lane a node, time to the right. It draws what the scale
// shows and the filter lets through, and tells what is under the pointer.

const LABELS = 118;
const AXIS = 30;
const BOX = 17;

class Diagram {
  constructor(run, scale, filter, colours) {
    this.run = run;
    this.scale = scale;
    this.filter = filter;
    this.colours = colours;
    this.canvas = element("canvas", { class: "plot", tabindex: "0" });
    this.canvas.setAttribute("aria-label", "Space-time diagram; its account is beside it");
    this.difference = null;
    this.hover = null;
    this.stack();
  }

  // Operations of one node that overlap stand in rows of their own.
  stack() {
    const ends = this.run.nodes.map(() => []);
    this.rows = this.run.nodes.map(() => 1);
    for (const operation of this.run.operations) {
      if (operation.called < 0) continue;
      const rows = ends[operation.node];
      let row = rows.findIndex((end) => end < operation.called);
      if (row < 0) row = rows.length;
      rows[row] = operation.ended;
      operation.row = row;
      this.rows[operation.node] = Math.max(this.rows[operation.node], row + 1);
    }
  }

  // Where each lane is, for a height to fill. Lanes of who has operations are taller.
  layout(width, height) {
    const lanes = this.run.nodes.map((_, node) => node).filter((node) => this.filter.hasNode(node));
    const busy = new Set(this.run.operations.map((operation) => operation.node));
    // As many rows of operations as fit; with very many nodes the page scrolls.
    let need;
    let least = Infinity;
    for (let rows = 4; rows >= 1 && least > height - AXIS - 14; rows--) {
      need = (node) => (rows > 1 ? 26 : 20) + (busy.has(node) ? Math.min(this.rows[node], rows) * (BOX + 2) : rows > 1 ? 8 : 0);
      least = lanes.reduce((sum, node) => sum + need(node), 0);
    }
    const more = Math.max(0, height - AXIS - 14 - least) / Math.max(lanes.length, 1);
    this.lanes = lanes;
    this.lineOf = new Map();
    this.topOf = new Map();
    let top = AXIS;
    for (const node of lanes) {
      this.topOf.set(node, top);
      top += need(node) + Math.min(more, 110);
      this.lineOf.set(node, top - (more > 6 ? 13 : 9) - Math.min(more, 110) * 0.3);
    }
    this.bottom = top;
    this.width = width;
    this.height = Math.max(top + 12, Math.min(height, top + 12));
  }

  draw() {
    const space = this.canvas.parentElement;
    this.layout(space.clientWidth, space.clientHeight);
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this;
    if (this.canvas.width !== width * ratio || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = width * ratio;
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.height = height + "px";
    }
    this.scale.left = LABELS;
    this.scale.width = width - LABELS - 14;
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.pen = pen;
    this.hits = [];
    this.axis();
    pen.save();
    pen.beginPath();
    pen.rect(LABELS, 0, width - LABELS, height);
    pen.clip();
    this.bands();
    this.lines();
    if (this.filter.showsMessages) this.drawMessages();
    this.boxes();
    if (this.filter.showsMarks) this.ticks();
    this.ends();
    const failedAt = this.run.failedAt();
    if (failedAt !== null) this.moment(failedAt, "fails: " + clip(this.run.account.reasons[0].check, 44), [1, 0]);
    if (this.difference !== null) this.moment(this.difference, "first difference", [6, 4]);
    pen.restore();
    this.labels();
  }

  axis() {
    const { pen, scale, colours } = this;
    const { all, step } = scale.ticks();
    pen.font = colours.small;
    pen.textBaseline = "middle";
    pen.textAlign = "center";
    for (const at of all) {
      const x = Math.round(scale.x(at)) + 0.5;
      line(pen, x, AXIS - 6, x, this.bottom, colours.edge, 1);
      pen.fillStyle = colours.quiet;
      pen.fillText(seconds(at, step), x, 11);
    }
  }

  labels() {
    const { pen, colours, run } = this;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const node of this.lanes) {
      const y = this.lineOf.get(node);
      pen.font = colours.bold;
      pen.fillStyle = this.filter.isBlamedNode(run, node) ? colours.blame : colours.ink;
      pen.fillText(clip(run.nodes[node], 15), LABELS - 12, y);
      const side = this.sideOf(node);
      if (side >= 0) {
        pen.font = colours.boldSmall;
        pen.fillStyle = colours.fault;
        pen.fillText("ABCDEFGH"[side % 8], 16, y);
      }
    }
  }

  // Which side of a parted network a node is on, where one is in view.
  sideOf(node) {
    const { from, to } = this.scale;
    const isSeen = (fault) => fault.sides.length > 0 && fault.from < to && (fault.to < 0 || fault.to > from);
    const fault = this.run.faults.find(isSeen);
    return fault ? fault.sides.findIndex((group) => group.includes(node)) : -1;
  }

  // Faults: a band over the lanes they touch, with its name at its top.
  bands() {
    const { pen, scale, colours, run } = this;
    const taken = [];
    for (const fault of run.faults) {
      const [from, to] = [scale.x(fault.from), scale.x(fault.to < 0 ? run.duration : fault.to)];
      if (to < LABELS || from > this.width) continue;
      const lanes = fault.nodes.filter((node) => this.lineOf.has(node));
      if (lanes.length === 0) continue;
      const left = Math.max(from, LABELS);
      const right = Math.max(Math.min(to, this.width), left + 2);
      for (const node of lanes) {
        const top = this.topOf.get(node);
        const low = this.laneEnd(node);
        pen.fillStyle = colours.faultPaper;
        pen.fillRect(left, top, right - left, low - top);
        this.hits.push({ x: left, y: top, w: right - left, h: low - top, kind: "fault", what: fault });
      }
      const top = this.topOf.get(lanes[0]);
      for (const x of [from, to]) {
        if (x >= LABELS && x <= this.width) {
          line(pen, x, top, x, this.laneEnd(lanes[lanes.length - 1]), colours.fault, 1, [2, 3]);
        }
      }
      pen.font = colours.boldSmall;
      const room = Math.max(right - left, 160);
      const words = clip(fault.what, Math.floor((room - 12) / 6));
      const wide = pen.measureText(words).width + 10;
      let y = top + 8;
      while (taken.some((box) => box.y === y && left < box.to && left + wide > box.from)) y += 15;
      taken.push({ y, from: left, to: left + wide });
      pen.textAlign = "left";
      pen.textBaseline = "middle";
      tag(pen, left + 2, y, words, colours.paper, colours.fault);
    }
  }

  laneEnd(node) {
    const at = this.lanes.indexOf(node);
    return at + 1 < this.lanes.length ? this.topOf.get(this.lanes[at + 1]) : this.bottom;
  }

  // The lines of the nodes: thick while one runs, gone while it is down, double while it pauses.
  lines() {
    const { pen, scale, colours, run } = this;
    for (const node of this.lanes) {
      const y = this.lineOf.get(node);
      const low = this.laneEnd(node);
      line(pen, LABELS, low + 0.5, this.width, low + 0.5, colours.stripe, 1);
      for (const life of run.lives[node]) {
        const [from, to] = [Math.max(scale.x(life.from), LABELS), Math.min(scale.x(life.to), this.width)];
        if (to <= from) continue;
        if (life.state === "up") {
          line(pen, from, y, to, y, colours.line, 2.5);
        } else if (life.state === "paused") {
          pen.fillStyle = colours.down;
          pen.fillRect(from, y - 6, to - from, 12);
          this.word(from, to, y, "paused");
        } else {
          line(pen, from, y, to, y, colours.down, 1, [1, 5]);
          if (life.state === "down") this.word(from, to, y, "crashed");
          else this.word(from, to, y, "stopped");
        }
      }
    }
  }

  word(from, to, y, text) {
    const { pen, colours } = this;
    pen.font = colours.boldSmall;
    const wide = pen.measureText(text).width + 10;
    if (to - from < wide) return;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    const x = (from + to - wide) / 2;
    pen.fillStyle = colours.paper;
    pen.fillRect(x, y - 8, wide, 16);
    pen.fillStyle = colours.ink;
    pen.fillText(text, x + 5, y);
  }

  // Messages: an arrow from the line of the sender to that of the reader. Where very many are in
  // view, those that would fall on the same pixels are drawn once.
  drawMessages() {
    const { scale, run, filter } = this;
    const visible = [];
    for (const m of run.messages) {
      const end = m.read_us >= 0 ? m.read_us : m.sent;
      if (end < scale.from || m.sent > scale.to) continue;
      if (!this.lineOf.has(m.from) || !this.lineOf.has(m.to)) continue;
      visible.push(m);
    }
    const isMany = visible.length > 3000;
    const lit = [];
    const dim = [];
    for (const m of visible) (filter.isMessageLit(run, m) ? lit : dim).push(m);
    this.arrows(dim, false, dim.length > 1500, isMany);
    this.arrows(lit, true, lit.length > 1500, isMany);
    // What brought the failure, on top of all.
    for (const m of visible) if (run.brought.has(m.event)) this.broughtBy(m);
  }

  broughtBy(m) {
    const { pen, scale, colours } = this;
    if (m.read_us < 0) return;
    const [x1, y1] = [scale.x(m.sent), this.lineOf.get(m.from)];
    const [x2, y2] = [scale.x(m.read_us), this.lineOf.get(m.to)];
    line(pen, x1, y1, x2, y2, colours.blame, 2.5, m.fate === 1 || m.fate === 2 ? [7, 4] : []);
    head(pen, x1, y1, x2, y2, colours.blame, 9);
  }

  arrows(all, isLit, isPlain, isMany) {
    const { pen, scale, colours } = this;
    const seen = isMany ? new Set() : null;
    const most = isLit ? 1 : 0.22;
    pen.globalAlpha = isPlain ? Math.max((most * 700) / all.length, 0.05) : most;
    for (const m of all) {
      const [y1, y2] = [this.lineOf.get(m.from), this.lineOf.get(m.to)];
      const x1 = scale.x(m.sent);
      const isRead = m.read_us >= 0;
      const x2 = isRead ? scale.x(m.read_us) : x1 + Math.min(26, Math.abs(y2 - y1) * 0.4);
      if (seen) {
        const key = ((Math.round(x1) * 8192 + Math.round(x2)) * 64 + (m.from % 64)) * 64 + (m.to % 64);
        if (seen.has(key)) continue;
        seen.add(key);
      }
      const isLate = m.fate === 1 || m.fate === 2;
      const plain = isLit && !this.filter.isAll() && this.run.hasSlice() ? colours.thread : colours.message;
      const colour = !isRead ? colours.gone : isLate ? colours.late : plain;
      const dash = isLate ? (m.fate === 2 ? [2, 3] : [6, 3]) : [];
      const weight = isLit && all.length < 120 && !this.filter.isAll() ? 1.7 : 1;
      if (isRead) {
        line(pen, x1, y1, x2, y2, colour, weight, dash);
        if (!isPlain) head(pen, x1, y1, x2, y2, colour, weight > 1 ? 7 : 5);
      } else {
        const yEnd = y1 + (y2 - y1) * 0.42;
        line(pen, x1, y1, x2, yEnd, colour, weight, dash);
        if (!isPlain) cross(pen, x2, yEnd, colour, 3.5);
      }
      if (!isPlain || isLit) {
        const yEnd = isRead ? y2 : y1 + (y2 - y1) * 0.42;
        this.hits.push({ line: [x1, y1, x2, yEnd], kind: "message", what: m });
      }
    }
    pen.globalAlpha = 1;
  }

  // Operations: a box above the line of who makes it, from its call to its end.
  boxes() {
    const { pen, scale, colours, run, filter } = this;
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    const later = [];
    for (const operation of run.operations) {
      if (operation.called < 0 || !this.lineOf.has(operation.node)) continue;
      if (operation.ended < scale.from || operation.called > scale.to) continue;
      if (operation.isBlamed) later.push(operation);
      else this.box(operation, filter.isOperationLit(run, operation));
    }
    for (const operation of later) this.box(operation, true);
  }

  box(operation, isLit) {
    const { pen, scale, colours, run } = this;
    const node = operation.node;
    const room = Math.max(Math.floor((this.lineOf.get(node) - this.topOf.get(node) - 10) / (BOX + 2)), 1);
    // Where more overlap than there is room for, the rest lie over each other without words.
    const isSpare = operation.row >= room;
    const y = this.lineOf.get(node) - 8 - BOX - Math.min(operation.row, room - 1) * (BOX + 2);
    const x = scale.x(operation.called);
    const wide = Math.max(scale.x(operation.ended) - x, 3);
    const look = colours.outcomes[operation.outcome];
    pen.globalAlpha = isLit ? 1 : 0.25;
    pen.fillStyle = look.paper;
    pen.fillRect(x, y, wide, BOX);
    pen.lineWidth = operation.isBlamed ? 2.5 : 1;
    pen.strokeStyle = operation.isBlamed ? colours.blame : look.ink;
    pen.setLineDash(operation.outcome === 0 ? [] : [4, 2]);
    pen.strokeRect(x, y, wide, BOX);
    pen.setLineDash([]);
    const left = Math.max(x, LABELS);
    const inside = Math.min(x + wide, this.width) - left;
    if (operation.isBlamed || (isLit && !isSpare)) this.boxWords(operation, left, y, inside);
    if (this.filter.picked === operation) {
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 1.5;
      pen.strokeRect(x - 2.5, y - 2.5, wide + 5, BOX + 5);
    }
    pen.globalAlpha = 1;
    this.hits.push({ x: left, y, w: Math.max(inside, 4), h: BOX, kind: "operation", what: operation });
  }

  // The words of a box: inside as far as there is room; those of a blamed one beside it, if need be.
  boxWords(operation, left, y, inside) {
    const { pen, colours, run } = this;
    const { isBlamed } = operation;
    const words = describe(run, operation);
    pen.font = isBlamed ? colours.boldSmall : colours.small;
    const needs = pen.measureText(words).width + 10;
    const middle = y + BOX / 2 + 0.5;
    const ink = isBlamed ? colours.blame : colours.outcomes[operation.outcome].ink;
    if (isBlamed && inside < Math.min(needs, 150)) {
      const short = clip(words, 46);
      const wide = pen.measureText(short).width + 8;
      const beside = left + inside + 4;
      const x = beside + wide > this.width ? left - wide - 4 : beside;
      tag(pen, x, middle - 0.5, short, ink, colours.blamePaper);
    } else if (inside > 26) {
      pen.save();
      pen.beginPath();
      pen.rect(left, y, inside - 3, BOX);
      pen.clip();
      pen.fillStyle = ink;
      pen.fillText(words, left + 5, middle);
      pen.restore();
    }
  }

  // Notes and logs: ticks below the line; what is blamed has its words beside it.
  ticks() {
    const { pen, scale, colours, run, filter } = this;
    const seen = new Set();
    const taken = [];
    for (const mark of run.marks) {
      if (mark.at < scale.from || mark.at > scale.to || !this.lineOf.has(mark.node)) continue;
      const x = scale.x(mark.at);
      const y = this.lineOf.get(mark.node);
      const isBlamed = run.blamed.has(mark.event);
      const key = Math.round(x) * 1000 + mark.node;
      if (!isBlamed && seen.has(key)) continue;
      seen.add(key);
      const kind = run.text(mark.kind);
      const colour = isBlamed ? colours.blame : kind === "note" ? colours.note : colours.log;
      pen.globalAlpha = isBlamed || filter.isEventLit(run, mark.event) ? 1 : 0.35;
      if (isBlamed) {
        line(pen, x, y - 4, x, y + 13, colour, 2.5);
        pen.font = colours.boldSmall;
        pen.textAlign = "left";
        pen.textBaseline = "middle";
        const words = clip(run.text(mark.text), 34);
        const wide = pen.measureText(words).width + 10;
        const left = Math.min(x + 3, this.width - wide - 4);
        // Words that would lie on others stand below them, as far as the lane goes.
        let low = y + 12;
        while (taken.some((box) => box.low === low && left < box.to && left + wide > box.from)) low += 15;
        taken.push({ low, from: left, to: left + wide });
        tag(pen, left, low, words, colour, colours.paper);
      } else {
        line(pen, x, y + 3, x, y + (kind === "note" ? 9 : 11), colour, 1.5);
      }
      pen.globalAlpha = 1;
      this.hits.push({ x: x - 3, y, w: 7, h: 14, kind: "mark", what: mark });
    }
  }

  // Starts and crashes, on top of the lines.
  ends() {
    const { pen, scale, colours, run } = this;
    for (const node of this.lanes) {
      const y = this.lineOf.get(node);
      for (const life of run.lives[node]) {
        const x = scale.x(life.from);
        if (x < LABELS - 8 || x > this.width) continue;
        if (life.state === "down") cross(pen, x, y, colours.blame, 6, 2.5);
        if (life.state === "up" && life.from > 0 && life.after !== "paused") {
          pen.fillStyle = colours.pass;
          pen.beginPath();
          pen.moveTo(x, y - 6);
          pen.lineTo(x + 9, y);
          pen.lineTo(x, y + 6);
          pen.fill();
        }
      }
    }
  }

  // A moment that matters: a line through all lanes, with its name beside it.
  moment(at, words, dash) {
    const { pen, scale, colours } = this;
    const x = Math.round(scale.x(at)) + 0.5;
    line(pen, x, AXIS - 8, x, this.bottom, colours.blame, 1.5, dash);
    pen.font = colours.boldSmall;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    const wide = pen.measureText(words).width + 10;
    const left = x + wide > this.width ? x - wide - 2 : x + 2;
    tag(pen, left, AXIS + 1, words, colours.paper, colours.blame);
  }

  // What is at a point: boxes before arrows before bands.
  at(x, y) {
    if (x < LABELS) return null;
    let best = null;
    for (let index = this.hits.length - 1; index >= 0; index--) {
      const hit = this.hits[index];
      const rank = { operation: 0, mark: 0, message: 1, fault: 2 }[hit.kind];
      if (best && rank > best.rank) continue;
      const away = hit.line ? distance(hit.line, x, y) : isInside(hit, x, y) ? 0 : Infinity;
      if (away > 5 || (best && rank === best.rank && away >= best.away)) continue;
      best = { rank, away, kind: hit.kind, what: hit.what };
      if (rank === 0) break;
    }
    return best;
  }
}

function describe(run, operation) {
  const said = run.text(operation.said);
  const key = operation.key ? " k" + operation.key : "";
  const end = operation.outcome === 0 ? (said && said !== "null" ? " → " + said : "") : " → " + (said || OUTCOMES[operation.outcome]);
  return "#" + operation.id + " " + run.text(operation.name) + key + clip(end, 60);
}

function clip(text, most) {
  return text.length <= most ? text : text.slice(0, Math.max(most - 1, 1)) + "…";
}

function line(pen, x1, y1, x2, y2, colour, width, dash = []) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.setLineDash(dash);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
  pen.setLineDash([]);
}

function head(pen, x1, y1, x2, y2, colour, size) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  pen.fillStyle = colour;
  pen.beginPath();
  pen.moveTo(x2, y2);
  pen.lineTo(x2 - size * Math.cos(angle - 0.4), y2 - size * Math.sin(angle - 0.4));
  pen.lineTo(x2 - size * Math.cos(angle + 0.4), y2 - size * Math.sin(angle + 0.4));
  pen.fill();
}

function cross(pen, x, y, colour, size, width = 1.8) {
  line(pen, x - size, y - size, x + size, y + size, colour, width);
  line(pen, x - size, y + size, x + size, y - size, colour, width);
}

function tag(pen, x, y, text, ink, paper) {
  const wide = pen.measureText(text).width + 8;
  pen.fillStyle = paper;
  pen.fillRect(x, y - 7.5, wide, 15);
  pen.fillStyle = ink;
  pen.fillText(text, x + 4, y + 0.5);
}

function isInside(box, x, y) {
  return x >= box.x && x <= box.x + box.w && y >= box.y && y <= box.y + box.h;
}

function distance([x1, y1, x2, y2], x, y) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const along = Math.min(Math.max(((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1), 0), 1);
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
}
