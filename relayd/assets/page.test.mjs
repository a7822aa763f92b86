// What of the page's script needs no browser. Run by a test of relayd.
import assert from "node:assert/strict";
import { beside, duration, pieces, printed } from "./page.mjs";

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

assert.equal(duration(400), "0.4 s");
assert.equal(duration(59970), "1 min 0 s");
assert.equal(duration(3725000), "1 h 2 min");
assert.equal(duration(-5), "0.0 s");

assert.equal(beside({ silent: true, cancel_requested: true, check: true, state: "running" }), "silent, canceling, dry run");
assert.equal(beside({ silent: false, cancel_requested: true, check: false, state: "canceled" }), "");
