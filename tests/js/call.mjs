// Calls functions of the package that JSON on stdin names; see project.py.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const name = "@verifiable-inference/contracts";
const helper = process.argv[2] === "require" ? createRequire(import.meta.url)(name) : await import(name);

const revive = (_, value) =>
  typeof value?.n === "string" ? BigInt(value.n)
  : typeof value?.float === "string" ? Number(value.float)
  : value;
const plain = (_, value) => (typeof value === "bigint" ? value.toString() : value);

const answers = JSON.parse(readFileSync(0, "utf8"), revive).map(([called, ...args]) => {
  try {
    return { value: helper[called](...args) };
  } catch (error) {
    if (!(error instanceof helper.InferenceError)) throw error;
    const { code, index, value, position, message } = error;
    return { error: { code, index, value, position, message } };
  }
});
process.stdout.write(JSON.stringify(answers, plain));
