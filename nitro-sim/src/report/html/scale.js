// Which part of the run is seen: time to pixels and back. All diagrams share one.

class Scale {
  constructor(duration) {
    this.duration = duration;
    this.from = 0;
    this.to = duration;
    this.left = 0;
    this.width = 1;
    this.listeners = [];
  }

  x(at) {
    return this.left + ((at - this.from) / (this.to - this.from)) * this.width;
  }

  at(x) {
    return this.from + ((x - this.left) / this.width) * (this.to - this.from);
  }

  show(from, to) {
    // Never narrower than 50 microseconds, never wider than the run with a little air.
    const air = this.duration * 0.02;
    const span = Math.min(Math.max(to - from, 50), this.duration + 2 * air);
    const middle = (from + to) / 2;
    this.from = Math.min(Math.max(middle - span / 2, -air), this.duration + air - span);
    this.to = this.from + span;
    for (const listener of this.listeners) listener();
  }

  zoom(factor, x = this.left + this.width / 2) {
    const at = this.at(x);
    this.show(at - (at - this.from) * factor, at + (this.to - at) * factor);
  }

  pan(pixels) {
    const by = (pixels / this.width) * (this.to - this.from);
    this.show(this.from + by, this.to + by);
  }

  centre(at) {
    const half = (this.to - this.from) / 2;
    this.show(at - half, at + half);
  }

  // Round times, some 110 pixels apart.
  ticks() {
    const least = ((this.to - this.from) * 110) / this.width;
    const power = Math.pow(10, Math.floor(Math.log10(least)));
    const step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= least);
    const all = [];
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      if (at >= 0 && at <= this.duration) all.push(at);
    }
    return { all, step };
  }
}

// A time in seconds, as fine as the step between two.
function seconds(us, step = 1000) {
  const digits = Math.min(Math.max(6 - Math.floor(Math.log10(Math.max(step, 1))), 0), 6);
  return (us / 1e6).toFixed(digits) + " s";
}

function took(us) {
  if (us < 1000) return us + " µs";
  if (us < 1e6) return (us / 1000).toFixed(us < 10000 ? 1 : 0) + " ms";
  return (us / 1e6).toFixed(2) + " s";
}
