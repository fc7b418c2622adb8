// The examples for Node say what they take, and what is wrong with what they are given.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { FIXTURE, ROOT } from "./support.mjs";

const SCRIPTS = ["train/train.mjs", "finetune/finetune.mjs", "resume.mjs"];

function run(script, ...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`${ROOT}examples/js/${script}`, ...args], {
    encoding: "utf8",
  });
  return { status, stdout, stderr: stderr.split("\n") };
}

test("--help of an example says its flags", () => {
  for (const script of SCRIPTS) {
    const { status, stdout, stderr } = run(script, "--help");
    assert.deepEqual([status, stderr], [0, [""]]);
    assert.match(stdout, /^usage: node \w+\.mjs .+\n\n.+\n\n( {2}-.+\n)+$/);
  }
});

test("what is wrong with the command line of an example is a line, and its usage another", () => {
  for (const [script, args, message] of [
    ["train/train.mjs", ["--bogus"], "Unknown option '--bogus'"],
    ["train/train.mjs", ["--epochs", "0.5"], "--epochs is a whole number above 0, not 0.5"],
    ["train/train.mjs", ["more"], "expected no FILE, not 1"],
    ["finetune/finetune.mjs", [], "expected 1 FILE, not 0"],
    ["finetune/finetune.mjs", ["f", "--rate", "x"], "--rate is a number above 0, not x"],
    ["resume.mjs", ["f", "--data", "d"], "--json is missing"],
  ]) {
    const { status, stderr } = run(script, ...args);
    assert.deepEqual([status, stderr[0], stderr.length], [2, message, 3]);
    assert.match(stderr[1], /^usage: /);
  }
});

test("a file that an example cannot read is named in a line", () => {
  const missing = "cannot open /nowhere.caudal: No such file or directory (os error 2)";
  for (const [script, args, message] of [
    ["train/train.mjs", ["--data", "/nowhere"], /^there is no train-images-idx3-ubyte\.gz in \/nowhere; install /],
    ["finetune/finetune.mjs", ["/nowhere.caudal"], missing],
    ["finetune/finetune.mjs", [FIXTURE], `${FIXTURE} has not both predict and train_step`],
    ["resume.mjs", ["/nowhere.caudal", "--data", "/nowhere", "--json", "o"], /ENOENT.+'\/nowhere\/images\.f32'$/],
  ]) {
    const { status, stdout, stderr } = run(script, ...args);
    assert.deepEqual([status, stdout, stderr.length], [1, "", 2]);
    if (message instanceof RegExp) assert.match(stderr[0], message);
    else assert.equal(stderr[0], message);
  }
});
