// The page's script: keeps the list and one Operation's page up to date.
//
// What programs printed becomes text nodes and never HTML; colours become classes of a closed set. The log keeps
// its last lines only, so that a long one does not fill the browser's memory.

// How many lines of a log are kept in the page.
export const MAX_LINES = 5000;
// A longer line is cut in the page; the raw transcript has all of it.
export const MAX_LINE = 4000;

/** Splits a line into pieces of one look: [{text, classes}]. Everything but colours and bold is left out. */
export function pieces(line) {
  const found = [];
  let bold = false;
  let colour = "";
  // CSI sequences, strings for the terminal (to BEL or ST), other two-character sequences.
  const sequence = /\x1b\[([0-9;:?]*)[ -/]*([@-~])|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;
  let from = 0;
  const push = (text) => {
    if (text) found.push({ text, classes: [bold ? "sgr-bold" : "", colour].filter(Boolean) });
  };
  for (const match of line.matchAll(sequence)) {
    push(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] !== "m" || match[1].startsWith("?")) continue;
    const codes = match[1].split(";").map(Number);
    for (let index = 0; index < codes.length; index += 1) {
      const code = codes[index];
      if (code === 0) { bold = false; colour = ""; }
      else if (code === 1) bold = true;
      else if (code === 22) bold = false;
      else if (code === 39) colour = "";
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) colour = `sgr-${code}`;
      // Colours by number or by red, green and blue: not of the set, so skip what belongs to them.
      else if (code === 38 || code === 48) index += codes[index + 1] === 5 ? 2 : 4;
    }
  }
  push(line.slice(from));
  return found;
}

/** The text of an output record. */
export function printed(body) {
  if (body.text !== undefined) return body.text;
  const bytes = Uint8Array.from(atob(body.base64 ?? ""), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}

/** Milliseconds as people say it. */
export function duration(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** What stands beside a state. */
export function beside(summary) {
  const words = [];
  if (summary.silent) words.push("silent");
  if (summary.blocked) words.push("blocked");
  if (summary.cancel_requested && !ended(summary.state)) words.push("canceling");
  if (summary.dry_run) words.push("dry run");
  return words.join(", ");
}

/** Where, since when and why what an Operation prints has no room. */
export function blockedText({ blocked }) {
  if (!blocked) return "";
  const { message, code } = blocked.reason;
  return `Blocked on node ${blocked.node} since ${new Date(blocked.since).toLocaleString()}: ${message} (${code})`;
}

/** A reason, as it follows `failed after 3.9 s`. A success says only what its reason adds to "every Task did …". */
export function why(outcome, reason) {
  if (!reason) return "";
  const { message, code } = reason;
  if (outcome === "succeeded") return message.includes("; ") ? message.slice(message.indexOf("; ")) : "";
  if (message.startsWith("canceled")) return `${message.slice("canceled".length)} (${code})`;
  return message.startsWith('in "') ? ` ${message} (${code})` : `: ${message} (${code})`;
}

// With one of these in it, text is shown in another order than it has (UAX #9, section 2).
const TURNS_TEXT_ROUND = /[\u202a-\u202e\u2066-\u2069]/g;

/** What relayd sends. Characters that turn the order of text round are shown as such. */
export function read(json) {
  return JSON.parse(json.replace(TURNS_TEXT_ROUND, (c) => `<U+${c.charCodeAt(0).toString(16).toUpperCase()}>`));
}

export function ended(state) {
  return ["succeeded", "failed", "canceled", "rejected", "lost"].includes(state);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      time.textContent = at.toLocaleString();
      time.title = time.dateTime;
    }
  }
}

/** Says when the connection is lost. EventSource connects again by itself and resumes after its last event. */
function connection(source, after) {
  const line = document.getElementById("connection");
  source.addEventListener("open", () => { line.textContent = ""; });
  source.addEventListener("error", () => {
    line.textContent = source.readyState === EventSource.CLOSED
      ? "relayd refuses the connection. Reload the page; sign in again if it asks you to."
      : `Connection lost. ${after}`;
  });
}

/** Lines of a log: collected, and drawn once a frame. */
class Log {
  constructor(box, follow, older) {
    this.box = box;
    this.follow = follow;
    this.older = older;
    this.waiting = [];
    this.scheduled = false;
    this.open = null;
    box.addEventListener("scroll", () => {
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      // Scrolling up is a wish to read; scrolling back to the end is a wish to follow.
      if (!this.drawing) follow.checked = atEnd;
    });
    follow.addEventListener("change", () => this.scroll());
    // Lines wrap anew in another width, and the end is elsewhere then.
    new ResizeObserver(() => this.scroll()).observe(box);
  }

  add(line) {
    this.waiting.push(line);
    if (this.waiting.length > 2 * MAX_LINES) {
      this.waiting.splice(0, this.waiting.length - MAX_LINES);
      this.older.hidden = false;
    }
    if (!this.scheduled) {
      this.scheduled = true;
      requestAnimationFrame(() => this.draw());
    }
  }

  draw() {
    this.scheduled = false;
    this.drawing = true;
    this.box.append(...this.waiting.splice(0).slice(-MAX_LINES).map((line) => line()));
    while (this.box.childElementCount > MAX_LINES) {
      this.box.firstElementChild.remove();
      this.older.hidden = false;
    }
    this.scroll();
    requestAnimationFrame(() => { this.drawing = false; });
  }

  scroll() {
    if (this.follow.checked) this.box.scrollTop = this.box.scrollHeight;
  }

  text(className, text) {
    this.open = null;
    this.add(() => element("div", className, text));
  }

  output(body, isAnsible) {
    // Ansible's raw output repeats what the steps say; a switch shows it.
    const look = isAnsible && body.stream === "stdout" && !body.host ? "stdout own" : body.stream;
    const source = `${body.task} ${body.stream} ${body.host ?? ""}`;
    const lines = printed(body).split(/\r\n|\n|\r/);
    const last = lines.pop();
    let goesOn = body.continued && this.open?.source === source;
    for (const [index, line] of [...lines, ...(last === "" ? [] : [last])].entries()) {
      if (index === 0 && goesOn) {
        const held = this.open;
        held.text += line.slice(0, Math.max(0, MAX_LINE - held.text.length));
        if (held.drawn) held.drawn.replaceChildren(...this.inside(body, held.text));
      } else {
        const held = { source, text: line.slice(0, MAX_LINE), drawn: null };
        if (line.length > MAX_LINE) held.text += " … (cut here; the raw transcript has the whole line)";
        this.open = held;
        this.add(() => {
          held.drawn = element("div", look);
          held.drawn.append(...this.inside(body, held.text));
          return held.drawn;
        });
      }
    }
    if (last === "") this.open = null;
  }

  inside(body, line) {
    const nodes = pieces(line).map((piece) => {
      if (piece.classes.length === 0) return document.createTextNode(piece.text);
      return element("span", piece.classes.join(" "), piece.text);
    });
    return body.host ? [element("span", "host", `${body.host} | `), ...nodes] : nodes;
  }
}

const STEP_LOOK = { ok: "good", changed: "wait", failed: "bad", ignored: "busy", skipped: "busy", unreachable: "bad" };
const OUTCOME_LOOK = { succeeded: "good", failed: "bad", canceled: "wait", rejected: "bad", lost: "bad" };

/** The Tasks of an attempt, with how each went. */
class Tasks {
  constructor(list) {
    this.list = list;
    this.rows = [];
    this.startedAt = new Map();
    this.runners = new Map();
  }

  plan(tasks) {
    this.list.replaceChildren();
    this.rows = tasks.map((task) => {
      const row = this.row(task.title);
      if (task.done_in) {
        row.outcome.textContent = `done in attempt ${task.done_in}`;
        row.outcome.className = "outcome good";
      }
      return row;
    });
  }

  row(title) {
    const outcome = element("span", "outcome idle", "to do");
    const took = element("span", "beside");
    const row = element("li");
    row.append(element("span", "", `${title} `), outcome, " ", took);
    this.list.append(row);
    return { outcome, took };
  }

  at(number) {
    while (this.rows.length < number) this.rows.push(this.row(`Task ${this.rows.length + 1}`));
    return this.rows[number - 1];
  }

  start(number, at) {
    // A Task starts only when those before it succeeded; their own records may lie before what is shown.
    for (let before = 1; before < number; before += 1) {
      const row = this.at(before);
      if (row.outcome.textContent === "to do") this.set(row, "succeeded");
    }
    this.startedAt.set(number, at);
    const row = this.at(number);
    row.outcome.textContent = "running";
    row.outcome.className = "outcome busy";
  }

  finish(number, outcome, at) {
    const row = this.at(number);
    this.set(row, outcome);
    const from = this.startedAt.get(number);
    if (from) row.took.textContent = duration(at - from);
  }

  /** At the end: a Task that has not begun did not run, and the outcome of one that has not ended is unknown. */
  end() {
    for (const row of this.rows) {
      if (row.outcome.textContent === "to do") this.set(row, "not run");
      if (row.outcome.textContent === "running") this.set(row, "unknown");
    }
  }

  set(row, outcome) {
    row.outcome.textContent = outcome;
    row.outcome.className = `outcome ${OUTCOME_LOOK[outcome] ?? "idle"}`;
  }
}

/** One Operation's page. */
function operationPage(main) {
  const byId = (id) => document.getElementById(id);
  const { id } = main.dataset;
  const log = new Log(byId("log"), byId("follow"), byId("older"));
  byId("all").addEventListener("change", () => {
    byId("log").className = byId("all").checked ? "all" : "";
    log.scroll();
  });
  const tasks = new Tasks(byId("tasks"));
  const announce = byId("announce");
  let attempt = Number(main.dataset.attempt);
  let revision = Number(main.dataset.revision);
  let count = 0;
  let startedAt = null;
  let endedAt = null;
  // The last summary, and how the attempt ended as long as that may be the Operation's end.
  let latest = null;
  let untold = null;

  const elapsed = () => {
    if (startedAt) byId("elapsed").textContent = duration((endedAt ?? Date.now()) - startedAt);
  };
  const timer = setInterval(elapsed, 1000);

  const end = (what, outcome, reason) => {
    const after = startedAt && endedAt ? ` after ${duration(endedAt - startedAt)}` : "";
    const text = `${what}${after}`;
    log.text(`task ${OUTCOME_LOOK[outcome] ?? ""}`, `${text}${why(outcome, reason)}`);
    announce.textContent = `${text}.`;
  };
  const attemptEnd = () => {
    if (untold) end(`Attempt ${attempt} ${untold.outcome}`, untold.outcome, untold.reason);
    untold = null;
  };

  const state = (summary) => {
    latest = summary;
    if (latest.attempt > attempt) attemptEnd();
    const badge = byId("state");
    badge.textContent = summary.state;
    badge.dataset.state = summary.state;
    byId("beside").textContent = beside(summary);
    byId("reason").textContent = summary.reason ? `${summary.reason.message} (${summary.reason.code})` : "";
    byId("blocked").textContent = blockedText(summary);
    byId("cancel").hidden = ended(summary.state) || summary.cancel_requested;
    byId("approve").hidden = !summary.dry_run || summary.state !== "succeeded";
    if (summary.revision > revision) {
      revision = summary.revision;
      const row = element("tr");
      const time = element("time");
      time.dateTime = summary.changed_at;
      const word = element("span", "state", summary.state);
      word.dataset.state = summary.state;
      for (const content of [time, word, "", byId("reason").textContent]) {
        const cell = element("td");
        cell.append(content);
        row.append(cell);
      }
      byId("ledger").append(row);
      localTimes(row);
    }
  };

  const kinds = {
    started(body, at) {
      startedAt = at;
      count = body.tasks.length;
      tasks.plan(body.tasks);
      log.text("task", `${body.name} of ${body.target.kind} ${body.target.name} on node ${body.node}${body.dry_run || body.check ? " (dry run: changes nothing)" : ""}`);
    },
    task_started(body, at) {
      tasks.start(body.task, at);
      tasks.runners.set(body.task, body.runner);
      const title = `Task ${body.task}${count ? ` of ${count}` : ""}: ${body.title}`;
      log.text("task", title);
      announce.textContent = title;
    },
    output(body, at) {
      if (!tasks.startedAt.has(body.task)) tasks.start(body.task, at);
      log.output(body, tasks.runners.get(body.task) === "ansible");
    },
    step(body) {
      log.open = null;
      log.add(() => {
        const line = element("div", "step");
        const item = body.item ? ` [${body.item}]` : "";
        line.append(
          element("b", STEP_LOOK[body.status] ?? "", body.status),
          ` ${body.host}  ${body.name}${item} `,
          element("span", "host", duration(body.duration_ms)),
        );
        const speaks = body.action?.split(".").at(-1) === "debug" && body.status === "ok";
        if (body.message && (speaks || ["failed", "ignored", "unreachable"].includes(body.status))) {
          line.append(`\n      ${body.message.slice(0, MAX_LINE)}`);
        }
        return line;
      });
    },
    document(body) { log.text("note", `document ${body.name}`); },
    plan(body) {
      const changes = body.changes === null ? "" : `\n${JSON.stringify(body.changes, null, 2)}`;
      log.text("note", `plan ${body.hash}${changes}`.slice(0, MAX_LINE));
    },
    progress(body) {
      log.text("note", `${body.percent} % ${body.message ?? ""}`);
      tasks.at(body.task).took.textContent = `${body.percent} %`;
    },
    task_finished(body, at) {
      tasks.finish(body.task, body.outcome, at);
      const from = tasks.startedAt.get(body.task);
      const after = from ? ` after ${duration(at - from)}` : "";
      log.text(OUTCOME_LOOK[body.outcome], `Task ${body.task}${count ? ` of ${count}` : ""} ${body.outcome}${after}${why(body.outcome, body.reason)}`);
    },
    finished(body, at) {
      endedAt = at;
      untold = body;
      if (latest?.attempt > attempt) attemptEnd();
    },
  };

  const record = (line, of) => {
    if (of !== attempt) {
      attemptEnd();
      attempt = of;
      startedAt = endedAt = null;
      tasks.plan([]);
      tasks.startedAt.clear();
      log.text("task", `Attempt ${attempt}`);
    }
    const { kind, at, body } = read(line);
    // Another kind is a newer runner's, and shown by a newer page.
    kinds[kind]?.(body, new Date(at));
  };

  const follow = () => {
    const source = new EventSource(`/api/v1/operations/${id}/events?from=${main.dataset.from}`);
    connection(source, "The Operation keeps running; the log resumes by itself.");
    source.addEventListener("state", (event) => state(read(event.data)));
    source.addEventListener("record", (event) => record(event.data, Number(event.lastEventId.split("-")[0])));
    source.addEventListener("end", () => {
      source.close();
      clearInterval(timer);
      elapsed();
      tasks.end();
      const word = latest.state.charAt(0).toUpperCase() + latest.state.slice(1);
      end(latest.attempt > 1 ? `${word} at attempt ${latest.attempt}` : word, latest.state, latest.reason);
    });
  };

  if (main.dataset.from === "1") {
    follow();
  } else {
    // The plan is in the first record, which lies before what is shown.
    fetch(`/api/v1/operations/${id}/transcript?attempt=${attempt}&limit=1`)
      .then((answer) => (answer.ok ? answer.text() : ""))
      .then((line) => { if (line.trim()) record(line, attempt); })
      .finally(follow);
  }
}

/** The list of Operations. */
function listPage(main) {
  const body = document.querySelector("#operations tbody");
  const row = (summary) => {
    const made = element("tr");
    made.dataset.id = summary.id;
    for (let cells = 0; cells < 5; cells += 1) made.append(element("td"));
    const [state, operation, target, requested, by] = made.children;
    state.append(element("span", "state"), " ", element("span", "beside"));
    const link = element("a", "", summary.name);
    link.href = `/operations/${summary.id}`;
    operation.append(link);
    target.textContent = `${summary.target.kind} ${summary.target.name}`;
    const time = element("time");
    time.dateTime = summary.requested_at;
    requested.append(time);
    by.textContent = summary.requested_by ?? "";
    localTimes(made);
    return made;
  };
  const source = new EventSource(`/events${location.search}`);
  connection(source, "The list resumes by itself.");
  source.addEventListener("state", (event) => {
    const summary = read(event.data);
    let shown = body.querySelector(`tr[data-id="${CSS.escape(summary.id)}"]`);
    if (!shown) {
      // What is older than all rows stands on a later page.
      const last = body.children[body.children.length - 1];
      if (main.dataset.live !== "true" || (last && summary.id < last.dataset.id)) return;
      shown = row(summary);
      // Ids sort by time; the newest is first.
      const before = [...body.children].find((other) => other.dataset.id < summary.id);
      body.insertBefore(shown, before ?? null);
      document.getElementById("empty").hidden = true;
    }
    const badge = shown.querySelector(".state");
    badge.textContent = summary.state;
    badge.dataset.state = summary.state;
    shown.querySelector(".beside").textContent = beside(summary);
  });
}

if (typeof document !== "undefined") {
  localTimes(document);
  const main = document.getElementById("main");
  if (main.dataset.page === "operation") operationPage(main);
  if (main.dataset.page === "list") listPage(main);
}
