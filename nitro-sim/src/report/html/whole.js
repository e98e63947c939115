// The whole run in a strip below the diagrams: how much happened when, the faults, and the part
// that is seen above, which the pointer moves.

class Whole {
  constructor(run, scale, colours) {
    this.run = run;
    this.scale = scale;
    this.colours = colours;
    this.canvas = element("canvas", { class: "whole" });
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.move(event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.move(event);
    });
  }

  move(event) {
    const at = ((event.offsetX - LABELS) / this.span) * this.scale.duration;
    this.scale.centre(at);
  }

  draw() {
    const { run, colours, scale } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, 46];
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.span = width - LABELS - 14;
    const x = (at) => LABELS + (at / scale.duration) * this.span;
    pen.font = colours.small;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillStyle = colours.quiet;
    pen.fillText("whole run", LABELS - 12, height / 2);
    const counts = this.counts(Math.max(Math.floor(this.span), 1));
    const most = Math.max(...counts, 1);
    pen.fillStyle = colours.message;
    counts.forEach((count, at) => {
      const tall = Math.sqrt(count / most) * (height - 16);
      pen.fillRect(LABELS + at, height - 4 - tall, 1, tall);
    });
    for (const fault of run.faults) {
      const to = fault.to < 0 ? run.duration : fault.to;
      pen.fillStyle = colours.fault;
      pen.fillRect(x(fault.from), 3, Math.max(x(to) - x(fault.from), 2), 4);
    }
    for (const operation of run.operations) {
      if (operation.isBlamed && operation.called >= 0) {
        pen.fillStyle = colours.blame;
        pen.fillRect(x(operation.called) - 1, 9, 3, height - 13);
      }
    }
    const [from, to] = [x(Math.max(scale.from, 0)), x(Math.min(scale.to, scale.duration))];
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 1.5;
    pen.strokeRect(from, 1.5, Math.max(to - from, 3), height - 3);
  }

  counts(pixels) {
    if (this.known && this.known.length === pixels) return this.known;
    const counts = new Array(pixels).fill(0);
    for (const m of this.run.messages) {
      counts[Math.min(Math.floor((m.sent / this.scale.duration) * pixels), pixels - 1)]++;
    }
    this.known = counts;
    return counts;
  }
}
