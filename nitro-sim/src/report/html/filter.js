// What is shown and what is dimmed: the choices of the bar, and the operation that was picked.

class Filter {
  constructor() {
    this.highlight = "thread";
    this.node = -1;
    this.key = -1;
    this.name = -1;
    this.showsMessages = true;
    this.showsMarks = true;
    this.picked = null;
    this.thread = null;
    this.blamedNodes = new Map();
  }

  pick(run, operation) {
    this.picked = operation;
    const isWhole = operation && operation.call >= 0 && operation.end >= 0;
    this.thread = isWhole ? run.between(operation.node, operation.call, operation.end) : null;
    this.run = run;
  }

  isAll() {
    return this.highlight === "all" && !this.thread;
  }

  // With one node chosen, those that exchange messages with it stay.
  hasNode(node) {
    return this.node < 0 || node === this.node || this.neighbours.has(node);
  }

  choose(run, node) {
    this.node = node;
    this.neighbours = new Set();
    for (const m of run.messages) {
      if (m.from === node) this.neighbours.add(m.to);
      if (m.to === node) this.neighbours.add(m.from);
    }
  }

  threadOf(run) {
    return run === this.run ? this.thread : null;
  }

  isEventLit(run, event) {
    return run.isLit(event, this.highlight, this.threadOf(run));
  }

  // A message is lit where both its ends are, or its only end.
  isMessageLit(run, message) {
    if (this.node >= 0 && message.from !== this.node && message.to !== this.node) return false;
    if (!this.isEventLit(run, message.event)) return false;
    return message.read < 0 || this.isEventLit(run, message.read);
  }

  isOperationLit(run, operation) {
    if (this.key >= 0 && operation.key !== this.key) return false;
    if (this.name >= 0 && operation.name !== this.name) return false;
    if (this.node >= 0 && operation.node !== this.node) return false;
    if (this.picked === operation) return true;
    return this.isEventLit(run, operation.call) || (operation.end >= 0 && this.isEventLit(run, operation.end));
  }

  isBlamedNode(run, node) {
    if (!this.blamedNodes.has(run)) {
      const nodes = new Set();
      for (const operation of run.operations) if (operation.isBlamed) nodes.add(operation.node);
      for (const mark of run.marks) if (run.blamed.has(mark.event)) nodes.add(mark.node);
      this.blamedNodes.set(run, nodes);
    }
    return this.blamedNodes.get(run).has(node);
  }
}
