// Two runs, one above the other: where they part, and what came of it.

function parted(panel, difference, runs) {
  const [one, other] = runs.map((run) => run.account);
  const head = document.getElementById("head");
  const title = element("div", { class: "title" });
  title.append(element("h1", {}, one.scenario === other.scenario ? one.scenario + ": two runs" : one.scenario + " and " + other.scenario));
  title.append(element("span", { class: "quiet" }, difference.words));
  head.append(title);
  const facts = element("p", { class: "facts" });
  for (const account of [one, other]) {
    facts.append(element("span", {}, account.verdict + " ", element("code", {}, account.digest)));
  }
  head.append(facts);
  panel.title("Where they part");
  const say = (name, event) => element("p", { class: "impossible" }, element("b", {}, name), element("br"), event === null ? "the run has ended" : event);
  panel.side.append(say("one", difference.left), say("other", difference.right));
  panel.title("What differs after");
  panel.side.append(compared(difference.table));
  if (difference.operations_count > 0) {
    panel.title(difference.operations_count + " operations ended otherwise");
    panel.side.append(compared(difference.operations));
    const others = difference.operations_count - difference.operations.length;
    if (others > 0) panel.side.append(element("p", { class: "quiet" }, "and " + others + " more"));
  }
  panel.side.append(element("h2", {}, "The one run"));
}

// Lines of a name and what either run has of it; where these differ it is seen.
function compared(lines) {
  const table = element("table", { class: "parted" });
  table.append(row("th", ["", "one", "other"]));
  for (const [name, left, right] of lines) {
    const line = row("td", [name, left, right]);
    line.className = left === right ? "quiet" : "differs";
    table.append(line);
  }
  return table;
}
