// What of the page's script needs no browser. Run by a test of relayd.
import assert from "node:assert/strict";
import { MAX_LINE, MAX_LINES, beside, duration, blockedText, pieces, printed, read } from "./page.mjs";

const plain = (text) => pieces(text).map((piece) => piece.text).join("");

// Colours become classes, everything else that a terminal would obey goes.
assert.deepEqual(pieces("a\x1b[1;31mb\x1b[0mc"), [
  { text: "a", classes: [] },
  { text: "b", classes: ["sgr-bold", "sgr-31"] },
  { text: "c", classes: [] },
]);
assert.deepEqual(pieces("\x1b[38;5;196mx\x1b[38;2;1;2;3;32my"), [
  { text: "x", classes: [] },
  { text: "y", classes: ["sgr-32"] },
]);
assert.equal(plain("\x1b]0;title\x07x\x1b]52;c;aGk=\x1b\\y\x1b[2Jz\x1bc\0\x08"), "xyz");
assert.equal(plain("<script>alert(1)</script>\t&amp;"), "<script>alert(1)</script>\t&amp;");

assert.equal(printed({ text: "é\n" }), "é\n");
assert.equal(printed({ base64: btoa("a\xffb") }), "a\ufffdb");

assert.deepEqual(read('{"a":["x\u202ey\u2069"]}'), { a: ["x<U+202E>y<U+2069>"] });

assert.equal(duration(400), "0.4 s");
assert.equal(duration(59970), "1 min 0 s");
assert.equal(duration(3725000), "1 h 2 min");
assert.equal(duration(-5), "0.0 s");

assert.equal(beside({ silent: true, cancel_requested: true, dry_run: true, state: "running" }), "silent, canceling, dry run");
assert.equal(beside({ silent: false, cancel_requested: true, dry_run: false, state: "canceled" }), "");

const blocked = { node: "n1", since: "2026-11-23T12:00:00Z", reason: { code: "disk_full", message: "no room" } };
assert.equal(beside({ silent: false, blocked, dry_run: false, state: "running" }), "blocked");
assert.match(blockedText({ blocked }), /^Blocked on node n1 since .*2026.*: no room \(disk_full\)$/);
assert.equal(blockedText({ blocked: null }), "");

// The pages over a document that knows just enough.

class Node {
  constructor(tag, text = "") {
    Object.assign(this, { tag, own: text, children: [], dataset: {}, hidden: false, className: "", listeners: {}, parent: null });
    Object.assign(this, { scrollHeight: 0, scrollTop: 0, clientHeight: 0, checked: true, href: "" });
  }
  get textContent() { return this.own + this.children.map((child) => child.textContent).join(""); }
  set textContent(text) { this.children = []; this.own = String(text); }
  get childElementCount() { return this.children.length; }
  get firstElementChild() { return this.children[0]; }
  append(...nodes) { for (const node of nodes) this.insertBefore(node, null); }
  insertBefore(node, before) {
    const child = node instanceof Node ? node : new Node("#text", String(node));
    child.parent = this;
    this.children.splice(before ? this.children.indexOf(before) : this.children.length, 0, child);
  }
  replaceChildren(...nodes) { this.textContent = ""; this.append(...nodes); }
  remove() { this.parent.children.splice(this.parent.children.indexOf(this), 1); }
  addEventListener(kind, listener) { this.listeners[kind] = listener; }
  all() { return [this, ...this.children.flatMap((child) => child.all())]; }
  querySelectorAll(selector) { return this.all().filter((node) => node !== this && node.matches(selector)); }
  querySelector(selector) { return this.querySelectorAll(selector)[0] ?? null; }
  matches(selector) {
    const id = selector.match(/\[data-id="(.*)"\]/);
    if (id) return this.dataset.id === id[1];
    if (selector.startsWith(".")) return this.className.split(" ").includes(selector.slice(1));
    return selector === "time[datetime]" ? this.tag === "time" : selector.endsWith(this.tag);
  }
}

class FakeSource {
  static CLOSED = 2;
  constructor(url) { this.url = url; this.listeners = {}; FakeSource.last = this; }
  addEventListener(kind, listener) { this.listeners[kind] = listener; }
  close() { this.closed = true; }
  send(kind, data, lastEventId = "") { this.listeners[kind]({ data: JSON.stringify(data), lastEventId }); }
}

let frames = [];
Object.assign(globalThis, {
  EventSource: FakeSource,
  ResizeObserver: class { observe() {} },
  CSS: { escape: (text) => text },
  requestAnimationFrame: (frame) => frames.push(frame),
  setInterval: () => 0,
  clearInterval: () => {},
  location: { search: "?limit=2" },
});
const draw = () => { while (frames.length) frames.shift()(); };

async function open(ids, dataset) {
  const root = new Node("body");
  const byId = Object.fromEntries(ids.map((id) => [id, new Node(id === "operations" ? "table" : "div")]));
  byId.main = new Node("main");
  byId.main.dataset = dataset;
  root.append(...Object.values(byId));
  if (byId.operations) byId.operations.append(new Node("tbody"));
  globalThis.document = {
    getElementById: (id) => byId[id],
    createElement: (tag) => new Node(tag),
    createTextNode: (text) => new Node("#text", text),
    querySelector: (selector) => root.querySelector(selector),
    querySelectorAll: (selector) => root.querySelectorAll(selector),
  };
  await import(`./page.mjs?${JSON.stringify(dataset)}`);
  return byId;
}

const summary = {
  id: "b", name: "example.print", target: { kind: "site", name: "<b>x</b>" }, state: "running", silent: false, dry_run: false,
  attempt: 1, blocked: null, cancel_requested: false, reason: null, revision: 3, requested_at: "2026-11-23T12:00:00Z", changed_at: "2026-11-23T12:00:00Z",
};

// One Operation, from its start to its end.
{
  const page = await open(
    ["log", "follow", "all", "older", "tasks", "connection", "announce", "state", "beside", "reason", "blocked", "cancel", "approve", "elapsed", "ledger"],
    { page: "operation", id: "b", attempt: "1", from: "1", revision: "2" },
  );
  const source = FakeSource.last;
  assert.equal(source.url, "/api/v1/operations/b/events?from=1");
  const at = "2026-11-23T12:00:00.000000Z";
  let seq = 0;
  const record = (kind, body) => { seq += 1; source.send("record", { seq, at, kind, body }, `1-${seq}`); };
  const reason = { code: "task_failed", message: "It failed." };
  source.send("state", summary);
  assert.equal(page.state.textContent, "running");
  assert.equal(page.ledger.childElementCount, 1);
  record("started", { name: "example.print", target: summary.target, node: "n1", dry_run: false, tasks: [{ title: "Ask", done_in: 1 }, { title: "Say" }, { title: "Do" }] });
  record("task_started", { task: 2, title: "Say" });
  record("output", { task: 2, stream: "stdout", line: 1, text: "<i>one</i>\ntwo is " });
  record("output", { task: 2, stream: "stdout", line: 2, continued: true, text: "one line\n" });
  record("output", { task: 2, stream: "stderr", line: 1, text: "oh \x1b[31mno\x1b[0m\n" });
  record("task_finished", { task: 2, outcome: "succeeded", reason });
  record("task_started", { task: 3, title: "Do", runner: "ansible" });
  record("output", { task: 3, stream: "stdout", line: 1, text: "PLAY [all]\n" });
  record("step", { task: 3, host: "web1", name: "Copy", status: "failed", duration_ms: 400, message: "disk full" });
  record("plan", { task: 3, hash: "3f0c", changes: { path: "/<b>" } });
  record("progress", { task: 3, percent: 40 });
  record("weather", {});
  record("task_finished", { task: 3, outcome: "failed", reason });
  record("finished", { outcome: "failed", reason });
  const lines = () => {
    draw();
    return page.log.children.map((line) => `${line.className}|${line.textContent}`);
  };
  assert.deepEqual(lines(), [
    "task|example.print of site <b>x</b> on node n1",
    "task|Task 2 of 3: Say",
    "stdout|<i>one</i>",
    "stdout|two is one line",
    "stderr|oh no",
    "good|Task 2 of 3 succeeded after 0.0 s",
    "task|Task 3 of 3: Do",
    "stdout own|PLAY [all]",
    "step|failed web1  Copy 0.4 s\n      disk full",
    'note|plan 3f0c\n{\n  "path": "/<b>"\n}',
    "note|40 % ",
    "bad|Task 3 of 3 failed after 0.0 s: It failed. (task_failed)",
  ]);
  assert.equal(page.log.children[4].children[1].className, "sgr-31");
  assert.deepEqual(page.tasks.children.map((task) => task.textContent), ["Ask done in attempt 1 ", "Say succeeded 0.0 s", "Do failed 0.0 s"]);
  // The manifest tries it again, so that was the end of an attempt.
  const again = { code: "tried_again", message: "attempt 2 begins in 10 s at the earliest" };
  source.send("state", { ...summary, state: "waiting", attempt: 2, reason: again, revision: 5 });
  assert.equal(lines().at(-1), "task bad|Attempt 1 failed after 0.0 s: It failed. (task_failed)");
  assert.ok(page.reason.textContent.startsWith("attempt 2 begins in 10 s"));
  const body = { name: "example.print", target: summary.target, node: "n1", dry_run: false, tasks: [{ title: "Say" }] };
  source.send("record", { seq: 1, at, kind: "started", body }, "2-1");
  source.send("record", { seq: 2, at, kind: "finished", body: { outcome: "failed", reason } }, "2-2");
  source.send("state", { ...summary, state: "failed", attempt: 2, reason, revision: 6 });
  source.send("end", {});
  assert.deepEqual(lines().slice(-3), [
    "task|Attempt 2",
    "task|example.print of site <b>x</b> on node n1",
    "task bad|Failed at attempt 2 after 0.0 s: It failed. (task_failed)",
  ]);
  assert.ok(source.closed && page.cancel.hidden && page.approve.hidden);
  // Only of a dry run that has succeeded there is a plan to carry out.
  source.send("state", { ...summary, state: "failed", dry_run: true, revision: 7 });
  assert.ok(page.approve.hidden);
  source.send("state", { ...summary, state: "succeeded", dry_run: true, revision: 8 });
  assert.ok(!page.approve.hidden);
  assert.equal(page.announce.textContent, "Failed at attempt 2 after 0.0 s.");

  // A long log does not fill the memory.
  source.send("record", { seq, at, kind: "output", body: { task: 1, stream: "stdout", line: 9, text: "x\n".repeat(100_000) } }, "1-99");
  draw();
  assert.equal(page.log.childElementCount, MAX_LINES);
  assert.equal(page.older.hidden, false);
  record("output", { task: 1, stream: "stdout", line: 9, text: `${"y".repeat(2 * MAX_LINE)}\n` });
  draw();
  assert.ok(page.log.children.at(-1).textContent.length < MAX_LINE + 100);
}

// The list: the newest first, and each once.
{
  const page = await open(["operations", "connection", "empty"], { page: "list", live: "true" });
  const source = FakeSource.last;
  assert.equal(source.url, "/events?limit=2");
  source.send("state", summary);
  source.send("state", { ...summary, id: "c", state: "queued" });
  // An older one than the last row is on a later page.
  source.send("state", { ...summary, id: "a" });
  source.send("state", { ...summary, state: "succeeded" });
  const rows = page.operations.querySelector("tbody").children;
  assert.deepEqual(rows.map((row) => `${row.dataset.id} ${row.querySelector(".state").textContent}`), ["c queued", "b succeeded"]);
  assert.ok(rows[0].textContent.includes("site <b>x</b>") && page.empty.hidden);
}
